// Local runs this project on one machine without a cluster: the resources of config/ and eventing/, on a real Kubernetes
// API and Knative's own event handling. See package pkg/local for how. It also adds synchronizers to one that runs, and
// removes them from it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"knative.dev/pkg/signals"

	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/console"
)

const usage = `local runs the core and its synchronizers on this machine until Ctrl-C. Started again it goes on where it stopped.

  local [FLAGS]                      run
  local [FLAGS] add NAME|DIRECTORY   add a synchronizer to what runs
  local [FLAGS] remove NAME          delete the models of a synchronizer, wait until its steps have cleaned up, remove it

The core always runs. A synchronizer is a folder NAME of config/ and eventing/, or a directory elsewhere with config/ and
eventing/ in it. Without -only all of the project's run. What is added and removed is remembered in the data directory:
the next run has it too, whatever -only and -add say.

`

// list is a flag that can be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// names is a flag with names separated by commas.
type names []string

func (n *names) String() string     { return strings.Join(*n, ",") }
func (n *names) Set(v string) error { *n = append(*n, strings.Split(v, ",")...); return nil }

func main() {
	o := local.Options{Out: os.Stdout}
	flag.StringVar(&o.Root, "root", ".", "the `folder` of the project")
	flag.Var((*names)(&o.Only), "only", "the `names` of the project's synchronizers to run, separated by commas; core for none of them (default all)")
	flag.Var((*list)(&o.Add), "add", "run the synchronizer in this `directory` too; can be repeated")
	flag.StringVar(&o.Dir, "dir", "", "where to keep data, logs and kubeconfig (default .run below the project)")
	flag.StringVar(&o.Bin, "bin", "", "where the programs are, each under its import path in the module (default they are built)")
	flag.IntVar(&o.Port, "port", 8080, "port of functions and brokers, 0 = any free one")
	flag.DurationVar(&o.Idle, "idle", local.DefaultIdle, "how long functions stay without a request, 0 = what their annotations say")
	flag.Var((*list)(&o.Without), "without", "leave a resource out, as `kind/name` such as trigger/helloworld-policy; can be repeated")
	flag.BoolVar(&o.Verbose, "v", false, "show more")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()

	if err := do(signals.NewContext(), o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", console.EscapeLines(err.Error()))
		os.Exit(1)
	}
}

// do carries out the command of args: none runs the System.
func do(ctx context.Context, o local.Options, args []string) error {
	if len(args) == 0 {
		return run(ctx, o)
	}
	if len(args) != 2 || args[0] != "add" && args[0] != "remove" {
		return fmt.Errorf("expected add NAME|DIRECTORY or remove NAME, got %q", args)
	}
	runner, err := local.Connect(o)
	if err != nil {
		return err
	}
	var answer string
	if args[0] == "add" {
		answer, err = runner.Add(ctx, absolute(args[1]))
	} else {
		answer, err = runner.Remove(ctx, args[1])
	}
	if err == nil {
		fmt.Println(answer)
	}
	return err
}

// absolute makes a directory absolute, because the runner may be in another one. A name has no separator in it.
func absolute(source string) string {
	if !strings.ContainsRune(source, filepath.Separator) && source != "." && source != ".." {
		return source
	}
	if abs, err := filepath.Abs(source); err == nil {
		return abs
	}
	return source
}

func run(ctx context.Context, o local.Options) error {
	for i, dir := range o.Add {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		o.Add[i] = abs
	}
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
