package main

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/testdata/workflow/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/testdata/workflow/stories"
)

// driven adds the workflow driver, tells it of devices in any order, and removes it.
func (s *suite) driven(ctx context.Context) error {
	if err := s.koApply(ctx, workflowDir+"/config", workflowDir+"/eventing"); err != nil {
		return err
	}
	if err := waitInstalled(ctx, workflow, system); err != nil {
		return err
	}
	start := time.Now()
	want, err := s.tell(ctx, start.Add(-time.Minute))
	if err != nil {
		return err
	}
	if err := until(ctx, "the subscribers follow the events", func() error {
		all, err := get[v1alpha1.SubscriberList](ctx, "subscribers", "-n", workflow)
		if err != nil {
			return err
		}
		got := map[string]v1alpha1.SubscriberSpec{}
		for _, s := range all.Items {
			got[s.Name] = s.Spec
		}
		diff := cmp.Diff(want, got)
		return expect(diff == "", "-want, +got:\n%s", diff)
	}); err != nil {
		return err
	}
	s.measured("the workflow driver", "from the first event until all subscribers are as the last ones say", time.Since(start))
	if err := kubectlAll(ctx,
		"wait -n workflow accessdevices --all --for=condition=Ready "+timeout,
		"wait -n workflow accessdevices/online-mixed --for=jsonpath={.status.observed.state}=Online "+timeout,
		"get -n workflow accessdevices,subscribers"); err != nil {
		return err
	}
	if err := remove(ctx, workflowDir); err != nil {
		return err
	}
	return until(ctx, "nothing of the workflow driver is left", func() error { return leftovers(ctx, workflow) })
}

// tell publishes all stories in all orders, each of a device of its own, and returns what the subscribers must be like
// then.
func (s *suite) tell(ctx context.Context, start time.Time) (map[string]v1alpha1.SubscriberSpec, error) {
	broker, err := s.linkToAddressable(ctx, workflow, "brokers.eventing.knative.dev", "events")
	if err != nil {
		return nil, err
	}
	all := map[string]v1alpha1.SubscriberSpec{}
	var entries []any
	devices := stories.Devices(start)
	for _, d := range devices {
		all[d.SerialNumber] = d.Want
		entries = append(entries, map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": "WhitelistEntry",
			"metadata": map[string]any{"name": d.SerialNumber}, "spec": map[string]any{"serialNumber": d.SerialNumber, "port": stories.Port}})
	}
	if err := applyIn(ctx, workflow, entries...); err != nil {
		return nil, err
	}
	for _, d := range devices {
		for _, event := range d.Events {
			raw, err := json.Marshal(event)
			if err != nil {
				return nil, err
			}
			a, err := broker.curl(ctx, "", "-H", "Content-Type: "+cloudevents.ApplicationCloudEventsJSON, "-d", string(raw))
			if err := want(http.StatusAccepted, a, err); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}
