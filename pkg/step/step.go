package step

import (
	"context"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// Syncer pushes models of one kind to the micro-service (XOS: a sync step).
//
// Sync is called when the object is new or its spec has changed, when something it depends on has
// changed, and when a retry is due. It makes the backend as the object says, and may return the
// backend's own id for it, which is kept in status.sync.handle (XOS: backend_handle); with an empty
// handle the one from before stays. It gets a copy of the live object and a context with a deadline.
//
// A Syncer that is a [Deleter] too cleans up behind a deleted object.
type Syncer[T model.Object] interface {
	Sync(ctx context.Context, obj T) (handle string, err error)
}

// Policy reacts to changes of models of one kind (XOS: a model policy).
//
//  1. Create is called for an object that no policy has handled with success.
//  2. Update is called when the spec has changed since.
//
// A policy may save and delete models, its own object among them. A loop of policies and syncs that
// wake each other ends when nothing changes any more. A kind may have several policies: all are run,
// and all are run again if one of them fails.
//
// A Policy that is a [Deleter] too is called before a deleted object goes.
type Policy[T model.Object] interface {
	Create(ctx context.Context, obj T) error
	Update(ctx context.Context, obj T) error
}

// Deleter is an optional ability of a [Syncer] or [Policy].
//
// Delete is called when the object is being deleted, also if Sync or Create never came to an end;
// that of a Syncer when nothing depends on the object any more. It must succeed when the backend
// knows nothing of the object. After that the object may go.
type Deleter[T model.Object] interface {
	Delete(ctx context.Context, obj T) error
}

// PolicyFuncs makes a [Policy] of functions; a nil one does nothing. It has no Delete.
type PolicyFuncs[T model.Object] struct {
	OnCreate, OnUpdate func(ctx context.Context, obj T) error
}

// Create calls OnCreate.
func (p PolicyFuncs[T]) Create(ctx context.Context, obj T) error { return p.call(ctx, p.OnCreate, obj) }

// Update calls OnUpdate.
func (p PolicyFuncs[T]) Update(ctx context.Context, obj T) error { return p.call(ctx, p.OnUpdate, obj) }

func (PolicyFuncs[T]) call(ctx context.Context, fn func(context.Context, T) error, obj T) error {
	if fn == nil {
		return nil
	}
	return fn(ctx, obj)
}
