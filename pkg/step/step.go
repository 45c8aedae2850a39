package step

import (
	"context"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// Syncer pushes models of one kind to the micro-service (XOS: a sync step).
//
//  1. Sync is called when the object is new or its spec has changed, when
//     something it depends on has changed, and when a retry is due. It makes
//     the backend as the object says, and may return the backend's own id for
//     it, which is kept in status.sync.handle (XOS: backend_handle); with an
//     empty handle the one from before stays.
//  2. Delete is called when the object is being deleted and nothing depends on
//     it any more, also if Sync never came to an end. It must succeed when the
//     backend knows nothing of the object. After that the object may go.
//
// Both get a copy of the live object and a context with a deadline.
type Syncer[T model.Object] interface {
	Sync(ctx context.Context, obj T) (handle string, err error)
	Delete(ctx context.Context, obj T) error
}

// Policy reacts to changes of models of one kind (XOS: a model policy).
//
//  1. Create is called for an object that no policy has handled with success.
//  2. Update is called when the spec has changed since.
//  3. Delete is called when the object is being deleted, before it goes.
//
// A policy may save and delete models, its own object among them; a loop of
// policies and syncs that wake each other ends when nothing changes any more.
// A kind may have several policies: all are run, and all are run again if one
// of them fails.
type Policy[T model.Object] interface {
	Create(ctx context.Context, obj T) error
	Update(ctx context.Context, obj T) error
	Delete(ctx context.Context, obj T) error
}

// PolicyFuncs makes a [Policy] of functions; a nil one does nothing.
type PolicyFuncs[T model.Object] struct {
	OnCreate, OnUpdate, OnDelete func(ctx context.Context, obj T) error
}

// Create calls OnCreate.
func (p PolicyFuncs[T]) Create(ctx context.Context, obj T) error { return p.call(ctx, p.OnCreate, obj) }

// Update calls OnUpdate.
func (p PolicyFuncs[T]) Update(ctx context.Context, obj T) error { return p.call(ctx, p.OnUpdate, obj) }

// Delete calls OnDelete.
func (p PolicyFuncs[T]) Delete(ctx context.Context, obj T) error { return p.call(ctx, p.OnDelete, obj) }

func (PolicyFuncs[T]) call(ctx context.Context, fn func(context.Context, T) error, obj T) error {
	if fn == nil {
		return nil
	}
	return fn(ctx, obj)
}
