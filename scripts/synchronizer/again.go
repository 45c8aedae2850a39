package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// pollInterval is how often --wait looks.
const pollInterval = 200 * time.Millisecond

// again asks for another run of all steps.
type again struct {
	genericiooptions.IOStreams
	failed, all, wait bool
	reason            string
	timeout           time.Duration
	now               func() time.Time
}

func againCommand(s *selection, streams genericiooptions.IOStreams, now func() time.Time) *cobra.Command {
	a := &again{IOStreams: streams, now: now}
	c := &cobra.Command{
		Use:   "again (KIND/NAME... | KIND | --all)",
		Short: "Ask for another run of all steps of models",
		Example: `  # One, and wait until its steps have run
  synchronizer again hwsi/daenerys --wait
  # All in the namespace with a step that has failed
  synchronizer again --all --failed`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !a.all {
				return errors.New("expected KIND/NAME, KIND or --all, got nothing")
			}
			if len(args) == 0 {
				args = []string{category}
			}
			return s.each(cmd.Context(), args, func(client *model.Client, o selected) error { return a.do(cmd.Context(), client, o) })
		},
	}
	s.addFlags(c)
	c.Flags().BoolVar(&a.all, "all", false, "all models")
	c.Flags().BoolVar(&a.failed, "failed", false, "only those with a step that has failed")
	c.Flags().BoolVar(&a.wait, "wait", false, "wait until the steps have run; it is an error if one has failed")
	c.Flags().DurationVar(&a.timeout, "timeout", time.Minute, "how long to wait for each")
	c.Flags().StringVar(&a.reason, "reason", "somebody asked for it", "what the status says why")
	return c
}

func (a *again) do(ctx context.Context, client *model.Client, o selected) error {
	s, err := o.kind.SnapshotOf(o.live)
	if err != nil {
		return err
	}
	if a.failed && !anyStep(s, func(status *model.StepStatus) bool { return status.State == model.StateFailed }) {
		return nil
	}
	u, _, err := client.Modify(ctx, o.kind, s.Namespace, s.Name, func(u *unstructured.Unstructured) error {
		model.Request(u, a.now(), a.reason)
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s is asked to run again\n", o)
	if !a.wait {
		return nil
	}
	return a.await(ctx, client, o, u.GetAnnotations()[model.AnnotationRequestedAt])
}

func anyStep(s *model.Snapshot, is func(*model.StepStatus) bool) bool {
	for _, step := range s.Kind.Steps {
		if status := s.Status.Step(step); status != nil && is(status) {
			return true
		}
	}
	return false
}

// await returns when each step has run for the request.
func (a *again) await(ctx context.Context, client *model.Client, o selected, requestedAt string) error {
	var waits model.Step
	// The requests do not end with the time to wait: one that is cut off would be another error than that.
	err := wait.PollUntilContextTimeout(ctx, pollInterval, a.timeout, true, func(context.Context) (bool, error) {
		u, err := client.Live(ctx, o.kind, o.live.GetNamespace(), o.live.GetName())
		if err != nil {
			return false, err
		}
		s, err := o.kind.SnapshotOf(u)
		if err != nil {
			return false, err
		}
		for _, step := range o.kind.Steps {
			waits = step
			status := s.Status.Step(step)
			switch {
			case s.OptedOut(step):
			case status == nil || status.RequestedAt != requestedAt:
				return false, nil
			case status.State == model.StateFailed:
				return false, fmt.Errorf("%s failed: %s", step, status.Message)
			case status.State != model.StateOK:
				return false, nil
			}
		}
		return true, nil
	})
	if wait.Interrupted(err) {
		return fmt.Errorf("step %s has not run to its end within %s; synchronizer why %s says more", waits, a.timeout, o)
	}
	if err == nil {
		fmt.Fprintf(a.Out, "%s has run again\n", o)
	}
	return err
}
