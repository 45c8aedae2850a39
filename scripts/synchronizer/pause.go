package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/xos-knative/synchronizer/pkg/model"
)

func pauseCommand(s *selection, streams genericiooptions.IOStreams) *cobra.Command {
	return annotating(s, streams, &cobra.Command{
		Use:     "pause KIND/NAME...",
		Short:   "Hold back all steps of models, also on deletion",
		Example: "  synchronizer pause hwsi/daenerys",
	}, "paused", func(annotations map[string]string) { annotations[model.AnnotationPaused] = "true" })
}

func resumeCommand(s *selection, streams genericiooptions.IOStreams) *cobra.Command {
	return annotating(s, streams, &cobra.Command{
		Use:     "resume KIND/NAME...",
		Short:   "Let the steps of paused models run again",
		Example: "  synchronizer resume hwsi --selector team=north",
	}, "resumed", func(annotations map[string]string) { delete(annotations, model.AnnotationPaused) })
}

// annotating makes a command that changes annotations.
func annotating(s *selection, streams genericiooptions.IOStreams, c *cobra.Command, done string, change func(map[string]string)) *cobra.Command {
	c.Args = cobra.MinimumNArgs(1)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return s.each(cmd.Context(), args, func(client *model.Client, o selected) error {
			_, op, err := client.Modify(cmd.Context(), o.kind, o.live.GetNamespace(), o.live.GetName(), func(u *unstructured.Unstructured) error {
				annotations := u.GetAnnotations()
				if annotations == nil {
					annotations = map[string]string{}
				}
				change(annotations)
				u.SetAnnotations(annotations)
				return nil
			})
			switch {
			case err != nil:
				return err
			case op == model.Unchanged:
				fmt.Fprintf(streams.Out, "%s was %s before\n", o, done)
			default:
				fmt.Fprintf(streams.Out, "%s %s\n", o, done)
			}
			return nil
		})
	}
	s.addFlags(c)
	return c
}
