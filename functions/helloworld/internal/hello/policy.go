package hello

import (
	"context"
	"fmt"

	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// Policy is the policy for HelloWorldServiceInstances: it deletes those that greet an unwelcome
// guest, and gives the others a service to belong to.
type Policy struct{ Models *model.Client }

var _ step.Policy[*v1alpha1.HelloWorldServiceInstance] = Policy{}

// Create applies both rules.
func (p Policy) Create(ctx context.Context, instance *v1alpha1.HelloWorldServiceInstance) error {
	if Unwelcome(instance.Spec.HelloTo) {
		logging.FromContext(ctx).Infof("%s is not going to get greeted!", instance.Spec.HelloTo)
		// Somebody may have corrected the guest since the instance was read.
		return model.For[*v1alpha1.HelloWorldServiceInstance](p.Models).DeleteIf(ctx, instance, func(live *v1alpha1.HelloWorldServiceInstance) bool {
			return Unwelcome(live.Spec.HelloTo)
		})
	}
	if instance.OwnerName() != "" {
		return nil
	}
	return p.adopt(ctx, instance)
}

// Update does the same: a change can make a guest unwelcome or remove the owner.
func (p Policy) Update(ctx context.Context, instance *v1alpha1.HelloWorldServiceInstance) error {
	return p.Create(ctx, instance)
}

// adopt gives the instance to the only service of its namespace, as XOS does for a model with an
// owner_class_name.
func (p Policy) adopt(ctx context.Context, instance *v1alpha1.HelloWorldServiceInstance) error {
	var owners []string
	err := model.For[*v1alpha1.HelloWorldService](p.Models).Each(ctx, instance.Namespace, model.Filter{}, func(s *v1alpha1.HelloWorldService) error {
		if s.DeletionTimestamp.IsZero() {
			owners = append(owners, s.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(owners) != 1 {
		return step.WaitForOne("HelloWorldService", fmt.Sprintf(
			"spec.owner is not set and cannot be chosen: expected one HelloWorldService in the namespace, found %d", len(owners)))
	}
	instances := model.For[*v1alpha1.HelloWorldServiceInstance](p.Models)
	_, _, err = instances.Modify(ctx, instance.Namespace, instance.Name, func(live *v1alpha1.HelloWorldServiceInstance) error {
		// Somebody may have set an owner, or replaced the instance, since it was read.
		if live.UID == instance.UID && live.OwnerName() == "" {
			live.Spec.Owner = &v1alpha1.OwnerReference{Name: owners[0]}
		}
		return nil
	})
	return err
}
