package main

import (
	"context"
	"errors"
	"fmt"

	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// Instance syncs HelloWorldServiceInstances: each becomes a greeting.
type Instance struct {
	Greeter *client.Client
	Models  *model.Client
}

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
	greeting, err := s.Greeter.Put(ctx, hello.GreetingID(instance), hello.GreetingOf(instance, service), s.ifNewest(instance, service))
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
	return s.Greeter.Delete(ctx, hello.GreetingID(instance), instance.Generation, s.ifNewest(instance, nil))
}

// ifNewest says that the models decide after they were restored from a backup, and the greeter has newer
// generations than the backup. It is called after the greeter has refused a write. A late write is still
// refused: the instance or the service that is read then is newer, or gone. A deletion needs no service.
func (s Instance) ifNewest(instance *v1alpha1.HelloWorldServiceInstance, service *v1alpha1.HelloWorldService) client.WriteOption {
	return client.IfNewest(func(ctx context.Context) (bool, error) {
		newest, err := isNewest(ctx, s.Models, instance)
		if err != nil || !newest || service == nil {
			return newest, err
		}
		return isNewest(ctx, s.Models, service)
	})
}

// isNewest reports whether an object is still as it was read.
func isNewest[T model.Object](ctx context.Context, models *model.Client, obj T) (bool, error) {
	live, err := model.For[T](models).Get(ctx, obj.GetNamespace(), obj.GetName())
	if model.IsGone(err) {
		return false, nil
	}
	return err == nil && live.GetUID() == obj.GetUID() && live.GetGeneration() == obj.GetGeneration(), err
}
