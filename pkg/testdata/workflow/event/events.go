package main

import (
	"context"
	"fmt"
	"slices"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/workflow/api/v1alpha1"
)

type device = v1alpha1.AccessDevice

// about says which device an event is about, and what its state is.
type about struct {
	SerialNumber string `json:"serialNumber"`
	State        string `json:"state"`
}

func (a about) key() step.Key { return step.Key{Field: "spec.serialNumber", Value: a.SerialNumber} }

func (a about) check(states ...string) error {
	if a.SerialNumber == "" || !slices.Contains(states, a.State) {
		return fmt.Errorf("data: expected a serialNumber, and a state of %q, got %q and %q", states, a.SerialNumber, a.State)
	}
	return nil
}

// report is what the event says of the device.
func (a about) report(event cloudevents.Event, d *device) v1alpha1.Report {
	d.Spec.SerialNumber = a.SerialNumber
	return v1alpha1.Report{State: a.State, At: metav1.NewMicroTime(event.Time())}
}

// announcement says that a device comes up or goes down.
type announcement struct {
	about
	Port int32 `json:"port"`
}

func (a announcement) Validate() error { return a.check(v1alpha1.Activated, v1alpha1.Disabled) }

type announcements struct{}

func (announcements) Key(a announcement) step.Key { return a.key() }

func (announcements) Apply(_ context.Context, event cloudevents.Event, a announcement, d *device) error {
	d.Status.Observed.Announced, d.Status.Observed.Port = a.report(event, d), a.Port
	return nil
}

// authentication says how a device has authenticated itself.
type authentication struct{ about }

func (a authentication) Validate() error { return a.check(v1alpha1.Approved, v1alpha1.Denied) }

type authentications struct{}

func (authentications) Key(a authentication) step.Key { return a.key() }

func (authentications) Apply(_ context.Context, event cloudevents.Event, a authentication, d *device) error {
	d.Status.Observed.Authenticated = a.report(event, d)
	return nil
}

// address says which address a device has got, or that it has given it back.
type address struct {
	about
	Address string `json:"address,omitempty"`
}

func (a address) Validate() error { return a.check(v1alpha1.Acknowledged, v1alpha1.Released) }

type addresses struct{}

func (addresses) Key(a address) step.Key { return a.key() }

func (addresses) Apply(_ context.Context, event cloudevents.Event, a address, d *device) error {
	d.Status.Observed.DHCP, d.Status.Observed.Address = a.report(event, d), a.Address
	return nil
}
