// Command sync is the sync function of the library. Nothing stands behind it: a model that has got here is synced.
package main

import (
	"context"
	"net/http"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

func main() { function.Main("sync", build) }

func build(ctx context.Context) (http.Handler, error) {
	models, err := step.Models(v1alpha1.AddToScheme)
	if err != nil {
		return nil, err
	}
	engine, err := step.NewSyncEngine(ctx, models, []step.SyncStep{
		step.Sync(nothing[*v1alpha1.Shelf]{}),
		step.Sync(nothing[*v1alpha1.Book]{}),
	})
	if err != nil {
		return nil, err
	}
	return engine.HTTP()
}

// nothing is a sync step without a micro-service.
type nothing[T model.Object] struct{}

// Sync succeeds.
func (nothing[T]) Sync(context.Context, T) (string, error) { return "", nil }

// Delete succeeds.
func (nothing[T]) Delete(context.Context, T) error { return nil }
