package step

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// runner calls the steps of one kind.
type runner interface {
	kind(ctx context.Context, models *model.Client) (*model.Kind, error)
	// run calls Sync, or Create or Update.
	run(ctx context.Context, u *unstructured.Unstructured, s *model.Snapshot) (handle string, err error)
	// clean calls Delete, of steps that have one.
	clean(ctx context.Context, u *unstructured.Unstructured) error
	// holds reports whether a deleted object must not go before clean has been called.
	holds() bool
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

// holds is true also without a Delete: the finalizer keeps an object until what depends on it has gone.
func (r syncRunner[T]) holds() bool { return true }

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

func (r policyRunner[T]) holds() bool {
	for _, p := range r.policies {
		if _, ok := p.(Deleter[T]); ok {
			return true
		}
	}
	return false
}

// each calls all policies; one that fails does not keep the others from running.
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
