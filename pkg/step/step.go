package step

import (
	"context"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// Syncer pushes models of one kind to the micro-service (XOS: a sync step).
//
// Sync is called when the object is new or its spec has changed, when something it depends on has
// changed, and when a retry is due. It makes the backend as the object says. It can return the
// backend's own id for the object, which is stored in status.sync.handle (XOS: backend_handle); an
// empty handle keeps the one from before. Sync gets a copy of the object, and a context with a
// deadline. What it changes in Status.Observed of the copy is stored as feedback, whatever it returns.
// What it saves to its own object with that context does not wake it again.
//
// A Syncer that is also a [Deleter] cleans up when the object is deleted.
type Syncer[T model.Object] interface {
	Sync(ctx context.Context, obj T) (handle string, err error)
}

// Policy reacts to changes of models of one kind (XOS: a model policy).
//
//  1. Create is called for an object until the policies have succeeded once.
//  2. Update is called when the spec, or what steps report in status.observed, has changed after that.
//
// A policy can change and delete models, also its own object: what it saves or reports there does not
// wake it again. It reports by changing Status.Observed of obj. Policies and syncs that wake each other
// stop when nothing changes any more; after 100 runs at once that all change something, the step fails.
//
// A kind can have several policies: all are called, in their order, and all are called again if one of
// them fails. Each gets the object as the ones before have saved it, with what they have reported. What
// a later one saves does not wake those before.
//
// The Delete of a Policy that is also a [Deleter] is called before a deleted object is gone.
type Policy[T model.Object] interface {
	Create(ctx context.Context, obj T) error
	Update(ctx context.Context, obj T) error
}

// Deleter is an optional ability of a [Syncer] or [Policy].
//
// Delete is called when the object is being deleted, also if Sync or Create has never succeeded; the
// Delete of a Syncer only when nothing depends on the object any more. It must succeed if the backend
// does not know the object. The object is gone after it has succeeded.
type Deleter[T model.Object] interface {
	Delete(ctx context.Context, obj T) error
}

// PolicyFuncs is a [Policy] made of functions. A nil function does nothing. It has no Delete.
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
