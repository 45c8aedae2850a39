// Demo runs the hello-world example from beginning to end on one machine: it
// starts the local system in a temporary folder, does what a user does with
// kubectl and curl, shows what happens, and checks it. The exit code is 0 only
// if everything is as expected.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"knative.dev/pkg/signals"

	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/console"
)

func main() {
	root := flag.String("root", ".", "the project: its config/ and eventing/ are run")
	flag.Parse()
	start := time.Now()
	if err := run(signals.NewContext(), *root); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: FAILED: %s\n", console.EscapeLines(err.Error()))
		os.Exit(1)
	}
	fmt.Printf("\ndemo: everything is as expected (%s)\n", time.Since(start).Round(time.Second))
}

func run(ctx context.Context, root string) error {
	dir, err := os.MkdirTemp("", "synchronizer-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Println("Building the programs and starting the local system; the first build takes minutes.")
	system, err := local.Start(ctx, local.Options{Root: root, Dir: dir, Out: os.Stdout, Only: []string{"helloworld"}, Idle: 5 * time.Second,
		// It ticks by the clock; the demo sends a tick of its own.
		Without: []string{"pingsource/pull"}})
	if err != nil {
		return err
	}
	s, err := newStage(system, root)
	if err == nil {
		err = s.play(ctx)
	}
	if stopErr := system.Stop(); err == nil {
		err = stopErr
	}
	return err
}

// act is one part of the demo.
type act struct {
	title string
	play  func(*stage, context.Context) error
}

// play plays all acts; the first that fails ends the demo.
func (s *stage) play(ctx context.Context) error {
	for i, a := range []act{
		{"A service and three guests", (*stage).declare},
		{"The service greets in another name", (*stage).rename},
		{"Nothing is due: nothing runs", (*stage).rest},
		{"An event of the micro-service becomes a model", (*stage).event},
		{"What only the micro-service has is pulled", (*stage).pull},
		{"An event that cannot be handled is not lost", (*stage).deadLetter},
		{"Everything is deleted", (*stage).remove},
		{"A recipe that was written for XOS", (*stage).recipe},
	} {
		fmt.Printf("\n=== %d. %s\n\n", i+1, a.title)
		if err := a.play(s, ctx); err != nil {
			return fmt.Errorf("%s: %w", a.title, err)
		}
	}
	return nil
}
