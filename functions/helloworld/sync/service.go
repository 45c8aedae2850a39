package main

import (
	"context"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// Service syncs HelloWorldServices. The greeter does not know services, so there is nothing to push
// or to delete. The instances of a service are synced after it, and carry what it says.
type Service struct{}

var _ step.Syncer[*v1alpha1.HelloWorldService] = Service{}

// Sync has nothing to do.
func (Service) Sync(context.Context, *v1alpha1.HelloWorldService) (string, error) { return "", nil }
