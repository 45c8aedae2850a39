package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
	"unique"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// Send delivers one event to the sink. An error means that the sink has not accepted it; the source
// tries again.
type Send func(ctx context.Context, event cloudevents.Event) error

// Options change a source from its defaults; the zero value is the default.
type Options struct {
	// Namespace whose objects are watched. Default: all namespaces.
	Namespace string
	// Window is how many objects of one kind and step may have an event in flight, not counting those that are
	// past the first visibility timeout. Default: 64.
	Window int
	// Objects is how many objects of a namespace one event is about, at most, if more are due than Window. It is no more
	// than a quarter of that, and no more than [model.MaxObjects]. Default: 16.
	Objects int
	// Visibility is how long the source waits for the status to show that a step has handled an
	// event, before it sends it again; doubled each time. It must be longer than a step may take
	// (25 s). Default: 30 s.
	Visibility time.Duration
	// MaxVisibility bounds the growth of Visibility. Default: 10 min.
	MaxVisibility time.Duration
	// Clock replaces the system's clock. Default: clock.RealClock.
	Clock clock.WithTicker
}

func (o Options) withDefaults() Options {
	o.Window = cmp.Or(max(0, o.Window), 64)
	o.Objects = min(cmp.Or(max(0, o.Objects), 16), max(1, o.Window/4), model.MaxObjects)
	o.Visibility = cmp.Or(max(0, o.Visibility), 30*time.Second)
	o.MaxVisibility = max(o.Visibility, cmp.Or(o.MaxVisibility, 10*time.Minute))
	o.Clock = cmp.Or[clock.WithTicker](o.Clock, clock.RealClock{})
	return o
}

// key names what is decided about: one step of one object. Without a name it stands for the lane of
// the kind and step.
type key struct {
	groupKind schema.GroupKind
	types.NamespacedName
	step model.Step
}

// queued is a key that has to be evaluated: one word instead of ten, because the sets of a queue never get smaller.
type queued = unique.Handle[key]

// Source watches models and sends an event for each step that is due. Make one with [New] and call
// [Source.Run] once.
type Source struct {
	dynamic dynamic.Interface // For definitions.
	objects dynamic.Interface // For models.
	send    Send
	queue   workqueue.TypedDelayingInterface[queued]
	// workers counts everything that Run has started and waits for.
	workers sync.WaitGroup

	// mu protects following.
	mu sync.Mutex
	seen
	tracker
}

// New makes a source that reads the models of the API that config leads to.
func New(config *rest.Config, send Send, options Options) (*Source, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("model source: %w", err)
	}
	d, err := dynamic.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("model source: %w", err)
	}
	objects, err := newLean(config, client)
	if err != nil {
		return nil, fmt.Errorf("model source: %w", err)
	}
	options = options.withDefaults()
	queue := workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[queued]{Clock: options.Clock})
	s := newSource(options, send, func(k key) { queue.Add(unique.Make(k)) })
	s.dynamic, s.objects, s.queue = d, objects, queue
	return s, nil
}

// newSource is a source that has seen nothing, and has nothing to see.
func newSource(options Options, send Send, dirty func(key)) *Source {
	s := &Source{send: send, seen: seen{kinds: map[schema.GroupKind]*watchedKind{}, dirty: dirty}}
	s.tracker = tracker{Options: options, look: s.seen.look, kept: s.seen.kept, tasks: map[key]*task{}, lanes: map[key]*lane{}}
	return s
}

// Run works until the context ends and everything that it has started has ended, too. Sends that
// are under way are given up then: if the sink has not accepted them, the next source finds them due
// again. While the API or the sink cannot be reached Run tries again.
func (s *Source) Run(ctx context.Context) error {
	s.workers.Go(func() { s.watchDefinitions(ctx) })
	s.workers.Go(func() { s.work(ctx) })
	<-ctx.Done()
	s.queue.ShutDown()
	s.workers.Wait()
	if err := ctx.Err(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// work evaluates one key of the queue after the other until the queue is shut down.
func (s *Source) work(ctx context.Context) {
	for {
		next, shutdown := s.queue.Get()
		if shutdown {
			return
		}
		k := next.Value()
		s.track(ctx, k, func(now time.Time) todo { return s.evaluate(k, now) })
		s.queue.Done(next)
	}
}

// track tells the tracker something about a key and does what it says.
func (s *Source) track(ctx context.Context, k key, tell func(now time.Time) todo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do := tell(s.Clock.Now())
	s.lane(k).show()
	if do.lost > 0 {
		lostTotal.WithLabelValues(string(k.step), k.groupKind.Kind).Inc()
		s.log(ctx, k).Warnw("Not acknowledged in time, sending again", "attempt", do.lost+1)
	}
	for _, a := range do.again {
		s.queue.AddAfter(unique.Make(a.key), a.after)
	}
	for _, p := range do.send {
		if ctx.Err() == nil { // What is not sent is found due by the next source.
			s.workers.Go(func() { s.deliver(ctx, p) })
		}
	}
}

// deliver hands an event to the sink and tells the tracker the answer.
func (s *Source) deliver(ctx context.Context, p *parcel) {
	sending, cancel := context.WithTimeout(ctx, s.Visibility)
	err := s.send(sending, p.event)
	cancel()
	if ctx.Err() != nil && err != nil {
		return
	}
	for _, d := range p.deliveries {
		log := s.log(ctx, d.key).With(zap.String("id", p.event.ID()))
		if err == nil {
			sentTotal.WithLabelValues(string(d.step), d.groupKind.Kind, string(d.due)).Inc()
			log.Debugw("Sent", zap.String("type", p.event.Type()), zap.String("due", string(d.due)))
		} else {
			rejectedTotal.WithLabelValues(string(d.step), d.groupKind.Kind).Inc()
			log.Warnw("The sink did not accept the event, trying again", zap.Error(err))
		}
	}
	s.track(ctx, p.deliveries[0].key, func(now time.Time) todo { return s.answered(p, err == nil, now) })
}

// Ready reports whether the source has read the definitions and all objects of the models that it
// knows. It is ready with no model at all, and without the right to read what is no model any more.
func (s *Source) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.kinds {
		if !w.synced && !w.Retired {
			return false
		}
	}
	return s.complete
}

func (s *Source) log(ctx context.Context, k key) *zap.SugaredLogger {
	return logging.FromContext(ctx).With(zap.String("step", string(k.step)), zap.String("kind", k.groupKind.Kind),
		zap.String("namespace", k.Namespace), zap.String("name", k.Name))
}
