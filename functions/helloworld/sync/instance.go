package main

import (
	"context"
	"errors"
	"fmt"

	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// Instance syncs HelloWorldServiceInstances: each becomes a greeting.
type Instance struct{ Greeter *client.Client }

var (
	_ step.Syncer[*v1alpha1.HelloWorldServiceInstance]  = Instance{}
	_ step.Deleter[*v1alpha1.HelloWorldServiceInstance] = Instance{}
)

// Sync makes the greeter greet the guest of the instance, in the name of its service. The tutorial's
// two special guests show how a step says "later" and "no".
func (s Instance) Sync(ctx context.Context, instance *v1alpha1.HelloWorldServiceInstance) (string, error) {
	switch instance.Spec.HelloTo {
	case hello.Later:
		return "", step.Deferred("Maybe later")
	case hello.Never:
		//lint:ignore ST1005 The words of the tutorial.
		return "", errors.New("Maybe not")
	}
	// Sync is called only when the service is there and synced.
	service, err := step.Dependency[*v1alpha1.HelloWorldService](ctx)
	if err != nil {
		return "", err
	}
	greeting, err := s.Greeter.Put(ctx, hello.GreetingID(instance), hello.GreetingOf(instance, service))
	if client.IsInvalid(err) {
		return "", step.Permanent(err) // Only another spec can fix that.
	}
	if err != nil {
		return "", fmt.Errorf("greeting %s: %w", instance.Spec.HelloTo, err)
	}
	logging.FromContext(ctx).Info(greeting.Message)
	return greeting.ID, nil
}

// Delete removes the greeting.
func (s Instance) Delete(ctx context.Context, instance *v1alpha1.HelloWorldServiceInstance) error {
	return s.Greeter.Delete(ctx, hello.GreetingID(instance), instance.Generation)
}
