package step

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/function"
)

const (
	// EventPing is the type of the events of Knative's PingSource, which wake a pull step.
	EventPing = "dev.knative.sources.ping"
	// EventPullCompleted is the type of the reply after a complete round; its data is [PullCounts].
	EventPullCompleted = "dev.xos-knative.pull.completed"
)

// PullDeadline is how long a round may take. It is shorter than the 5 minutes between two ticks, so
// that a round that hangs does not prevent the next one.
const PullDeadline = 4 * time.Minute

// pullSource is the CloudEvents source of what a pull function replies.
const pullSource = "/synchronizer/pull"

var (
	pullRounds = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "synchronizer_pull_rounds_total",
		Help: "Ticks that a pull function received, by outcome: completed, incomplete, skipped.",
	}, []string{"outcome"})
	pullRecords = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "synchronizer_pull_records_total",
		Help: "Records that pull rounds looked at, by result.",
	}, []string{"result"})
)

// Puller copies what the micro-service has into the model (XOS: a pull step).
//
// Pull goes over everything that the micro-service has, and calls [Round.Record] for each record. If it
// cannot read all of them it returns an error, and must treat no record as missing. It ends when the
// context ends, at the deadline of the round.
//
// Rounds can be skipped, and can fail. So each one must be complete: it must not depend on an earlier
// one.
type Puller interface {
	Pull(ctx context.Context, round *Round) error
}

// PullResult is what was done for one record.
type PullResult string

const (
	// PullUnchanged: the record and the model agree.
	PullUnchanged PullResult = "unchanged"
	// PullCreated: a model was made of the record.
	PullCreated PullResult = "created"
	// PullUpdated: the model was made like the record.
	PullUpdated PullResult = "updated"
	// PullDrifted: the record is not as its model says; the model will be synced again.
	PullDrifted PullResult = "drifted"
	// PullOrphaned: the record's model is gone; the record was removed.
	PullOrphaned PullResult = "orphaned"
	// PullReported: what the record says was stored as feedback of its model.
	PullReported PullResult = "reported"
	// PullFailed: there was an error; the next round tries again.
	PullFailed PullResult = "failed"
)

// PullCounts has the number of records of a round, by result.
type PullCounts struct {
	Created   int `json:"created"`
	Updated   int `json:"updated"`
	Unchanged int `json:"unchanged"`
	Drifted   int `json:"drifted"`
	Orphaned  int `json:"orphaned"`
	Reported  int `json:"reported"`
	Failed    int `json:"failed"`
	// Seconds is how long the round took.
	Seconds float64 `json:"seconds"`
}

// Round is one round of a pull step. It is safe for concurrent use.
type Round struct {
	ctx context.Context

	// mu protects following.
	mu     sync.Mutex
	counts PullCounts
}

// Record calls fn, which does what one record needs, and counts the result. An error or a panic of fn
// is logged with the name and counted, and the round goes on. After the deadline Record does nothing:
// the round is incomplete, whatever Pull returns.
func (r *Round) Record(name string, fn func() (PullResult, error)) {
	if r.ctx.Err() != nil {
		return
	}
	result := PullFailed
	err := recovered(r.ctx, func() (err error) {
		result, err = fn()
		return err
	})
	if err != nil {
		result = PullFailed
		logging.FromContext(r.ctx).Warnw("A record could not be pulled", zap.String("record", name), zap.Error(err))
	}
	r.count(result)
}

func (r *Round) count(result PullResult) {
	pullRecords.WithLabelValues(string(result)).Inc()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch result {
	case PullCreated:
		r.counts.Created++
	case PullUpdated:
		r.counts.Updated++
	case PullDrifted:
		r.counts.Drifted++
	case PullOrphaned:
		r.counts.Orphaned++
	case PullReported:
		r.counts.Reported++
	case PullFailed:
		r.counts.Failed++
	default:
		r.counts.Unchanged++
	}
}

// pullEngine runs one round for each tick, one at a time. All pull steps of the function have a part in
// it, at the same time, so that one that hangs does not hold up the others.
type pullEngine struct {
	settings
	pullers []Puller
	// busy is held while a round runs.
	busy sync.Mutex
}

// handle runs a round for a tick, which is an event of a PingSource. A tick during a round is skipped
// and answered with 200: every round is complete, so nothing is missed. An incomplete round is answered
// with 503 and the reason; the PingSource then tries again a few times.
func (e *pullEngine) handle(ctx context.Context, event cloudevents.Event) (*cloudevents.Event, protocol.Result) {
	log := logging.FromContext(ctx).With(zap.String("id", event.ID()))
	if !e.busy.TryLock() {
		pullRounds.WithLabelValues("skipped").Inc()
		log.Info("Skipped: a round is under way")
		return nil, nil
	}
	defer e.busy.Unlock()

	// The round outlives the request: the sender need not wait for it.
	ctx = e.events.during(logging.WithLogger(context.WithoutCancel(ctx), log), "pull")
	ctx, cancel := context.WithTimeout(ctx, e.deadline)
	defer cancel()
	start := e.clock.Now()
	round := &Round{ctx: ctx}
	errs := make([]error, len(e.pullers))
	var work sync.WaitGroup
	for i, p := range e.pullers {
		work.Go(func() { errs[i] = recovered(ctx, func() error { return p.Pull(ctx, round) }) })
	}
	work.Wait()
	err := errors.Join(errs...)
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("the round did not end within %s", e.deadline)
	}
	round.mu.Lock()
	counts := round.counts
	round.mu.Unlock()
	counts.Seconds = e.clock.Since(start).Seconds()
	log = log.With(zap.Any("counts", counts))
	if err != nil {
		pullRounds.WithLabelValues("incomplete").Inc()
		log.Warnw("The round is incomplete", zap.Error(err))
		return nil, function.Unavailable("the round is incomplete: %s", oneLine(err))
	}
	pullRounds.WithLabelValues("completed").Inc()
	log.Info("The round is complete")
	return e.completed(counts), nil
}

// completed is the reply of a round.
func (e *pullEngine) completed(counts PullCounts) *cloudevents.Event {
	reply := cloudevents.NewEvent()
	reply.SetID(uuid.NewString())
	reply.SetType(EventPullCompleted)
	reply.SetSource(pullSource)
	reply.SetTime(e.clock.Now())
	if err := reply.SetData(cloudevents.ApplicationJSON, counts); err != nil {
		panic(fmt.Sprintf("counts cannot be encoded: %v", err)) // A programmer's error.
	}
	return &reply
}
