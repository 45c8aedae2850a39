// Package outbox publishes what the greeter accepted from its own users as CloudEvents. The store holds an event until the sink
// has answered 2xx, so none is lost when the sink, the network or the greeter dies; some may be sent twice, with the same id.
//
// Events of one name leave in the order in which the greetings were accepted, one at a time. Names do not wait for each other: an
// event that the sink refuses holds up nothing but its own name.
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

// Config of a Publisher, read from the environment by envconfig.
type Config struct {
	// Sink is where events are sent to, as a SinkBinding sets it. Without one they stay in the outbox.
	Sink function.SinkSettings

	// Source is the source attribute of the events.
	Source string `envconfig:"EVENT_SOURCE" default:"/greeter"`

	// Workers is the number of events that are under way at once.
	Workers int `envconfig:"PUBLISH_WORKERS" default:"8"`

	// Timeout is how long the sink may take to answer. A synchronous Broker answers after its subscribers did, or after
	// it has given up on them and has kept the event as a dead letter: with the retries of eventing/events-broker.yaml
	// that is 6 times 30 s, 15.5 s of waits between them, and the dead letter. Who hangs up before cancels all of it.
	Timeout time.Duration `envconfig:"PUBLISH_TIMEOUT" default:"4m"`
}

const (
	// downAfter failures without a success between them the sink counts as down.
	downAfter = 8

	// reminder is how often the log says that the sink is still down.
	reminder = time.Minute
)

// A Publisher empties the outbox of a store.
type Publisher struct {
	store  *store.Store
	sink   *function.Sink // nil if there is none
	config Config
	log    *zap.SugaredLogger
	waits  *backoff
	queue  workqueue.TypedRateLimitingInterface[store.Line]

	mu sync.Mutex // protects what follows

	failures int       // since the last success
	wasDown  bool      // since the last recovery
	reported time.Time // when the log last said that the sink is down
	recovery time.Time
}

// New returns a Publisher that does nothing until Run. The logger is taken from ctx.
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
	if c.Sink.URL != "" {
		sink, err := function.NewSink(c.Sink, c.Workers)
		if err != nil {
			return nil, err
		}
		p.sink = sink
	}

	// What every event has in common is checked now: found out later, it would hold up all of them for ever.
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

// Notify that a line has a new entry. It does not block.
func (p *Publisher) Notify(line store.Line) {
	if p.sink != nil {
		p.queue.Add(line)
	}
}

// Run publishes what is in the outbox and what comes into it until ctx is done. Events that are under way then are sent again by
// the next Run.
func (p *Publisher) Run(ctx context.Context) {
	if p.sink == nil {
		p.log.Warnw("K_SINK is not set: greetings that users ask for stay in the outbox until the greeter is started with a sink")
		return
	}
	stop := context.AfterFunc(ctx, p.queue.ShutDown)
	defer stop()

	if err := p.addAll(); err != nil {
		// Lines that get a new entry are found all the same; the others at the next recovery or start.
		p.log.Errorw("Cannot read what waits in the outbox", "error", err)
	}

	var workers sync.WaitGroup
	for range p.config.Workers {
		workers.Go(func() {
			for p.next(ctx) {
			}
		})
	}
	workers.Wait()
}

// addAll makes every line that is not empty due at once.
func (p *Publisher) addAll() error {
	lines, err := p.store.Lines()
	for _, line := range lines {
		p.queue.Add(line)
	}
	return err
}

// next publishes the head of the next line that is due. The queue gives a line to one worker at a time, which keeps its order.
func (p *Publisher) next(ctx context.Context) bool {
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

	if err := p.send(ctx, *entry); err != nil {
		if ctx.Err() != nil {
			return false
		}
		// Also what looks final (a 4xx) is tried again: the sink may be mended, and an event that was accepted is never dropped.
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
	p.queue.Add(line) // for what stands behind it
	return true
}

func (p *Publisher) failed(e store.Entry, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures++
	p.wasDown = p.wasDown || p.failures >= downAfter
	// One line for each of thousands of events would hide everything else while the sink is down.
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
	// Many events that are refused for reasons of their own look like a sink that is down, too. They may be tried out of turn now and
	// then, but not each time that the sink accepts another one.
	if !p.wasDown || time.Since(p.recovery) < maxBackoff {
		return
	}
	p.wasDown, p.recovery = false, time.Now()
	p.log.Infow("The sink accepts events again", "sink", p.config.Sink.URL)

	// What waits does so because of the sink, most of it for no reason of its own: no need to sit that out.
	p.waits.forgetDebt()
	if err := p.addAll(); err != nil {
		p.log.Errorw("Cannot read what waits in the outbox", "error", err)
	}
}
