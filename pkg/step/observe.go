package step

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// maxSkew is how far the clock of a function's node may be behind the model source's. The engine waits
// that long for a retry that is not due yet. Otherwise the source would count the event as lost and
// send it again after 30 s.
const maxSkew = 500 * time.Millisecond

// observation is what a run has read of the object and its neighbours.
type observation struct {
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
}

// observe reads the object and its neighbours.
func (e *engine) observe(ctx context.Context, ref model.Reference) (*observation, error) {
	k, err := e.models.Kind(ctx, ref.GroupKind())
	if errors.Is(err, model.ErrNoModel) {
		k, err = e.models.Retired(ctx, schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind))
	}
	if err != nil {
		return nil, err
	}
	u, err := e.models.Live(ctx, k, ref.Namespace, ref.Name)
	if model.IsGone(err) {
		return &observation{}, nil
	}
	if err != nil {
		return nil, err
	}
	o := &observation{live: u}
	if o.obj, err = k.SnapshotOf(u); err != nil {
		return nil, err
	}
	o.neighbours, err = e.models.Neighbours(ctx, e.step, o.obj)
	if o.obj.Deleting() && (apierrors.IsForbidden(err) || errors.Is(err, model.ErrDefinition)) {
		// Only an operator can fix that, so the status has to show it.
		o.dependentsErr, err = err, nil
	}
	return o, err
}

// decide asks Due. It waits for a retry that is due in a moment.
func (e *engine) decide(ctx context.Context, o *observation) (model.Verdict, error) {
	log := logging.FromContext(ctx)
	if o.live == nil {
		log.Debug("Not due: the object is gone")
		return model.Verdict{}, nil
	}
	now := e.clock.Now()
	v := model.Due(e.step, o.obj, o.neighbours, now)
	if early := v.At.Sub(now); !v.Due() && early > 0 && early <= maxSkew {
		select {
		case <-time.After(early):
		case <-ctx.Done():
			return v, ctx.Err()
		}
		v = model.Due(e.step, o.obj, o.neighbours, v.At)
	}
	if !v.Due() {
		log.Debug("Not due")
	}
	return v, nil
}

// mayCall reports whether the step can be called on an object on which it has no work.
func (e *engine) mayCall(o *observation, v model.Verdict) bool {
	if v.Due() || o.live == nil || o.obj.Deleting() || o.obj.Paused() || o.obj.OptedOut(e.step) || !o.obj.Kind.Has(e.step) {
		return false
	}
	status := o.obj.Status.Step(e.step)
	return status == nil || status.State != model.StateWaiting // It is called when the wait ends.
}
