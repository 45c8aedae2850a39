// Synchronizer is a command for people who work with models, on a cluster or on this machine. It says why a model is not
// Ready, asks for another run of its steps, and holds them back. For their authors it makes the files of a synchronizer, and
// checks whether definitions, functions, wires and rights fit together. Under the name kubectl-synchronizer on the PATH it is
// a plugin of kubectl.
package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"knative.dev/pkg/signals"
)

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	if err := newCommand(streams, time.Now).ExecuteContext(signals.NewContext()); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(exitCode(err))
	}
}

// exit is an error with an exit code of its own.
type exit struct {
	code int
	error
}

// Unwrap makes errors.Is and errors.As look at the error itself.
func (e exit) Unwrap() error { return e.error }

// exitCode is 1 for an error that has none of its own.
func exitCode(err error) int {
	if e := (exit{}); errors.As(err, &e) {
		return e.code
	}
	return 1
}

// newCommand makes the command. Its clock is now.
func newCommand(streams genericiooptions.IOStreams, now func() time.Time) *cobra.Command {
	c := &cobra.Command{
		Use:           "synchronizer",
		Short:         "Work with the models of synchronizers",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	c.SetOut(streams.Out)
	c.SetErr(streams.ErrOut)
	flags := genericclioptions.NewConfigFlags(true)
	flags.AddFlags(c.PersistentFlags())
	s := &selection{flags: flags}
	c.AddCommand(initCommand(streams), importCommand(streams), addCommand(streams), generateCommand(streams), checkCommand(flags, streams), runCommand(streams))
	c.AddCommand(whyCommand(s, streams, now), againCommand(s, streams, now), pauseCommand(s, streams), resumeCommand(s, streams))
	return c
}
