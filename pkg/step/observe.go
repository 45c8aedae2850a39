package step

import (
	"context"
	"errors"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// maxSkew is how far the clock of a function's node may be behind the model source's, whose time is that of
// the event. Up to that the engine takes the source's time. Otherwise a retry would not be due yet here, and
// the source would count the event as lost and send it again after 30 s.
const maxSkew = 5 * time.Second

// hint is what a run knows from its event.
type hint struct {
	model.Reference
	// ahead is how far the source's clock is ahead of the function's.
	ahead time.Duration
}

func (e *engine) hint(event cloudevents.Event, ref model.Reference) hint {
	return hint{ref, min(maxSkew, max(0, event.Time().Sub(e.clock.Now())))}
}

// outdated is for a run that begins after something else has happened to the object: it reads what is now.
func (h hint) outdated() hint {
	h.ResourceVersion, h.Dependencies = "", nil
	return h
}

// now is the time of a run.
func (e *engine) now(o *observation) time.Time { return e.clock.Now().Add(o.ahead) }

// observation is what a run has read of the object and its neighbours.
type observation struct {
	hint
	// live is the object, nil if it is gone.
	live *unstructured.Unstructured
	// obj is the snapshot of live that Due looks at.
	obj        *model.Snapshot
	neighbours model.Neighbours
	// dependentsErr says what keeps a deleted object: the function may not list or delete objects of a
	// kind that can depend on it, or the definition of such a kind cannot be read.
	dependentsErr error
	// typed is live in the version that the step knows, once the step is called.
	typed *unstructured.Unstructured
	// reported is what another step of the same run has reported, and is not stored yet.
	reported model.Feedback
}

// read reads the object.
func (e *engine) read(ctx context.Context, ref hint) (*observation, error) {
	k, err := e.models.Kind(ctx, ref.GroupKind())
	if errors.Is(err, model.ErrNoModel) {
		k, err = e.models.Retired(ctx, schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind))
	}
	if err != nil {
		return nil, err
	}
	u, err := e.models.NotOlder(ctx, k, ref.Namespace, ref.Name, ref.ResourceVersion)
	if model.IsGone(err) {
		return &observation{hint: ref}, nil
	}
	if err != nil {
		return nil, err
	}
	o := &observation{hint: ref, live: u}
	o.obj, err = k.SnapshotOf(u)
	return o, err
}

// observe reads the neighbours of an object that was read.
func (e *engine) observe(ctx context.Context, seen *observation) (_ *observation, err error) {
	o := *seen
	o.neighbours, err = e.models.Neighbours(ctx, e.step, o.obj, o.Dependencies...)
	if o.obj.Deleting() && (apierrors.IsForbidden(err) || errors.Is(err, model.ErrDefinition)) {
		// Only an operator can fix that, so the status has to show it.
		o.dependentsErr, err = err, nil
	}
	return &o, err
}

// decide asks Due.
func (e *engine) decide(ctx context.Context, o *observation) model.Verdict {
	v := model.Due(e.step, o.obj, o.neighbours, e.now(o))
	if !v.Due() {
		logging.FromContext(ctx).Debugw("Not due", zap.String("step", string(e.step)))
	}
	return v
}

// mayCall reports whether the step can be called on an object on which it has no work.
func (e *engine) mayCall(o *observation, v model.Verdict) bool {
	if v.Due() || o.obj.Deleting() || o.obj.Paused() || o.obj.OptedOut(e.step) || !o.obj.Kind.Has(e.step) {
		return false
	}
	status := o.obj.Status.Step(e.step)
	return status == nil || status.State != model.StateWaiting // It is called when the wait ends.
}
