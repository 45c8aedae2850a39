// Package stories has what can happen to an access device, as events, and the state in which it must end in whatever
// order the events come.
package stories

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/xos-knative/synchronizer/pkg/testdata/workflow/api/v1alpha1"
)

// Port that a device must be on.
const Port = 16

// Story is what happens to a device, and what its subscriber is like at the end.
type Story struct {
	happens []happening
	Want    v1alpha1.SubscriberSpec
}

type happening struct {
	eventType, state string
	port             int
	address          string
}

func announced(state string, port int) happening {
	return happening{eventType: "dev.xos-knative.workflow.device.announced", state: state, port: port}
}

func authenticated(state string) happening {
	return happening{eventType: "dev.xos-knative.workflow.device.authenticated", state: state}
}

func dhcp(state, address string) happening {
	return happening{eventType: "dev.xos-knative.workflow.device.dhcp", state: state, address: address}
}

var (
	up     = announced(v1alpha1.Activated, Port)
	down   = announced(v1alpha1.Disabled, Port)
	moved  = announced(v1alpha1.Activated, Port+1)
	let    = authenticated(v1alpha1.Approved)
	denied = authenticated(v1alpha1.Denied)
	got    = dhcp(v1alpha1.Acknowledged, "10.0.0.1")
	other  = dhcp(v1alpha1.Acknowledged, "10.0.0.2")
	gave   = dhcp(v1alpha1.Released, "")
)

// Stories by name.
var Stories = map[string]Story{
	"online":   {[]happening{up, let, got}, v1alpha1.SubscriberSpec{State: v1alpha1.Online, Address: "10.0.0.1"}},
	"denied":   {[]happening{up, let, got, denied}, v1alpha1.SubscriberSpec{State: v1alpha1.Denied}},
	"disabled": {[]happening{up, let, got, down}, v1alpha1.SubscriberSpec{State: v1alpha1.Disabled}},
	"enabled":  {[]happening{up, let, got, down, up}, v1alpha1.SubscriberSpec{State: v1alpha1.AwaitingAuthentication}},
	"again":    {[]happening{up, let, got, down, up, denied, let, other}, v1alpha1.SubscriberSpec{State: v1alpha1.Online, Address: "10.0.0.2"}},
	"released": {[]happening{up, let, got, gave}, v1alpha1.SubscriberSpec{State: v1alpha1.AwaitingAddress}},
	"moved":    {[]happening{up, let, got, moved}, v1alpha1.SubscriberSpec{State: v1alpha1.NotListed}},
}

// Events are what happens, in order, a second each from the start.
func (s Story) Events(serialNumber string, start time.Time) []cloudevents.Event {
	var all []cloudevents.Event
	for i, h := range s.happens {
		event := cloudevents.NewEvent()
		event.SetID(fmt.Sprintf("%s-%d-%d", serialNumber, start.Unix(), i))
		event.SetSource("/network")
		event.SetType(h.eventType)
		event.SetTime(start.Add(time.Duration(i) * time.Second))
		data := map[string]any{"serialNumber": serialNumber, "state": h.state}
		if h.port != 0 {
			data["port"] = h.port
		}
		if h.address != "" {
			data["address"] = h.address
		}
		raw, err := json.Marshal(data)
		if err == nil {
			err = event.SetData(cloudevents.ApplicationJSON, json.RawMessage(raw))
		}
		if err != nil {
			panic(err)
		}
		all = append(all, event)
	}
	return all
}

// Device is one to which a story happens.
type Device struct {
	SerialNumber string
	// Events in the order in which they are published.
	Events []cloudevents.Event
	Want   v1alpha1.SubscriberSpec
}

// Devices has for each story one whose events come as they happened, one whose come the other way round, and one whose
// come doubled and mixed. They are the same each time.
func Devices(start time.Time) (all []Device) {
	for _, name := range slices.Sorted(maps.Keys(Stories)) {
		story := Stories[name]
		tell := func(order string, arrange func([]cloudevents.Event) []cloudevents.Event) {
			device := name + "-" + order
			all = append(all, Device{device, arrange(story.Events(device, start)), story.Want})
		}
		tell("ordered", func(events []cloudevents.Event) []cloudevents.Event { return events })
		tell("reversed", func(events []cloudevents.Event) []cloudevents.Event { slices.Reverse(events); return events })
		tell("mixed", func(events []cloudevents.Event) []cloudevents.Event {
			events = slices.Concat(events, events)
			rand.New(rand.NewPCG(1, 0)).Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
			return events
		})
	}
	return all
}
