package step

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// runner calls the steps of one kind.
type runner interface {
	// gvk is the kind that the step is written for.
	gvk(models *model.Client) (schema.GroupVersionKind, error)
	// run calls Sync, or Create or Update.
	run(ctx context.Context, u *unstructured.Unstructured, s *model.Snapshot) (returned, error)
	// clean calls Delete if the step has one.
	clean(ctx context.Context, u *unstructured.Unstructured) error
	// needsFinalizer reports whether a deleted object must stay until clean has been called.
	needsFinalizer() bool
}

// returned is what a step returns, besides an error.
type returned struct {
	handle string
	// feedback is what the step has changed in the object's Status.Observed, also if it has failed.
	feedback model.Feedback
}

type syncRunner[T model.Object] struct{ syncer Syncer[T] }

func (r syncRunner[T]) gvk(models *model.Client) (schema.GroupVersionKind, error) {
	return model.For[T](models).GVK()
}

func (r syncRunner[T]) run(ctx context.Context, u *unstructured.Unstructured, _ *model.Snapshot) (ret returned, err error) {
	ret.feedback, err = report(ctx, u, func(obj T) (err error) {
		ret.handle, err = r.syncer.Sync(ctx, obj)
		return err
	})
	return ret, err
}

// report calls a step with the object, and returns what the step has changed in its feedback.
func report[T model.Object](ctx context.Context, u *unstructured.Unstructured, call func(T) error) (model.Feedback, error) {
	obj, err := model.Typed[T](u)
	if err != nil {
		return nil, err
	}
	err = recovered(ctx, func() error { return call(obj) })
	feedback, wrong := model.FeedbackIn(u, obj)
	return feedback, errors.Join(err, wrong)
}

func (r syncRunner[T]) clean(ctx context.Context, u *unstructured.Unstructured) error {
	return clean[T](ctx, r.syncer, u)
}

// needsFinalizer is true even without a Delete: an object must stay until nothing depends on it.
func (r syncRunner[T]) needsFinalizer() bool { return true }

type policyRunner[T model.Object] struct{ policies []Policy[T] }

func (r policyRunner[T]) gvk(models *model.Client) (schema.GroupVersionKind, error) {
	return model.For[T](models).GVK()
}

// run calls all policies, also after one has failed. Each sees what the ones before have saved and reported.
func (r policyRunner[T]) run(ctx context.Context, u *unstructured.Unstructured, s *model.Snapshot) (ret returned, err error) {
	created := s.Status.Policy == nil || s.Status.Policy.LastSuccess == nil
	var errs []error
	ret.feedback = model.Feedback{}
	for _, p := range r.policies {
		feedback, err := report(ctx, u, func(obj T) error {
			if created {
				return p.Create(ctx, obj)
			}
			return p.Update(ctx, obj)
		})
		errs = append(errs, err)
		ret.feedback.Add(feedback)
		u = ret.feedback.Onto(model.NewestOwn(ctx, u))
	}
	return ret, errors.Join(errs...)
}

// clean calls all policies, also after one has failed.
func (r policyRunner[T]) clean(ctx context.Context, u *unstructured.Unstructured) error {
	var errs []error
	for _, p := range r.policies {
		errs = append(errs, recovered(ctx, func() error { return clean[T](ctx, p, u) }))
	}
	return errors.Join(errs...)
}

func (r policyRunner[T]) needsFinalizer() bool {
	return slices.ContainsFunc(r.policies, func(p Policy[T]) bool { _, ok := p.(Deleter[T]); return ok })
}

// clean calls Delete if the step has one.
func clean[T model.Object](ctx context.Context, step any, u *unstructured.Unstructured) error {
	deleter, ok := step.(Deleter[T])
	if !ok {
		return nil
	}
	obj, err := model.Typed[T](u)
	if err != nil {
		return err
	}
	return deleter.Delete(ctx, obj)
}
