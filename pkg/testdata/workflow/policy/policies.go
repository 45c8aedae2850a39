package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/workflow/api/v1alpha1"
)

type (
	device     = v1alpha1.AccessDevice
	entry      = v1alpha1.WhitelistEntry
	subscriber = v1alpha1.Subscriber
)

type driver struct{ models *model.Client }

func of(serialNumber string) model.Filter {
	return model.Filter{Fields: fields.OneTermEqualSelector("spec.serialNumber", serialNumber)}
}

// admit is the policy of devices: it reports which state follows from what was reported, and makes the subscriber follow.
func (d driver) admit(ctx context.Context, dev *device) error {
	o, listed := &dev.Status.Observed, false
	err := model.For[*entry](d.models).Each(ctx, dev.Namespace, of(dev.Spec.SerialNumber), func(e *entry) error {
		listed = listed || e.DeletionTimestamp == nil && e.Spec.Port == o.Port
		return nil
	})
	if err != nil {
		return err
	}
	if now := metav1.NowMicro(); o.Listed && !listed {
		o.TakenOff = &now
	}
	o.Listed = listed
	o.State = stateOf(o)
	_, _, err = model.For[*subscriber](d.models).CreateOrModify(ctx, dev.Namespace, dev.Name, func(s *subscriber) error {
		s.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(dev, v1alpha1.GroupVersion.WithKind("AccessDevice"))}
		if s.Spec = (v1alpha1.SubscriberSpec{State: o.State}); o.State == v1alpha1.Online {
			s.Spec.Address = o.Address
		}
		return nil
	})
	return err
}

// stateOf does not depend on the order in which the reports came. Each time that a device is announced, and each time that it was
// taken off the whitelist, it has to authenticate itself again, and then to get an address.
func stateOf(o *v1alpha1.AccessDeviceObserved) string {
	switch {
	case o.Announced.State == "":
		return v1alpha1.Unannounced
	case !o.Listed:
		return v1alpha1.NotListed
	case o.Announced.State == v1alpha1.Disabled:
		return v1alpha1.Disabled
	case o.Authenticated.At.Before(&o.Announced.At) || o.Authenticated.At.Before(o.TakenOff):
		return v1alpha1.AwaitingAuthentication
	case o.Authenticated.State == v1alpha1.Denied:
		return v1alpha1.Denied
	case o.DHCP.State != v1alpha1.Acknowledged || o.DHCP.At.Before(&o.Authenticated.At):
		return v1alpha1.AwaitingAddress
	}
	return v1alpha1.Online
}

// entries is the policy of the whitelist: each change of it wakes the policy of the devices that it is about.
type entries struct{ driver }

func (p entries) Create(ctx context.Context, e *entry) error { return p.wake(ctx, e) }
func (p entries) Update(ctx context.Context, e *entry) error { return p.wake(ctx, e) }
func (p entries) Delete(ctx context.Context, e *entry) error { return p.wake(ctx, e) }

func (p entries) wake(ctx context.Context, e *entry) error {
	devices := model.For[*device](p.models)
	return devices.Each(ctx, e.Namespace, of(e.Spec.SerialNumber), func(dev *device) error {
		_, _, err := devices.Observe(ctx, dev.Namespace, dev.Name, func(dev *device) error {
			dev.Status.Observed.Entry = fmt.Sprintf("%s %d %t", e.UID, e.Generation, e.DeletionTimestamp != nil)
			return nil
		})
		if model.IsGone(err) {
			return nil
		}
		return err
	})
}
