package upload

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"

	"github.com/xos-knative/synchronizer/pkg/tosca"
)

// PartialError says that an upload stopped in the middle. It wraps the error that stopped it.
type PartialError struct {
	// Done and Left are the steps that were made and that were not; the first of Left is the one that failed.
	Done, Left []*Step
	Err        error
}

// Error says what is done and what is not. Uploading the recipe again makes the rest.
func (e *PartialError) Error() string {
	return fmt.Sprintf("stopped at node %q: %v\ndone: %s\nnot done: %s\nUpload the recipe again to have the rest done.",
		e.Left[0].Node.Name, e.Err, describe(e.Done), describe(e.Left))
}

// Unwrap gives the error that stopped the upload.
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

// Apply makes the changes of the plan, one after the other in its order. The caller's going away does not stop it: half
// of a recipe is worse than a recipe that nobody waited for. It fails with a PartialError.
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
	written, err := u.writeNewest(ctx, s)
	if err == nil {
		if written != nil {
			s.live = written
		}
		return nil
	}
	if s.Action == Delete && apierrors.IsNotFound(err) {
		return nil
	}
	explained, err := s.explain(err)
	if err != nil {
		return err
	}
	return explained
}

// writeNewest writes (or, with metav1.DryRunAll, asks about it) on top of whatever statuses steps have written since the
// object was read: they do so all the time, and that is no reason to fail.
func (u *Uploader) writeNewest(ctx context.Context, s *Step, dryRun ...string) (written *unstructured.Unstructured, err error) {
	stale := func(err error) bool { return s.Action == Update && apierrors.IsConflict(err) }
	err = retry.OnError(retry.DefaultRetry, stale, func() error {
		written, err = u.write(ctx, s, dryRun...)
		if !stale(err) {
			return err
		}
		return u.refresh(ctx, s, err)
	})
	return written, err
}

// refresh puts the change onto the newest object and returns the conflict, to be tried again. A new generation ends it:
// somebody else has changed what the recipe is about, and the dry run no longer stands for what would come out.
func (u *Uploader) refresh(ctx context.Context, s *Step, conflict error) error {
	now, err := u.resource(s.Node.Type).Get(ctx, s.Object, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if now.GetUID() != s.live.GetUID() || now.GetGeneration() != s.live.GetGeneration() || now.GetDeletionTimestamp() != nil {
		// No conflict any more in the eyes of the retry, which would ask again.
		return s.changedMeanwhile()
	}
	s.live = now.DeepCopy()
	now.Object["spec"] = s.want.Object["spec"]
	annotations := now.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	for _, f := range s.Node.Fields {
		if f.Path[0] == "metadata" {
			annotations[f.Path[len(f.Path)-1]] = fmt.Sprint(f.Value)
		}
	}
	now.SetAnnotations(annotations)
	s.want = now
	return conflict
}

// PlanDelete finds out what deleting the nodes removes, in reverse order, and has the API server agree to it. References
// are left out, and what is not there (any more) is nothing to delete.
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
