package systemtest

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/xos-knative/synchronizer/pkg/local/localtest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/device/api/v1alpha1"
)

// deviceNamespace is the namespace of the device.
const deviceNamespace = "device"

// controlled is a device as its controller, the micro-service, knows it.
type controlled struct {
	ID           string `json:"id"`
	SerialNumber string `json:"serialNumber"`
	Generation   int64  `json:"generation"`
	State        string `json:"state"`
	Reason       string `json:"reason,omitempty"`
}

// controller has at most one device, which has a life of its own.
type controller struct {
	// mu protects following.
	mu     sync.Mutex
	device *controlled
	// activated and deactivated count what was begun.
	activated, deactivated int
}

func (c *controller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.Method {
	case http.MethodGet:
		all := []*controlled{}
		if c.device != nil {
			all = append(all, c.device)
		}
		_ = json.NewEncoder(w).Encode(all)
	case http.MethodPost:
		var d controlled
		if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if c.device != nil && c.device.Generation == d.Generation && c.device.State != v1alpha1.Failed {
			return // It is under way or done.
		}
		d.State = v1alpha1.Activating
		c.device = &d
		c.activated++
		w.WriteHeader(http.StatusAccepted)
	case http.MethodDelete:
		if c.device == nil {
			http.NotFound(w, r)
			return
		}
		c.device = nil
		c.deactivated++
	}
}

// becomes changes the device by itself.
func (c *controller) becomes(state, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.device.State, c.device.Reason = state, reason
}

// forgets loses the device.
func (c *controller) forgets() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.device = nil
}

func (c *controller) counts() (activated, deactivated int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.activated, c.deactivated
}

// deviceWorld is a running project with a device.
type deviceWorld struct {
	*localtest.World
	controller *controller
	devices    model.Models[*v1alpha1.Device]
}

// poll sends a tick, and waits until the round is over.
func (w deviceWorld) poll() {
	w.Helper()
	code, body := w.Post("http://steps."+deviceNamespace+".svc.cluster.local/", "", localtest.Event(step.EventPing))
	if code != http.StatusOK {
		w.Fatalf("expected a complete round, got %d %s", code, body)
	}
}

// get reads the device; nil if there is none.
func (w deviceWorld) get() *v1alpha1.Device {
	w.Helper()
	d, err := w.devices.Get(w.Context(), deviceNamespace, "olt")
	if model.IsGone(err) {
		return nil
	}
	if err != nil {
		w.Fatal(err)
	}
	return d
}

// activating waits until an activation has begun, and the model says so.
func (w deviceWorld) activating(times int) {
	w.Helper()
	w.Until("the device is being activated", func() bool {
		d := w.get()
		n, _ := w.controller.counts()
		return n == times && d.Status.Sync != nil && d.Status.Sync.State == model.StateDeferred && d.Status.GetCondition(model.ConditionReady).IsUnknown()
	})
}

// deferredAgain waits until the sync has run again, and has not come to its end.
func (w deviceWorld) deferredAgain() {
	w.Helper()
	last := w.get().Status.Sync.NextAttempt
	w.Until("the sync is deferred again", func() bool {
		s := w.get().Status.Sync
		return s.State == model.StateDeferred && s.NextAttempt.After(last.Time)
	})
}

// reported checks what the model says of the device.
func (w deviceWorld) reported(what, state, reason string) {
	w.Helper()
	if got := w.get().Status.Observed; got.State != state || got.Reason != reason {
		w.Errorf("%s: expected %s %q, got %+v", what, state, reason, got)
	}
}

// active polls, and waits until the device is Ready.
func (w deviceWorld) active() {
	w.Helper()
	w.poll()
	w.reported("the poll reports that it is active", v1alpha1.Active, "")
	w.Until("the device is Ready", func() bool { return w.get().Status.GetCondition(model.ConditionReady).IsTrue() })
}

// testDevice follows a device with a life of its own: the sync activates it and is deferred until the poll reports that it is
// active; the poll reports a failure, or misses the device; the model says so and is synced again.
func testDevice(world *localtest.World, c *controller) {
	models, err := model.NewClient(world.System.Config(), v1alpha1.AddToScheme)
	if err != nil {
		world.Fatal(err)
	}
	w := deviceWorld{world, c, model.For[*v1alpha1.Device](models)}
	_, _, err = w.devices.CreateOrModify(w.Context(), deviceNamespace, "olt", func(d *v1alpha1.Device) error {
		d.Spec.SerialNumber = "BRCM1"
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	w.activating(1)
	w.poll()
	w.reported("the poll reports how it is", v1alpha1.Activating, "")
	c.becomes(v1alpha1.Active, "")
	w.deferredAgain() // Nobody knows before the poll.
	w.active()

	c.becomes(v1alpha1.Failed, "no light")
	w.poll()
	w.reported("the poll reports the failure", v1alpha1.Failed, "no light")
	w.activating(2)
	c.becomes(v1alpha1.Active, "")
	w.active()

	c.forgets()
	w.poll()
	w.activating(3)
	w.reported("what was reported before is not true any more", v1alpha1.Activating, "")
	c.becomes(v1alpha1.Active, "")
	w.active()

	before := w.get().ResourceVersion
	w.poll()
	if d := w.get(); d.ResourceVersion != before {
		w.Errorf("a poll that finds nothing new writes nothing, got %+v", d.Status)
	}
	if err := w.devices.Delete(w.Context(), w.get()); err != nil {
		w.Fatal(err)
	}
	w.Until("the device is gone", func() bool { return w.get() == nil })
	if activated, deactivated := c.counts(); activated != 3 || deactivated != 1 {
		w.Errorf("expected 3 activations and 1 deactivation, got %d and %d", activated, deactivated)
	}
}
