package step

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// runner calls the steps of one kind.
type runner interface {
	kind(ctx context.Context, models *model.Client) (*model.Kind, error)
	// run calls Sync, or Create or Update.
	run(ctx context.Context, u *unstructured.Unstructured, s *model.Snapshot) (handle string, err error)
	// clean calls Delete if the step has one.
	clean(ctx context.Context, u *unstructured.Unstructured) error
	// needsFinalizer reports whether a deleted object must stay until clean has been called.
	needsFinalizer() bool
}

type syncRunner[T model.Object] struct{ syncer Syncer[T] }

func (r syncRunner[T]) kind(ctx context.Context, models *model.Client) (*model.Kind, error) {
	return model.For[T](models).Kind(ctx)
}

func (r syncRunner[T]) run(ctx context.Context, u *unstructured.Unstructured, _ *model.Snapshot) (string, error) {
	obj, err := model.Typed[T](u)
	if err != nil {
		return "", err
	}
	return r.syncer.Sync(ctx, obj)
}

func (r syncRunner[T]) clean(ctx context.Context, u *unstructured.Unstructured) error {
	return clean[T](ctx, r.syncer, u)
}

// needsFinalizer is true even without a Delete: an object must stay until nothing depends on it.
func (r syncRunner[T]) needsFinalizer() bool { return true }

type policyRunner[T model.Object] struct{ policies []Policy[T] }

func (r policyRunner[T]) kind(ctx context.Context, models *model.Client) (*model.Kind, error) {
	return model.For[T](models).Kind(ctx)
}

func (r policyRunner[T]) run(ctx context.Context, u *unstructured.Unstructured, s *model.Snapshot) (string, error) {
	created := s.Status.Policy == nil || s.Status.Policy.LastSuccess == nil
	return "", r.each(ctx, func(p Policy[T]) error {
		obj, err := model.Typed[T](u)
		if err != nil {
			return err
		}
		if created {
			return p.Create(ctx, obj)
		}
		return p.Update(ctx, obj)
	})
}

func (r policyRunner[T]) clean(ctx context.Context, u *unstructured.Unstructured) error {
	return r.each(ctx, func(p Policy[T]) error { return clean[T](ctx, p, u) })
}

func (r policyRunner[T]) needsFinalizer() bool {
	return slices.ContainsFunc(r.policies, func(p Policy[T]) bool { _, ok := p.(Deleter[T]); return ok })
}

// each calls all policies, also after one has failed.
func (r policyRunner[T]) each(ctx context.Context, call func(Policy[T]) error) error {
	var errs []error
	for _, p := range r.policies {
		errs = append(errs, recovered(ctx, func() error { return call(p) }))
	}
	return errors.Join(errs...)
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
