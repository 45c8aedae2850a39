// Command sync is the sync function of the library. Nothing stands behind it: a model that has got here is synced.
package main

import (
	"context"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

func main() { step.Main("sync", steps, v1alpha1.AddToScheme) }

func steps(context.Context, *model.Client) ([]step.Registration, error) {
	return []step.Registration{
		step.Sync(nothing[*v1alpha1.Shelf]{}),
		step.Sync(nothing[*v1alpha1.Book]{}),
	}, nil
}

// nothing is a sync step without a micro-service.
type nothing[T model.Object] struct{}

// Sync succeeds.
func (nothing[T]) Sync(context.Context, T) (string, error) { return "", nil }

// Delete succeeds.
func (nothing[T]) Delete(context.Context, T) error { return nil }
