package upload

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"knative.dev/pkg/apis"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/tosca"
)

// Pending is a node whose model is not as it was asked for, or not yet.
type Pending struct {
	Step *Step
	// Reason says why.
	Reason string
}

// poll is how often the objects are read while the caller waits: often at first, because most steps
// take milliseconds. It does not watch, so that the caller needs no other right than to list.
func poll() wait.DelayFunc {
	return wait.Backoff{Duration: 100 * time.Millisecond, Factor: 1.5, Cap: 2 * time.Second, Steps: 20}.DelayFunc()
}

// Wait returns when every model of the plan is Ready (or, after a deletion, gone), when those that
// are not can no longer become so, or when ctx ends. It returns the ones that are not, in the order
// of the plan. A kind without steps is ready when it exists.
func (u *Uploader) Wait(ctx context.Context, plan *Plan) []Pending {
	open := slices.DeleteFunc(slices.Clone(plan.Steps), func(s *Step) bool { return s.Action == Reference || s.Action == Absent })
	why := make(map[*Step]string, len(open))
	for _, s := range open {
		why[s] = "there was no time to read it"
	}
	// The error is the end of the context, or a refusal; why has the reason for each object.
	_ = poll().Until(ctx, true, false, func(ctx context.Context) (bool, error) {
		reasons, err := u.look(ctx, open)
		if ctx.Err() != nil {
			// This look is not complete: the one before it counts.
			return false, nil
		}
		if err != nil {
			for _, s := range open {
				why[s] = "its state cannot be read: " + err.Error()
			}
			// An API that is away may come back. A refusal stays one.
			return apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err), nil
		}
		open = slices.DeleteFunc(open, func(s *Step) bool {
			why[s] = reasons[s]
			return reasons[s] == "" || reasons[s] == gone
		})
		return len(open) == 0, nil
	})
	var pending []Pending
	for _, s := range plan.Steps {
		if why[s] != "" {
			pending = append(pending, Pending{Step: s, Reason: why[s]})
		}
	}
	return pending
}

const gone = "it was deleted in the meantime"

// look returns the reason for each step whose object is not as it was asked for.
func (u *Uploader) look(ctx context.Context, steps []*Step) (map[*Step]string, error) {
	nodes := make([]*tosca.Node, 0, len(steps))
	for _, s := range steps {
		nodes = append(nodes, s.Node)
	}
	objects, err := u.find(ctx, nodes)
	if err != nil {
		return nil, err
	}
	reasons := make(map[*Step]string, len(steps))
	for _, s := range steps {
		reasons[s] = s.unready(objects[s.Node.Type.GroupKind()].byObject[s.Object])
	}
	return reasons, nil
}

// unready says why the object is not as it was asked for, empty if it is.
func (s *Step) unready(o *unstructured.Unstructured) string {
	replaced := o != nil && s.live != nil && o.GetUID() != s.live.GetUID()
	if s.Action == Delete {
		if o == nil || replaced {
			return ""
		}
		return "it is still there, held by: " + cmp.Or(strings.Join(o.GetFinalizers(), ", "), "nothing") + explainCondition(o)
	}
	switch {
	case o == nil || replaced:
		return gone
	case o.GetDeletionTimestamp() != nil:
		return "it is being deleted"
	case !slices.ContainsFunc(s.Node.Type.Steps, func(step model.Step) bool { return !model.OptedOut(o, step) }):
		return "" // No step will ever write a status.
	}
	observed, _, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	ready := condition(o)
	if observed >= o.GetGeneration() && ready != nil && ready.IsTrue() {
		return ""
	}
	if ready == nil {
		return fmt.Sprintf("no step has handled it yet (generation %d)", o.GetGeneration())
	}
	if observed < o.GetGeneration() && ready.IsTrue() {
		return fmt.Sprintf("its generation %d is not handled yet", o.GetGeneration())
	}
	return strings.TrimPrefix(explainCondition(o), "; ")
}

func explainCondition(o *unstructured.Unstructured) string {
	c := condition(o)
	if c == nil || c.Status == corev1.ConditionTrue {
		return ""
	}
	return fmt.Sprintf("; Ready is %s: %s", c.Status, strings.Trim(c.Reason+": "+c.Message, ": "))
}

// condition is the object's Ready condition, nil if it has none.
func condition(o *unstructured.Unstructured) *apis.Condition {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, e := range list {
		m, _ := e.(map[string]any)
		if m["type"] != string(model.ConditionReady) {
			continue
		}
		text := func(k string) string { s, _ := m[k].(string); return s }
		return &apis.Condition{Type: model.ConditionReady, Status: corev1.ConditionStatus(text("status")), Reason: text("reason"), Message: text("message")}
	}
	return nil
}
