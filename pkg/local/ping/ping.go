// Package ping sends the events of PingSources on schedule. Schedules are read, events made and failed deliveries tried
// again as by Knative's own adapter (pkg/adapter/mtping of Knative Eventing), and ticks may overlap as there. The adapter
// itself is not used because overlapping ticks of it write to one variable. It also delays each tick by up to half a
// second to spread the load, which is of no use here.
package ping

import (
	"context"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/uuid"
	"github.com/robfig/cron/v3"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/eventing/pkg/adapter/v2"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// How a failed delivery is tried again, as by Knative's adapter: a tick that fails for longer is lost.
const (
	retryDelay = 50 * time.Millisecond
	retries    = 5
)

// Options are what all PingSources share.
type Options struct {
	// Resolve finds the address of a destination, as seen from a namespace.
	Resolve func(d duckv1.Destination, namespace string) (*apis.URL, error)
	// Failed is called for each tick that could not be delivered. Default: nothing is called.
	Failed func(source types.NamespacedName, err error)
}

// Schedules are running PingSources.
type Schedules struct {
	o    Options
	cron *cron.Cron
	ctx  context.Context // ends with Stop
	stop context.CancelFunc

	mu      sync.Mutex // protects following
	entries map[types.NamespacedName]cron.EntryID
}

// Start makes Schedules without a PingSource. The events go through http.DefaultTransport, so the caller has to route
// cluster-local names to the subscribers.
func Start(o Options) *Schedules {
	if o.Failed == nil {
		o.Failed = func(types.NamespacedName, error) {}
	}
	// The parser of Knative's adapter and of its validation: five fields, or six with seconds in front.
	parser := cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	s := &Schedules{o: o, cron: cron.New(cron.WithParser(parser)), entries: map[types.NamespacedName]cron.EntryID{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.cron.Start()
	return s
}

// Add lets a PingSource tick.
func (s *Schedules) Add(p *sourcesv1.PingSource) error {
	name := types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
	tick, err := newTick(p, s.o.Resolve)
	if err != nil {
		return fmt.Errorf("PingSource %s: %w", name, err)
	}
	schedule := p.Spec.Schedule
	if p.Spec.Timezone != "" {
		schedule = "CRON_TZ=" + p.Spec.Timezone + " " + schedule
	}
	entry, err := s.cron.AddFunc(schedule, func() {
		if err := tick.send(s.ctx); err != nil && s.ctx.Err() == nil {
			s.o.Failed(name, err)
		}
	})
	if err != nil {
		return fmt.Errorf("PingSource %s: schedule: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[name] = entry
	return nil
}

// Remove ends the ticks of a PingSource. One that is on its way is delivered.
func (s *Schedules) Remove(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if entry, ok := s.entries[name]; ok {
		s.cron.Remove(entry)
		delete(s.entries, name)
	}
}

// Stop ends all schedules, and gives up what is being sent.
func (s *Schedules) Stop() {
	s.stop()
	<-s.cron.Stop().Done()
}

// tick is what a PingSource sends each time.
type tick struct {
	client adapter.Client
	event  cloudevents.Event
}

func newTick(p *sourcesv1.PingSource, resolve func(duckv1.Destination, string) (*apis.URL, error)) (*tick, error) {
	sink, err := resolve(p.Spec.Sink, p.Namespace)
	if err != nil {
		return nil, err
	}
	client, err := adapter.NewClient(adapter.ClientConfig{
		// No limit to how long a subscriber may take, as in Knative's installation.
		Env:         &adapter.EnvConfig{Namespace: p.Namespace, Name: p.Name, Sink: sink.String(), EnvSinkTimeout: "-1"},
		CeOverrides: p.Spec.CloudEventOverrides,
	})
	if err != nil {
		return nil, err
	}
	event, err := newEvent(p)
	if err != nil {
		return nil, err
	}
	return &tick{client: client, event: event}, nil
}

// newEvent makes the event of a PingSource, all but its id and time.
func newEvent(p *sourcesv1.PingSource) (cloudevents.Event, error) {
	event := cloudevents.NewEvent()
	event.SetType(sourcesv1.PingSourceEventType)
	event.SetSource(sourcesv1.PingSourceSource(p.Namespace, p.Name))
	data := []byte(p.Spec.Data)
	if p.Spec.DataBase64 != "" {
		var err error
		if data, err = base64.StdEncoding.DecodeString(p.Spec.DataBase64); err != nil {
			return event, fmt.Errorf("dataBase64: %w", err)
		}
	}
	if len(data) == 0 {
		return event, nil
	}
	return event, event.SetData(p.Spec.ContentType, data)
}

func (t *tick) send(ctx context.Context) error {
	event := t.event.Clone()
	event.SetID(uuid.NewString())
	ctx = cloudevents.ContextWithRetriesExponentialBackoff(ctx, retryDelay, retries)
	if result := t.client.Send(ctx, event); !cloudevents.IsACK(result) {
		return result
	}
	return nil
}
