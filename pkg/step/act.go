package step

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// result is what a run has done.
type result struct {
	// called is true if the step was called.
	called bool
	// The step has returned these. Without a call err says what is wrong.
	returned
	err error
	// marked is the object with the finalizers that the run has put on, nil if it has put on none.
	marked *unstructured.Unstructured
	// own has followed what the step wrote, nil if it was not called.
	own *model.Own
}

// act calls the step, unless something is in the way. If it returns an error, nothing was done.
func (e *engine) act(ctx context.Context, o *observation, v model.Verdict) (result, error) {
	r := e.runners[o.GroupKind()]
	switch {
	case o.dependentsErr != nil:
		return result{err: o.dependentsErr}, nil
	case v.Reason == model.DueFinalizer:
		u, err := e.addFinalizer(ctx, r, o)
		return result{marked: u}, err
	case !v.Calls():
		if o.obj.Deleting() {
			o.dependentsErr = e.models.DeleteOwned(ctx, o.obj, o.neighbours.Dependents)
		}
		return result{err: o.dependentsErr}, nil
	case o.obj.Problem != "" && e.step == model.StepSync && !o.obj.Deleting():
		return result{err: Permanent(errors.New(o.obj.Problem))}, nil
	case e.restless(o, v):
		return result{err: errUnsettled}, nil
	}
	u, err := o.live, error(nil)
	if !o.obj.Deleting() {
		if u, err = e.addFinalizer(ctx, r, o); err != nil {
			return result{}, err
		}
	}
	if o.typed, err = e.inVersionOf(ctx, r, u); errors.Is(err, errAgain) {
		return result{}, err
	} else if err != nil {
		return result{err: err}, nil
	}
	o.typed = o.reported.Onto(o.typed)
	if o.obj.Deleting() {
		_, err = e.call(ctx, o, cleanUp(r, o.typed))
		return result{called: true, err: err}, nil
	}
	ctx, own := model.WithOwn(ctx, o.obj, u)
	ret, err := e.call(ctx, o, func(ctx context.Context) (returned, error) { return r.run(ctx, o.typed, o.obj) })
	return result{called: true, returned: ret, err: err, own: own}, nil
}

// inVersionOf returns the object in the version that the step knows. It reads it again only if that is
// not the one that it was read in.
func (e *engine) inVersionOf(ctx context.Context, r runner, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	gvk, err := r.gvk(e.models)
	if err != nil {
		return nil, err
	}
	k, err := e.models.KindAt(ctx, gvk)
	if err != nil || k.GVK == u.GroupVersionKind() {
		return u, err
	}
	now, err := e.models.Live(ctx, k, u.GetNamespace(), u.GetName())
	if model.IsGone(err) || err == nil && (now.GetUID() != u.GetUID() || now.GetGeneration() != u.GetGeneration()) {
		return nil, fmt.Errorf("%w before it was read in version %s", errAgain, k.GVK.Version)
	}
	return now, err
}

// addFinalizer adds the step's finalizer before the first call to the backend, so that whatever the
// step begins is cleaned up, and with it those of the function's other steps. It returns the object as it
// is then: a step that updates the object needs its newest version.
func (e *engine) addFinalizer(ctx context.Context, r runner, o *observation) (*unstructured.Unstructured, error) {
	if o.obj.Carries(e.step) || !r.needsFinalizer() {
		return o.live, nil
	}
	steps := []model.Step{e.step}
	for _, other := range e.of(o.GroupKind()) {
		if other != e && other.runners[o.GroupKind()].needsFinalizer() && o.obj.Kind.Has(other.step) && !o.obj.Carries(other.step) && !o.obj.OptedOut(other.step) {
			steps = append(steps, other.step)
		}
	}
	u, err := e.models.AddFinalizer(ctx, o.obj.Kind, o.live, steps...)
	if model.IsOutdated(err) || err == nil && u.GetGeneration() != o.obj.Generation {
		return nil, fmt.Errorf("%w before its finalizer was added", errAgain)
	}
	if err == nil && o.obj.LostFinalizer(e.step) {
		e.note(o, corev1.EventTypeNormal, reasonRestored, "finalizer "+e.step.Finalizer()+" had been removed")
	}
	return u, err
}

func cleanUp(r runner, u *unstructured.Unstructured) func(context.Context) (returned, error) {
	return func(ctx context.Context) (returned, error) { return returned{}, r.clean(ctx, u) }
}

// call calls the step. What was read for the object is in the context.
func (e *engine) call(ctx context.Context, o *observation, fn func(context.Context) (returned, error)) (returned, error) {
	ctx = context.WithValue(e.events.during(ctx, string(e.step)), givenKey{}, &given{models: e.models, obj: o.obj, dependencies: o.neighbours.Dependencies})
	return call(ctx, e.deadline, fn)
}

// call calls fn with a deadline. It does not wait for a step that ignores its context. If that step
// writes to the backend later, its generation is old by then and the backend refuses it.
func call[R any](ctx context.Context, deadline time.Duration, fn func(context.Context) (R, error)) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	type ended struct {
		value R
		err   error
	}
	done := make(chan ended, 1)
	go func() {
		var r ended
		r.err = recovered(ctx, func() (err error) {
			r.value, err = fn(ctx)
			return err
		})
		done <- r
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done: // It has ended because of the deadline, or just before it.
		return r.value, r.err
	case <-time.After(time.Second):
		var none R
		return none, fmt.Errorf("the step did not end within %s", deadline)
	}
}

// recovered calls fn and returns a panic as an error.
func recovered(ctx context.Context, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			logging.FromContext(ctx).Errorw("Step panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return fn()
}
