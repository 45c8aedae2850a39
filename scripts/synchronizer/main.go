// Synchronizer is a command for people who work with models, on a cluster or on this machine. It says why a model is not
// Ready, asks for another run of its steps, and holds them back. Under the name kubectl-synchronizer on the PATH it is a
// plugin of kubectl.
package main

import (
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
		os.Exit(1)
	}
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
	c.AddCommand(initCommand(streams), addCommand(streams), generateCommand(streams), runCommand(streams), whyCommand(s, streams, now), againCommand(s, streams, now), pauseCommand(s, streams), resumeCommand(s, streams))
	return c
}
