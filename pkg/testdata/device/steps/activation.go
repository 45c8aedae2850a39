package main

import (
	"context"

	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/device/api/v1alpha1"
)

// activation is the sync of a device.
type activation struct{ controller controller }

// Sync activates the device, whatever was reported before, and is deferred until the poll has reported that it
// is active. It is called again after a while.
func (a activation) Sync(ctx context.Context, d *v1alpha1.Device) (string, error) {
	id, seen := string(d.UID), &d.Status.Observed
	begun, err := a.controller.activate(ctx, item{ID: id, SerialNumber: d.Spec.SerialNumber, Generation: d.Generation})
	if err != nil {
		return "", err
	}
	if begun && seen.State == v1alpha1.Active {
		seen.State = v1alpha1.Activating // The controller has forgotten it since the last poll.
	}
	if seen.State != v1alpha1.Active || seen.Generation != d.Generation {
		return id, step.Deferred("the device is being activated")
	}
	return id, nil
}

// Delete deactivates the device.
func (a activation) Delete(ctx context.Context, d *v1alpha1.Device) error {
	return a.controller.deactivate(ctx, string(d.UID))
}
