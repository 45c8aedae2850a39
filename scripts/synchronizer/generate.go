package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/xos-knative/synchronizer/scripts/synchronizer/generate"
)

func generateCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:   "generate [DIRECTORY]",
		Short: "Make everything that follows from the types and the steps of a project",
		Long: `Make of the Go types of the models the deep copies, the scheme registration and the CustomResourceDefinitions;
of the functions their accounts, least rights, Knative Services, Triggers, PingSources, EventTypes and kustomizations.

The functions are built and asked what they consist of. What they cannot know is said by markers in their packages:

  // +kubebuilder:rbac:groups=dns.example.com,resources=zones,verbs=get;list
  // +synchronizer:env:name=DNS_URL,value="http://dns.dns.svc.cluster.local"
  // +synchronizer:schedule="*/5 * * * *"
  // +synchronizer:eventtype:type=com.example.dns.changed,name=changed,description="A record has changed."

What is made is not to be edited. What has to be different goes into a strategic merge patch in the folder patches, and
is laid over what is made. Other files in config/ and eventing/ are left alone.`,
		Example: `  # After a change of a type, or a new step
  go tool synchronizer generate

  # In CI: fails if something is not up to date
  go tool synchronizer generate --check`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			changed, err := generate.Run(c.Context(), argument(args, "."), check)
			if err != nil {
				return err
			}
			for _, path := range changed {
				fmt.Fprintln(streams.Out, path)
			}
			if check && len(changed) > 0 {
				return fmt.Errorf("%d files are not up to date: run synchronizer generate, and commit them", len(changed))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&check, "check", false, "change nothing, and fail if something is not up to date")
	return c
}

// argument is the only argument of a command, or what stands for it.
func argument(args []string, otherwise string) string {
	if len(args) > 0 {
		return args[0]
	}
	return otherwise
}
