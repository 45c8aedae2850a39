// Local runs this project on one machine without a cluster: all resources of config/ and eventing/, on a real Kubernetes
// API and Knative's own event handling. See package pkg/local for how. Ctrl-C ends it; started again it goes on where it
// stopped.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"knative.dev/pkg/signals"

	"github.com/xos-knative/synchronizer/pkg/local"
)

// list is a flag that can be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func main() {
	o := local.Options{Out: os.Stdout}
	flag.StringVar(&o.Root, "root", ".", "the project: its config/ and eventing/ are run")
	flag.StringVar(&o.Dir, "dir", "", "where to keep data, logs and kubeconfig (default .run below the project)")
	flag.StringVar(&o.Bin, "bin", "", "where the programs are, built (default they are built)")
	flag.IntVar(&o.Port, "port", 8080, "port of functions and brokers, 0 = any free one")
	flag.DurationVar(&o.Idle, "idle", local.DefaultIdle, "how long functions stay without a request, 0 = what their annotations say")
	flag.Var((*list)(&o.Without), "without", "leave a resource out, as `kind/name` such as trigger/policy; can be repeated")
	flag.BoolVar(&o.Verbose, "v", false, "show more")
	flag.Parse()

	if err := run(signals.NewContext(), o); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o local.Options) error {
	s, err := local.Start(ctx, o)
	if err != nil {
		if ctx.Err() != nil {
			// Ctrl-C while starting is not a failure.
			return nil
		}
		return err
	}
	s.PrintOverview()
	select {
	case <-ctx.Done():
		fmt.Fprintln(o.Out, "stopping")
		return s.Stop()
	case <-s.Failed():
		return errors.Join(errors.New("the Kubernetes API has ended; its log is kubeapi.log in the data directory"), s.Stop())
	}
}
