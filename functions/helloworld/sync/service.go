package main

import (
	"context"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// Service syncs HelloWorldServices. The greeter has no notion of a service, so there is nothing to
// push or to delete: what a service says reaches the greeter with its instances, which are synced
// after it.
type Service struct{}

var _ step.Syncer[*v1alpha1.HelloWorldService] = Service{}

// Sync has nothing to do.
func (Service) Sync(context.Context, *v1alpha1.HelloWorldService) (string, error) { return "", nil }
