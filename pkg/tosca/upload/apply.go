package upload

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/tosca"
)

// PartialError says that an upload stopped in the middle. It wraps the error that stopped it.
type PartialError struct {
	// Done and Left are the steps that were made and that were not; the first of Left is the one
	// that failed.
	Done, Left []*Step
	Err        error
}

// Error says what is done and what is not.
func (e *PartialError) Error() string {
	return fmt.Sprintf("stopped at node %q: %v\ndone: %s\nnot done: %s\nUpload the recipe again to have the rest done.",
		e.Left[0].Node.Name, e.Err, describe(e.Done), describe(e.Left))
}

// Unwrap returns the error that stopped the upload.
func (e *PartialError) Unwrap() error { return e.Err }

func describe(steps []*Step) string {
	var words []string
	for _, s := range steps {
		if s.Action.writes() {
			words = append(words, fmt.Sprintf("%s %s %s", s.Action, s.Kind(), s.Object))
		}
	}
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}

func (a Action) writes() bool { return a == Create || a == Update || a == Delete }

// Apply makes the changes of the plan, one after the other in its order. It goes on if ctx ends:
// half of a recipe is worse than a recipe that nobody waited for. The error is a PartialError.
func (u *Uploader) Apply(ctx context.Context, plan *Plan) error {
	ctx = context.WithoutCancel(ctx)
	for i, s := range plan.Steps {
		if !s.Action.writes() {
			continue
		}
		if err := u.apply(ctx, s); err != nil {
			return &PartialError{Done: plan.Steps[:i], Left: plan.Steps[i:], Err: err}
		}
	}
	return nil
}

func (u *Uploader) apply(ctx context.Context, s *Step) error {
	written, err := u.write(ctx, s, stored)
	if s.Action == Delete && model.IsGone(err) {
		return nil
	}
	if err != nil {
		explained, err := s.explain(err)
		if err != nil {
			return err
		}
		return explained
	}
	if written != nil {
		s.live = written
	}
	return nil
}

// PlanDelete finds out what deleting the nodes removes, in reverse order, and has the API server
// agree to it. References are left out, and an object that is not there is not deleted.
func (u *Uploader) PlanDelete(ctx context.Context, nodes []*tosca.Node) (*Plan, tosca.Errors, error) {
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n *tosca.Node) bool { return n.MustExist })
	slices.Reverse(nodes)
	objects, err := u.find(ctx, nodes)
	if err != nil {
		return nil, nil, err
	}
	plan := &Plan{Namespace: u.namespace}
	var errs tosca.Errors
	for _, n := range nodes {
		live, e := objects[n.Type.GroupKind()].resolve(n)
		if e != nil {
			errs = append(errs, e)
			continue
		}
		s := &Step{Node: n, Action: Absent, Object: n.Object, live: live}
		if live != nil {
			s.Action, s.Object = Delete, live.GetName()
		}
		plan.Steps = append(plan.Steps, s)
	}
	dryErrs, err := u.dryRunAll(ctx, plan.Steps)
	if err != nil {
		return nil, nil, err
	}
	return plan, append(errs, dryErrs...), nil
}
