package systemtest

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/local/localtest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/workflow/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/testdata/workflow/stories"
)

const workflow = "workflow"

// network is the workflow driver, and the network that tells it of devices.
type network struct {
	*world
	devices     model.Models[*v1alpha1.AccessDevice]
	entries     model.Models[*v1alpha1.WhitelistEntry]
	subscribers model.Models[*v1alpha1.Subscriber]
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	w := start(t, t.TempDir(), filepath.Join(localtest.Root(), "pkg", "testdata", "workflow"))
	models, err := model.NewClient(w.System.Config(), v1alpha1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	return &network{w, model.For[*v1alpha1.AccessDevice](models), model.For[*v1alpha1.WhitelistEntry](models), model.For[*v1alpha1.Subscriber](models)}
}

// tells publishes events, one after the other.
func (n *network) tells(events ...cloudevents.Event) {
	n.Helper()
	for _, e := range events {
		raw, err := json.Marshal(e)
		if err != nil {
			n.Fatal(err)
		}
		header := map[string]string{"Content-Type": cloudevents.ApplicationCloudEventsJSON}
		if code, body := n.Post(n.System.BrokerURL(workflow, "events"), string(raw), header); code != http.StatusAccepted {
			n.Fatalf("%s: got %d %s", e.ID(), code, body)
		}
	}
}

func (n *network) lists(serialNumber string) {
	n.Helper()
	_, _, err := n.entries.CreateOrModify(n.Context(), workflow, serialNumber, func(e *v1alpha1.WhitelistEntry) error {
		e.Spec = v1alpha1.WhitelistEntrySpec{SerialNumber: serialNumber, Port: stories.Port}
		return nil
	})
	if err != nil {
		n.Fatal(err)
	}
}

// ends waits until each device is settled and its subscriber is as wanted.
func (n *network) ends(want map[string]v1alpha1.SubscriberSpec) {
	n.Helper()
	var got map[string]v1alpha1.SubscriberSpec
	settled := func() bool {
		got = map[string]v1alpha1.SubscriberSpec{}
		all, err := n.devices.List(n.Context(), workflow, model.Filter{})
		if err != nil {
			return false
		}
		for _, d := range all {
			if p := d.Status.Policy; p == nil || p.State != model.StateOK || p.ObservedRevision != d.Status.ObservedRevision {
				return false
			}
			s, err := n.subscribers.Get(n.Context(), workflow, d.Name)
			if err != nil {
				return false
			}
			got[d.Name] = s.Spec
		}
		return cmp.Equal(want, got)
	}
	n.Until("the subscribers follow the events", func() bool {
		ok := settled()
		if n.Failed() {
			n.Log(cmp.Diff(want, got))
		}
		return ok
	})
}

// TestWorkflow tells of devices in every order, doubled and late.
func TestWorkflow(t *testing.T) {
	n := newNetwork(t)
	want := map[string]v1alpha1.SubscriberSpec{}
	var late []cloudevents.Event
	for i, d := range stories.Devices(time.Now().Add(-time.Minute)) {
		before := i%2 == 0 // Whether the operator or the network is first.
		if before {
			n.lists(d.SerialNumber)
		}
		n.tells(d.Events...)
		if !before {
			n.lists(d.SerialNumber)
		}
		want[d.SerialNumber] = d.Want
		late = append(late, d.Events...)
	}
	n.ends(want)
	before, err := n.subscribers.List(n.Context(), workflow, model.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	n.tells(late...)
	n.ends(want)
	after, err := n.subscribers.List(n.Context(), workflow, model.Filter{})
	if diff := cmp.Diff(before, after); err != nil || diff != "" {
		t.Errorf("events that come again change nothing: %v, -before, +after:\n%s", err, diff)
	}
	t.Run("Whitelist", func(t *testing.T) { (&network{n.with(t), n.devices, n.entries, n.subscribers}).whitelist(want) })
}

// whitelist: whoever was taken off it has to authenticate himself again; with a device its subscriber goes.
func (n *network) whitelist(want map[string]v1alpha1.SubscriberSpec) {
	const device = "online-ordered"
	e, err := n.entries.Get(n.Context(), workflow, device)
	if err == nil {
		err = n.entries.Delete(n.Context(), e)
	}
	if err != nil {
		n.Fatal(err)
	}
	want[device] = v1alpha1.SubscriberSpec{State: v1alpha1.NotListed}
	n.ends(want)
	n.lists(device)
	want[device] = v1alpha1.SubscriberSpec{State: v1alpha1.AwaitingAuthentication}
	n.ends(want)
	n.tells(stories.Stories["online"].Events(device, time.Now())[1:]...)
	want[device] = stories.Stories["online"].Want
	n.ends(want)

	d, err := n.devices.Get(n.Context(), workflow, device)
	if err == nil {
		err = n.devices.Delete(n.Context(), d)
	}
	if err != nil {
		n.Fatal(err)
	}
	n.Until("the subscriber of a deleted device is gone", func() bool {
		_, err := n.subscribers.Get(n.Context(), workflow, device)
		return model.IsGone(err)
	})
}
