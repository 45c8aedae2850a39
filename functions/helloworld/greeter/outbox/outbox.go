// Package outbox publishes the greetings that the greeter's own users ask for as CloudEvents. The store
// keeps an event until the sink has answered 2xx, so no event is lost if the sink, the network or the
// greeter fails. An event can be sent twice, with the same id.
//
// Events of one name leave one at a time, in the order in which the greetings were accepted. Names do
// not wait for each other: an event that the sink refuses, or does not answer, holds up its own name only.
// (A sink that does not answer hundreds of names at once holds up all.)
package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/util/workqueue"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/store"
	"github.com/xos-knative/synchronizer/pkg/function"
)

// Config of a [Publisher], read from the environment by envconfig.
type Config struct {
	// Sink is where events are sent to, as a SinkBinding sets it. Without one they stay in the
	// outbox.
	Sink function.SinkSettings

	// Source is the source attribute of the events.
	Source string `envconfig:"EVENT_SOURCE" default:"/greeter"`

	// Workers is how many events are sent at once. Those that the sink has not answered after a second
	// do not count, up to 256: a synchronous Broker answers late what it tries again and again.
	Workers int `envconfig:"PUBLISH_WORKERS" default:"8"`

	// Timeout is how long the sink may take to answer. A synchronous Broker answers after its
	// subscribers have answered, or after the event has become a dead letter: with the retries of
	// eventing/helloworld/events-broker.yaml after 6 times 30 s, 15.5 s between them, and the time
	// for the dead letter. A sender that hangs up earlier cancels all of it.
	Timeout time.Duration `envconfig:"PUBLISH_TIMEOUT" default:"4m"`
}

const (
	// slowAfter is when an event that is not answered makes room for another one.
	slowAfter = time.Second

	// maxSlow is how many such events there are at most.
	maxSlow = 256

	// downAfter is how many failures in a row mean that the sink is down.
	downAfter = 8

	// reminder is how often the log says that the sink is still down.
	reminder = time.Minute
)

// Publisher empties the outbox of a store.
type Publisher struct {
	store  *store.Store
	sink   *function.Sink // Nil if there is none.
	config Config
	log    *zap.SugaredLogger
	waits  *backoff
	queue  workqueue.TypedRateLimitingInterface[store.Line]
	// room is for Config.Workers events that are sent, or that workers wait for.
	room chan struct{}

	// mu protects following.
	mu       sync.Mutex
	failures int       // Since the last success.
	wasDown  bool      // Since the last recovery.
	reported time.Time // When the log last said that the sink is down.
	recovery time.Time
}

// New makes a Publisher. It does nothing before [Publisher.Run]. The logger is that of ctx.
func New(ctx context.Context, s *store.Store, c Config) (*Publisher, error) {
	waits := newBackoff()
	p := &Publisher{
		store:  s,
		config: c,
		log:    logging.FromContext(ctx),
		waits:  waits,
		queue:  workqueue.NewTypedRateLimitingQueue[store.Line](waits),
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	p.room = make(chan struct{}, c.Workers)
	if c.Sink.URL != "" {
		sink, err := function.NewSink(c.Sink, c.Workers)
		if err != nil {
			return nil, err
		}
		p.sink = sink
	}

	// A source that is not valid would hold up all events forever.
	if _, err := p.event(store.Entry{GreetingID: "check", AcceptedAt: time.Unix(0, 0)}); err != nil {
		return nil, fmt.Errorf("EVENT_SOURCE: does not make a valid event: %w", err)
	}
	return p, nil
}

func (c Config) validate() error {
	var errs []error
	if c.Workers < 1 {
		errs = append(errs, fmt.Errorf("PUBLISH_WORKERS: expected 1 or more, got %d", c.Workers))
	}
	if c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("PUBLISH_TIMEOUT: expected more than 0, got %s", c.Timeout))
	}
	return errors.Join(errs...)
}

// Notify says that a line has a new entry. It does not block.
func (p *Publisher) Notify(line store.Line) {
	if p.sink != nil {
		p.queue.Add(line)
	}
}

// Run publishes what is in the outbox, and what comes, until ctx ends. The next Run sends events again
// that are under way then.
func (p *Publisher) Run(ctx context.Context) {
	if p.sink == nil {
		p.log.Warnw("K_SINK is not set: greetings that users ask for stay in the outbox until the greeter is started with a sink")
		return
	}
	stop := context.AfterFunc(ctx, p.queue.ShutDown)
	defer stop()

	if err := p.addAll(); err != nil {
		// A line is also found when it gets a new entry, and at the next recovery or start.
		p.log.Errorw("Cannot read what waits in the outbox", "error", err)
	}

	var workers sync.WaitGroup
	for range p.config.Workers + maxSlow {
		workers.Go(func() {
			for p.next(ctx) {
			}
		})
	}
	workers.Wait()
}

// addAll makes every line that is not empty due now.
func (p *Publisher) addAll() error {
	lines, err := p.store.Lines()
	for _, line := range lines {
		p.queue.Add(line)
	}
	return err
}

// next publishes the head of the next line that is due. It reports whether to go on. The queue gives a
// line to one worker at a time, so its order is kept.
func (p *Publisher) next(ctx context.Context) bool {
	p.room <- struct{}{}
	leave := sync.OnceFunc(func() { <-p.room })
	defer leave()
	line, shutdown := p.queue.Get()
	if shutdown {
		return false
	}
	defer p.queue.Done(line)

	entry, err := p.store.Head(line)
	if err != nil {
		p.log.Errorw("Cannot read the outbox, trying again", "error", err)
		p.queue.AddRateLimited(line)
		return true
	}
	if entry == nil {
		p.queue.Forget(line)
		return true
	}

	slow := time.AfterFunc(slowAfter, leave)
	err = p.send(ctx, *entry)
	slow.Stop()
	if err != nil {
		if ctx.Err() != nil {
			return false
		}
		// Also after a 4xx: somebody may fix the sink, and an accepted event is never dropped.
		p.failed(*entry, err)
		p.queue.AddRateLimited(line)
		return true
	}
	p.succeeded()

	if err := p.store.Remove(*entry); err != nil {
		p.log.Errorw("Cannot remove a published event from the outbox, it will be sent again", "greeting", entry.GreetingID, "error", err)
		p.queue.AddRateLimited(line)
		return true
	}
	p.queue.Forget(line)
	p.queue.Add(line) // It may have more entries.
	return true
}

func (p *Publisher) failed(e store.Entry, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures++
	p.wasDown = p.wasDown || p.failures >= downAfter
	// While the sink is down, a message for each of thousands of events would hide all others.
	if p.failures > downAfter && time.Since(p.reported) < reminder {
		return
	}
	p.reported = time.Now()
	p.log.Warnw("The sink does not accept an event, trying again", "sink", p.config.Sink.URL, "greeting", e.GreetingID, "name", e.Request.Name,
		"failuresInARow", p.failures, "error", err)
}

func (p *Publisher) succeeded() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures = 0
	// A sink that refuses many events for good looks as if it were down. These events may be tried
	// early now and then, but not whenever the sink accepts another one.
	if !p.wasDown || time.Since(p.recovery) < maxBackoff {
		return
	}
	p.wasDown, p.recovery = false, time.Now()
	p.log.Infow("The sink accepts events again", "sink", p.config.Sink.URL)

	// Most lines wait because the sink was down: they need not wait any longer.
	p.waits.reset()
	if err := p.addAll(); err != nil {
		p.log.Errorw("Cannot read what waits in the outbox", "error", err)
	}
}
