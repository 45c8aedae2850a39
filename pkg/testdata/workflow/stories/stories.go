// Package stories has what can happen to an access device, as events, and the state in which it must end in whatever
// order the events come.
package stories

import (
	"encoding/json"
	"fmt"
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
	return happening{eventType: "device.announced", state: state, port: port}
}

func authenticated(state string) happening {
	return happening{eventType: "device.authenticated", state: state}
}

func dhcp(state, address string) happening {
	return happening{eventType: "device.dhcp", state: state, address: address}
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

// Orders are some in which events can come: as they happened, the other way round, and doubled and mixed. The same
// seed makes the same orders.
func Orders(events []cloudevents.Event, seed uint64) map[string][]cloudevents.Event {
	reversed, mixed := slices.Clone(events), slices.Concat(events, events)
	slices.Reverse(reversed)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	return map[string][]cloudevents.Event{"ordered": events, "reversed": reversed, "mixed": mixed}
}
