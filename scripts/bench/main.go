// Bench measures this project side by side with an operator, and with what the API itself takes. All sides do the same job
// for the same model: a HelloWorldServiceInstance with a service becomes a greeting at the greeter, and its status says Ready at
// its current generation.
//
//   - floor: 32 loops in the driver do the bare writes, one after the other: create, finalizer, greeting, status. Nobody
//     watches and nobody decides, so no side that makes those writes can be faster for long.
//   - peer, peer 32: an operator as it is usually written (folder peer), with controller-runtime's defaults, and with 32
//     reconciles at a time.
//   - ours: the model source, the Broker with its Triggers, and the functions, by the local runner.
//
// Each measurement has an API server and a greeter of its own, both empty, and the sides take turns. Every program is a process of
// its own, so that its CPU and memory can be told apart: in "ours" the runner is the Broker and the activator. The driver
// writes with 32 clients and sees by one watch when models are ready.
//
// How to read the tables: a ratio is the median over the repetitions of what two sides did in the same one, and "rate to peer" of
// 0.5 means half as many models per second. "others" is how many cores the rest of the machine used meanwhile: above 0.3
// or so the figures say little, and ratios more than figures. CPU ms per model hardly depends on it.
//
// Not measured: models in a chain, each of which waits for the one before. Hello-world has none; a kind that depends on itself would
// be needed, and its steps on all sides.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"knative.dev/pkg/signals"

	"github.com/xos-knative/synchronizer/pkg/local/console"
)

// bench is one run.
type bench struct {
	root, dir  string
	names      string // of the sides
	json       string
	models     int
	repeat     int
	many       int
	repeatMany int
	dependents int
	changes    int
	zeros      int
	pull       int
	starts     int

	self, bin string
	results   []result
	peaks     []result
	startups  []startup
}

func main() {
	if len(os.Args) > 1 && children[os.Args[1]] != nil {
		end(children[os.Args[1]](signals.NewContext(), os.Args[2:]))
	}
	b := &bench{}
	flag.StringVar(&b.root, "root", ".", "the `folder` of the project")
	flag.StringVar(&b.dir, "dir", "", "where to keep programs, data and logs (default a temporary folder, which is kept if something goes wrong)")
	flag.StringVar(&b.names, "sides", strings.Join(sideNames(), ","), "which sides to measure")
	flag.StringVar(&b.json, "json", "", "also write all measurements to this `file`")
	flag.IntVar(&b.models, "models", 500, "how many new models, then changes of all of them")
	flag.IntVar(&b.repeat, "repeat", 3, "how often to measure that, and single changes")
	flag.IntVar(&b.many, "many", 2000, "the same with many models, then the service and the deletions")
	flag.IntVar(&b.repeatMany, "repeat-many", 1, "how often to measure that")
	flag.IntVar(&b.dependents, "dependents", 1000, "how many of the many models belong to the service that changes, and are deleted then")
	flag.IntVar(&b.changes, "changes", 100, "how many changes one at a time")
	flag.IntVar(&b.zeros, "zeros", 5, "how many changes while no function runs")
	flag.IntVar(&b.pull, "pull", 0, "measure a round of pull over this number of models, such as 10000")
	flag.IntVar(&b.starts, "starts", 10, "how often to start each program")
	flag.Parse()
	end(b.run(signals.NewContext()))
}

// end ends the process with how something ended.
func end(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s\n", console.EscapeLines(err.Error()))
		os.Exit(1)
	}
	os.Exit(0)
}

func (b *bench) run(ctx context.Context) (err error) {
	chosen, err := chosenSides(b.names)
	if err != nil {
		return err
	}
	if b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "synchronizer-bench-"); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				fmt.Printf("bench: data and logs are in %s\n", b.dir)
				return
			}
			err = os.RemoveAll(b.dir)
		}()
	}
	if b.root, err = filepath.Abs(b.root); err != nil {
		return err
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if err := b.build(ctx, chosen); err != nil {
		return err
	}
	if err := b.measure(ctx, chosen); err != nil {
		return err
	}
	b.print(os.Stdout)
	return b.save()
}

// measure runs all sessions. The sides take turns.
func (b *bench) measure(ctx context.Context, chosen []side) error {
	for n := range b.repeat {
		for _, side := range chosen {
			if err := b.session(ctx, side, n, newInstances(b.models), changedInstances, singleChanges(b.changes)); err != nil {
				return err
			}
		}
	}
	for n := range b.repeatMany {
		for _, side := range chosen {
			if b.many == 0 {
				break
			}
			if err := b.session(ctx, side, n, newInstances(b.many), changedInstances, changedService, deletedInstances); err != nil {
				return err
			}
		}
	}
	for _, side := range slices.DeleteFunc(slices.Clone(chosen), func(s side) bool { return !s.functions }) {
		if b.zeros > 0 {
			if err := b.session(ctx, side.idle(), 0, changesFromZero(b.zeros)); err != nil {
				return err
			}
		}
		if b.pull > 0 {
			if err := b.session(ctx, side, 0, newInstances(b.pull), pullRound); err != nil {
				return err
			}
		}
	}
	if b.starts > 0 {
		return b.processStarts(ctx, chosen)
	}
	return nil
}

// save writes the measurements for programs.
func (b *bench) save() error {
	if b.json == "" {
		return nil
	}
	raw, err := json.MarshalIndent(map[string]any{"command": command(), "machine": b.machine(), "results": b.results, "peaks": b.peaks, "starts": b.startups}, "", "  ")
	return errors.Join(err, os.WriteFile(b.json, append(raw, '\n'), 0o644))
}
