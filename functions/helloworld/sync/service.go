package main

import (
	"context"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
)

// Service syncs HelloWorldServices. The greeter has no notion of a service, so
// there is nothing to push: what a service says reaches the greeter with its
// instances, which are synced after it.
type Service struct{}

// Sync has nothing to do.
func (Service) Sync(context.Context, *v1alpha1.HelloWorldService) (string, error) { return "", nil }

// Delete has nothing to do. It is called when no instance is left.
func (Service) Delete(context.Context, *v1alpha1.HelloWorldService) error { return nil }
