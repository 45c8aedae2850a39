package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// oldest is how many objects of a kind are explained that are not Ready.
const oldest = 10

func whyCommand(s *selection, streams genericiooptions.IOStreams, now func() time.Time) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "why [KIND/NAME... | KIND]",
		Short: "Say what the steps of a model have to do, and what they wait for",
		Long: `Says of each model whether its steps are due, and why; what they wait for, and until when; their last errors; what it
depends on, and what depends on it. It asks what the functions ask: model.Due.

Without a name it explains the models that are not Ready, grouped by what they say, the oldest first.`,
		Example: `  synchronizer why hwsi/daenerys
  # What is wrong in this namespace?
  synchronizer why`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "" && format != "json" {
				return fmt.Errorf("--output: expected json, got %q", format)
			}
			names := isNamed(args)
			if len(args) == 0 {
				args = []string{category}
			}
			all := []*answer{} // As JSON it is a list, also without any.
			err := s.each(cmd.Context(), args, func(client *model.Client, o selected) error {
				a, err := explain(cmd.Context(), client, o, now())
				if err == nil && (names || a.Ready != "True") {
					all = append(all, a)
				}
				return err
			})
			switch {
			case format == "json":
				err = errors.Join(err, json.NewEncoder(streams.Out).Encode(all))
			case names:
				for _, a := range all {
					a.print(streams.Out, now())
				}
			case len(all) == 0 && err == nil:
				fmt.Fprintln(streams.Out, "All models are Ready.")
			default:
				printGroups(streams.Out, all)
			}
			return err
		},
	}
	s.addFlags(c)
	c.Flags().StringVarP(&format, "output", "o", "", "json, for programs")
	return c
}

// isNamed reports whether the arguments name objects, and not only kinds.
func isNamed(args []string) bool {
	return len(args) > 1 || len(args) == 1 && strings.Contains(args[0], "/")
}

// answer is what is the case with an object.
type answer struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Ready is the status of the condition, and Message what it says.
	Ready   string    `json:"ready"`
	Message string    `json:"message"`
	Created time.Time `json:"created"`
	Steps   []verdict `json:"steps"`
	// DependsOn and Dependents are other objects, and how they are.
	DependsOn  []string `json:"dependsOn,omitempty"`
	Dependents []string `json:"dependents,omitempty"`
}

// verdict is what is the case with one step.
type verdict struct {
	Step model.Step `json:"step"`
	// State of its last run.
	State model.State `json:"state,omitempty"`
	Due   bool        `json:"due"`
	// Why it is due, or not.
	Why string `json:"why"`
	// Until is when it is due, if nothing changes before.
	Until *time.Time `json:"until,omitempty"`
	// WaitsFor is what is in its way.
	WaitsFor []string `json:"waitsFor,omitempty"`
	// Errors are the last two different ones.
	Errors []string `json:"errors,omitempty"`
}

// explain asks of an object what the source and the engines ask.
func explain(ctx context.Context, client *model.Client, o selected, now time.Time) (*answer, error) {
	s, err := o.kind.SnapshotOf(o.live)
	if err != nil {
		return nil, err
	}
	a := &answer{Kind: s.Kind.GVK.Kind, Namespace: s.Namespace, Name: s.Name, Ready: "Unknown", Created: s.CreationTimestamp.Time}
	if c := s.Status.GetCondition(model.ConditionReady); c != nil {
		a.Ready, a.Message = string(c.Status), c.Message
	}
	var n model.Neighbours
	if n.Dependencies, err = client.Dependencies(ctx, s); err != nil {
		return nil, err
	}
	if n.Dependents, err = client.Dependents(ctx, s); err != nil {
		return nil, err
	}
	for _, step := range s.Kind.Steps {
		a.Steps = append(a.Steps, verdictOn(step, s, n, now))
	}
	for _, d := range n.Dependencies {
		a.DependsOn = append(a.DependsOn, strings.TrimSpace(d.GroupKind.Kind+" "+d.Name)+": "+how(d))
	}
	for _, d := range n.Dependents {
		a.Dependents = append(a.Dependents, d.Kind+" "+d.Name)
	}
	return a, nil
}

func how(d model.Dependency) string {
	switch {
	case d.Name == "":
		return "the spec names none"
	case d.Object == nil:
		return "does not exist"
	}
	if c := d.Object.Status.GetCondition(model.ConditionReady); c != nil {
		return "Ready is " + string(c.Status) + ", " + c.Message
	}
	return "not handled yet"
}

