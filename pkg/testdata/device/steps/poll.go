package main

import (
	"context"

	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/device/api/v1alpha1"
)

// poll reports how the devices are. One that was active, and is not as it must be any more, is synced
// again.
func poll(c controller, namespace string) step.Comparison[*v1alpha1.Device, item] {
	return step.Comparison[*v1alpha1.Device, item]{
		Namespace: namespace,
		Items:     c.devices,
		Match:     func(i item) step.Match { return step.Match{UID: i.ID, Synced: true} },
		Want: func(_ context.Context, d *v1alpha1.Device) (any, error) {
			return item{ID: string(d.UID), SerialNumber: d.Spec.SerialNumber, Generation: d.Generation, State: v1alpha1.Active}, nil
		},
		Have: func(i item) any { i.Reason = ""; return i },
		Report: func(i item, d *v1alpha1.Device) {
			d.Status.Observed = v1alpha1.DeviceObserved{State: i.State, Reason: i.Reason, Generation: i.Generation}
		},
		Remove: func(ctx context.Context, i item) error { return c.deactivate(ctx, i.ID) },
	}
}
