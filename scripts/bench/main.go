// Bench measures this project side by side with an operator, and with what the API itself takes. All sides do the same job
// for the same model: a HelloWorldServiceInstance with a service becomes a greeting at the greeter, and its status says Ready at
// its current generation.
//
//   - floor: 32 loops in the driver do the bare writes, one after the other: create, finalizer, greeting, status. Nobody
//     watches and nobody decides. A side that makes as many writes cannot be much faster.
//   - peer, peer 32: an operator as it is usually written (folder peer), with controller-runtime's defaults, and with 32
//     reconciles at a time.
//   - ours: the model source, the Broker with its Triggers, and the functions, by the local runner. Function sync and function
//     policy are two.
//   - ours in one: the same with overlay one-function, in which they are one.
//
// Each session has an API server and a greeter of its own, both empty, and the sides take turns. Every program is a process of
// its own, so that its CPU and memory can be told apart. In "ours" the runner is the Broker and the activators. The driver
// writes with 32 clients and sees by one watch when models are ready.
//
// The rounds: new models and changes of all of them, then changes one at a time, three times; programs that start; growth;
// changes while no function runs; many models, a change of the service that all of them belong to, and their deletion, once. A
// round of pull only with -pull. What would not end within -within is left out, and the last line says so.
//
// Growth is how the model source does with more and more models on which no step has work: copies of one that the functions
// have settled, written into etcd. "Bare read" is the same request as that of the source, a watch that begins with all models,
// whose answer nobody decodes: what the API and etcd take by themselves. The column GROWTH is the exponent from the line
// above: 1 is linear, 2 quadratic. MIB is what the source uses when it has looked at all models, HEAP is Go's part of it.
//
// How to read the tables: a ratio is the median of what two sides did in the same repetition. "RATE TO PEER" 0.50 is half as
// many models per second. "OTHERS" is how many cores the rest of the machine used meanwhile: above 0.3 or so believe ratios rather than
// figures, and CPU per model rather than both. Requests do not count watches. "(events)" is what functions got, also again.
// A program is started when it answers /readyz: the source has read all models then, the others listen.
//
// Not measured: models in a chain, each of which waits for the one before. Hello-world has none; it would take a kind that
// depends on itself, and its steps on all sides.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"knative.dev/pkg/signals"

	"github.com/xos-knative/synchronizer/pkg/local/console"
	"github.com/xos-knative/synchronizer/scripts/bench/report"
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
	growth     string
	picture    string
	within     time.Duration

	sizes     []int // of growth
	self, bin string
	results   []report.Result
	peaks     []report.Result
	startups  []startup
	growths   []growth
	left      []string // what was left out for want of time
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
	flag.IntVar(&b.many, "many", 1000, "how many new models, then a change of their service and deletions")
	flag.IntVar(&b.repeatMany, "repeat-many", 1, "how often to measure that")
	flag.IntVar(&b.dependents, "dependents", 1000, "how many of these belong to the service that changes, and are deleted then")
	flag.IntVar(&b.changes, "changes", 100, "how many changes one at a time")
	flag.IntVar(&b.zeros, "zeros", 5, "how many changes while no function runs")
	flag.IntVar(&b.pull, "pull", 0, "measure a round of pull over this number of models, such as 10000")
	flag.IntVar(&b.starts, "starts", 10, "how often to start each program")
	flag.StringVar(&b.growth, "growth", "1000,10000,50000", "measure the model source at these numbers of models, none if empty")
	flag.StringVar(&b.picture, "picture", "", "also draw that as SVG to this `file`")
	flag.DurationVar(&b.within, "within", 15*time.Minute, "leave out what would probably take longer")
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
	began := time.Now()
	chosen, err := chosenSides(b.names)
	if err != nil {
		return err
	}
	if b.sizes, err = parseSizes(b.growth); err != nil {
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
	if err := b.measure(ctx, began, b.rounds(chosen)); err != nil {
		return err
	}
	b.print(os.Stdout)
	return errors.Join(b.save(), b.draw())
}

// save writes the measurements for programs.
func (b *bench) save() error {
	if b.json == "" {
		return nil
	}
	raw, err := json.MarshalIndent(map[string]any{"command": command(), "machine": b.machine(), "results": b.results, "peaks": b.peaks, "starts": b.startups, "growth": b.growths, "left out": b.left}, "", "  ")
	return errors.Join(err, os.WriteFile(b.json, append(raw, '\n'), 0o644))
}