func verdictOn(step model.Step, s *model.Snapshot, n model.Neighbours, now time.Time) verdict {
	v := model.Due(step, s, n, now)
	status := s.Status.Step(step)
	out := verdict{Step: step, Due: v.Due(), Why: reasons[v.Reason]}
	blockers := v.Blockers
	if status != nil {
		out.State = status.State
		if status.State == model.StateFailed || status.Failures > 0 {
			out.Errors = strings.Split(status.Message, model.MessageSeparator)
		}
		if !v.Due() && status.State == model.StateWaiting {
			blockers = status.WaitingFor
		}
	}
	for _, b := range blockers {
		out.WaitsFor = append(out.WaitsFor, b.String())
	}
	switch {
	case v.Reason == model.DueChanged && status != nil:
		out.Why = fmt.Sprintf("generation %d was handled, %d is there", status.Generation, s.Generation)
	case !v.Due():
		out.Why = idle(step, s, v)
	}
	if !v.At.IsZero() {
		out.Until = &v.At
	}
	return out
}

// reasons say why a step is due.
var reasons = map[model.Reason]string{
	model.DueDeleted:    "the object is being deleted, and the step has not cleaned up",
	model.DueChanged:    "it was never handled",
	model.DueRetry:      "the time of the next attempt has come",
	model.DueRequested:  "somebody has asked for another run",
	model.DueDependency: "something it depends on has changed",
	model.DueFeedback:   "something new was reported about it",
	model.DueUnblocked:  "what it waited for has come or changed",
	model.DueFinalizer:  "somebody has removed the step's finalizer, which is put back",
	model.DueReport:     "the conditions do not say what is the case, and are written",
}

// idle says why a step is not due.
func idle(step model.Step, s *model.Snapshot, v model.Verdict) string {
	status := s.Status.Step(step)
	switch {
	case s.Paused():
		return "paused: remove annotation " + model.AnnotationPaused
	case s.Deleting() && !s.Carries(step):
		return "it has cleaned up"
	case s.OptedOut(step) && !s.Deleting():
		return "opted out by annotation " + step.OptOut()
	case status.State == model.StateWaiting:
		return "it waits"
	case status.Permanent:
		return "failed permanently: another spec, or `synchronizer again`, makes it run"
	case !v.At.IsZero():
		return "it is tried again"
	}
	return fmt.Sprintf("generation %d was handled", status.Generation)
}

func (a *answer) print(w io.Writer, now time.Time) {
	fmt.Fprintf(w, "%s %s/%s: Ready is %s, %s\n", a.Kind, a.Namespace, a.Name, a.Ready, cmp.Or(a.Message, "nothing was reported yet"))
	for _, v := range a.Steps {
		due := "not due"
		if v.Due {
			due = "due"
		}
		fmt.Fprintf(w, "  %s: %s, %s: %s\n", v.Step, cmp.Or(string(v.State), "never run"), due, v.Why)
		if v.Until != nil {
			fmt.Fprintf(w, "    at %s, in %s\n", v.Until.Format(time.RFC3339), duration.HumanDuration(v.Until.Sub(now)))
		}
		for _, b := range v.WaitsFor {
			fmt.Fprintf(w, "    waits for %s\n", b)
		}
		for _, e := range v.Errors {
			fmt.Fprintf(w, "    said: %s\n", e)
		}
	}
	for _, d := range a.DependsOn {
		fmt.Fprintf(w, "  depends on %s\n", d)
	}
	for _, d := range a.Dependents {
		fmt.Fprintf(w, "  has a dependent: %s\n", d)
	}
}

// printGroups prints the objects that are not Ready, those that say the same together, the oldest first.
func printGroups(w io.Writer, all []*answer) {
	slices.SortStableFunc(all, func(a, b *answer) int { return a.Created.Compare(b.Created) })
	var order []string
	groups := map[string][]*answer{}
	for _, a := range all {
		key := fmt.Sprintf("%s, Ready is %s: %s", a.Kind, a.Ready, cmp.Or(a.Message, "nothing was reported yet"))
		if len(groups[key]) == 0 {
			order = append(order, key)
		}
		groups[key] = append(groups[key], a)
	}
	for _, key := range order {
		fmt.Fprintln(w, key)
		for i, a := range groups[key] {
			if i == oldest {
				fmt.Fprintf(w, "  and %d more\n", len(groups[key])-oldest)
				break
			}
			fmt.Fprintf(w, "  %s/%s\n", a.Namespace, a.Name)
		}
	}
}
