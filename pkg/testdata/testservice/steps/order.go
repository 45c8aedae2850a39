package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/testservice/api/v1alpha1"
)

type instance = v1alpha1.TestServiceInstance

// order is the sync and the first policy of an instance: each waits for the other, or saves the instance,
// as its switches say.
type order struct{ instances model.Models[*instance] }

// Sync reports that it has begun, which wakes the policies.
func (o order) Sync(ctx context.Context, i *instance) (string, error) {
	i.Status.Observed.SyncBegun = i.Generation
	begun := i.Status.Observed.PolicyBegun == i.Generation
	err := wait(i, model.StepPolicy, begun, i.Spec.SyncDuringPolicy, i.Spec.SyncAfterPolicy || i.Spec.PolicyDuringSync)
	if err == nil && i.Spec.UpdateDuringSync {
		err = o.save(ctx, i, model.StepSync, func(v *v1alpha1.Values) { v.SyncUpdates++ })
	}
	return "", err
}

func (o order) police(ctx context.Context, i *instance) error {
	i.Status.Observed.PolicyBegun = i.Generation
	begun := i.Status.Observed.SyncBegun == i.Generation
	err := wait(i, model.StepSync, begun, i.Spec.PolicyDuringSync, i.Spec.PolicyAfterSync || i.Spec.SyncDuringPolicy)
	if err == nil && i.Spec.UpdateDuringPolicy {
		err = o.save(ctx, i, model.StepPolicy, func(v *v1alpha1.Values) { v.PolicyUpdates++ })
	}
	return err
}

// wait defers a step until the other one has begun or is done with this version of the instance. What that
// one does not handle, it does not wait for.
func wait(i *instance, other model.Step, begun, toBegin, toEnd bool) error {
	status := i.Status.Step(other)
	done := status != nil && status.Generation == i.Generation && status.State == model.StateOK || model.OptedOut(i, other)
	switch {
	case toBegin && !begun && !done:
		return step.Deferred(fmt.Sprintf("waiting for the %s to begin", other))
	case toEnd && !done:
		return step.Deferred(fmt.Sprintf("waiting for the %s to end", other))
	}
	return nil
}

// save changes the values once for each version that others have made. The version that it makes itself is
// noted in the same write, so that it is known whatever happens to the step afterwards.
func (o order) save(ctx context.Context, i *instance, self model.Step, change func(*v1alpha1.Values)) error {
	made := v1alpha1.GroupVersion.Group + "/made-by-" + string(self)
	if i.Annotations[made] == fmt.Sprint(i.Generation) {
		return nil
	}
	_, _, err := o.instances.Modify(ctx, i.Namespace, i.Name, func(live *instance) error {
		change(&live.Spec.Values)
		metav1.SetMetaDataAnnotation(&live.ObjectMeta, made, fmt.Sprint(live.Generation+1))
		return nil
	})
	return err
}

// always is a policy that does the same for new and for changed instances.
func always(fn func(context.Context, *instance) error) step.Policy[*instance] {
	return step.PolicyFuncs[*instance]{OnCreate: fn, OnUpdate: fn}
}
