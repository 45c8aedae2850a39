package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/xos-knative/synchronizer/scripts/synchronizer/generate"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/scaffold"
)

func initCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var r scaffold.Repository
	c := &cobra.Command{
		Use:   "init DIRECTORY --group GROUP",
		Short: "Make the repository of a new synchronizer",
		Long: `Make the smallest repository of a synchronizer that builds, tests and runs. The last element of the directory is the
synchronizer's name, and the namespace of its functions and models.`,
		Example: `  go run github.com/xos-knative/synchronizer/scripts/synchronizer@latest init dns --group dns.example.com

  # Built with a checkout of the framework instead of a published version
  go run ./scripts/synchronizer init ../dns --group dns.example.com --framework .`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r.Dir = args[0]
			if err := scaffold.Init(c.Context(), r); err != nil {
				return err
			}
			if _, err := generate.Run(c.Context(), r.Dir, false); err != nil {
				return err
			}
			fmt.Fprintf(streams.Out, "%s is there. Next:\n  cd %s\n  go tool synchronizer add model KIND --steps sync\n", r.Dir, r.Dir)
			return nil
		},
	}
	c.Flags().StringVar(&r.Group, "group", "", "the API group of the models, such as dns.example.com")
	c.Flags().StringVar(&r.Module, "module", "", "the path of the Go module (default example.com/NAME)")
	c.Flags().StringVar(&r.Checkout, "framework", "", "build with the checkout of the framework in this `directory`")
	_ = c.MarkFlagRequired("group")
	return c
}

func addCommand(streams genericiooptions.IOStreams) *cobra.Command {
	c := &cobra.Command{Use: "add", Short: "Add a model or a step to a project"}
	c.AddCommand(addModelCommand(streams), addStepCommand(streams))
	return c
}

func addModelCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var steps, dependsOn []string
	c := &cobra.Command{
		Use:   "model KIND",
		Short: "Add a Go type for a model, and the steps that it has",
		Example: `  go tool synchronizer add model Zone --steps sync
  go tool synchronizer add model Record --steps sync,policy --depends-on Zone=spec.zone.name`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			author, err := scaffold.In(".")
			if err != nil {
				return err
			}
			path, err := author.AddModel(args[0], steps, dependsOn)
			if err != nil {
				return err
			}
			made := []string{path}
			for _, step := range steps {
				files, err := author.AddStep(step, args[0], "")
				if err != nil {
					return err
				}
				made = append(made, files...)
			}
			return added(c, streams, made)
		},
	}
	c.Flags().StringSliceVar(&steps, "steps", nil, "the `steps` of the kind: sync, policy or sync,policy")
	c.Flags().StringSliceVar(&dependsOn, "depends-on", nil, "what it depends on, as `KIND=spec.FIELD.name`")
	return c
}

func addStepCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var eventType string
	c := &cobra.Command{
		Use:   "step " + strings.Join(scaffold.Steps, "|") + " KIND",
		Short: "Add a step for a model",
		Long: `Add a step for a model, in the function of that name. A sync or policy step is added to the steps in the model's
markers, too.`,
		Example: `  go tool synchronizer add step pull Record
  go tool synchronizer add step event Record --type com.example.dns.changed`,
		Args:      cobra.ExactArgs(2),
		ValidArgs: scaffold.Steps,
		RunE: func(c *cobra.Command, args []string) error {
			author, err := scaffold.In(".")
			if err != nil {
				return err
			}
			made, err := author.AddStep(args[0], args[1], eventType)
			if err != nil {
				return err
			}
			return added(c, streams, made)
		},
	}
	c.Flags().StringVar(&eventType, "type", "", "the `type` of the events of an event step")
	return c
}

// added makes what follows from new files, and says which these are.
func added(c *cobra.Command, streams genericiooptions.IOStreams, made []string) error {
	for _, path := range made {
		fmt.Fprintln(streams.Out, path)
	}
	changed, err := generate.Run(c.Context(), ".", false)
	for _, path := range changed {
		fmt.Fprintln(streams.Out, path, "(made)")
	}
	return err
}
