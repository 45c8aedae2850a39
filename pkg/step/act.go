package step

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// result is what acting on a verdict came to.
type result struct {
	// called is true if the step was called.
	called bool
	handle string
	err    error
}

// act does what is due: it calls the step, unless something is in the way. An error says that
// nothing was done.
func (e *engine) act(ctx context.Context, r runner, o *observation, v model.Verdict) (result, error) {
	switch {
	case o.blind != nil:
		return result{err: o.blind}, nil
	case len(v.Blockers) > 0:
		return result{}, nil
	case o.obj.Deleting():
		_, err := e.call(ctx, o, cleaning(r, o.live))
		return result{called: true, err: err}, nil
	}
	u, err := e.mark(ctx, r, o)
	if err != nil {
		return result{}, err
	}
	handle, err := e.call(ctx, o, func(ctx context.Context) (string, error) { return r.run(ctx, u, o.obj) })
	return result{called: true, handle: handle, err: err}, nil
}

// mark puts the step's finalizer on before the first call to the backend, so that whatever the step
// begins will be cleaned up. It returns the newest object, which a step needs that saves it.
func (e *engine) mark(ctx context.Context, r runner, o *observation) (*unstructured.Unstructured, error) {
	if o.obj.Carries(e.step) || !r.holds() {
		return o.live, nil
	}
	marked, err := e.models.AddFinalizer(ctx, o.obj.Kind, o.live, e.step)
	if model.IsOutdated(err) || err == nil && marked.GetGeneration() != o.obj.Generation {
		return nil, fmt.Errorf("%w before its finalizer was on", errAgain)
	}
	return marked, err
}

func cleaning(r runner, u *unstructured.Unstructured) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) { return "", r.clean(ctx, u) }
}

// call calls a step of the object, with what was read for it in the context.
func (e *engine) call(ctx context.Context, o *observation, fn func(context.Context) (string, error)) (string, error) {
	ctx = context.WithValue(ctx, givenKey{}, &given{models: e.models, obj: o.obj, dependencies: o.neighbours.Dependencies})
	return call(ctx, e.deadline, fn)
}

// call calls into a step with the deadline. A panic is an error like any other. A step that ignores
// its context is left behind: the backend refuses what it may still write, because its generation is
// older by then.
func call[R any](ctx context.Context, deadline time.Duration, fn func(context.Context) (R, error)) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	type returned struct {
		value R
		err   error
	}
	done := make(chan returned, 1)
	go func() {
		var r returned
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
	case r := <-done: // It ended just in time, or because of the deadline.
		return r.value, r.err
	case <-time.After(time.Second):
		var none R
		return none, fmt.Errorf("the step did not end within %s", deadline)
	}
}

// recovered makes a panic an error like any other.
func recovered(ctx context.Context, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			logging.FromContext(ctx).Errorw("Step panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return fn()
}
