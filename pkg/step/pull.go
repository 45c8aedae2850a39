package step

import (
	"context"
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
	// EventPing is the CloudEvent type of Knative's PingSource, which wakes a
	// pull function.
	EventPing = "dev.knative.sources.ping"
	// EventPullCompleted tells that a round is complete; its data is [PullCounts].
	EventPullCompleted = "dev.xos-knative.pull.completed"
)

// PullDeadline is how long a round may take: less than the 5 minutes between
// two ticks, so that a round that hangs does not cost the next one too.
const PullDeadline = 4 * time.Minute

// pullSource is the CloudEvents source of what a pull function replies.
const pullSource = "/synchronizer/pull"

var (
	pullRounds = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "synchronizer_pull_rounds_total",
		Help: "Ticks that a pull function received, by what became of them: completed, incomplete, skipped.",
	}, []string{"outcome"})
	pullRecords = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "synchronizer_pull_records_total",
		Help: "Records that pull rounds looked at, by result.",
	}, []string{"result"})
)

// Puller copies what the micro-service has into the model (XOS: a pull step).
//
// Pull goes over everything that the micro-service has, each record in a call
// of [Round.Record]. It returns an error if it could not see everything; then
// it must not have taken anything for missing. It must heed the context, which
// ends with the deadline of the round.
//
// Rounds can be missed and can be cut off, so each one must be complete in
// itself: nothing may depend on what an earlier one has seen.
type Puller interface {
	Pull(ctx context.Context, round *Round) error
}

// PullResult is what became of one record.
type PullResult string

const (
	// PullUnchanged: the record and the model agree.
	PullUnchanged PullResult = "unchanged"
	// PullCreated: a model was made of the record.
	PullCreated PullResult = "created"
	// PullUpdated: the model was made like the record.
	PullUpdated PullResult = "updated"
	// PullDrifted: the record is not as its model says; the model is to be
	// synced again.
	PullDrifted PullResult = "drifted"
	// PullOrphaned: the record's model is gone; the record was removed.
	PullOrphaned PullResult = "orphaned"
	// PullFailed: what the record needs could not be done; the next round tries again.
	PullFailed PullResult = "failed"
)

// PullCounts tells how many records a round has met, by result.
type PullCounts struct {
	Created   int `json:"created"`
	Updated   int `json:"updated"`
	Unchanged int `json:"unchanged"`
	Drifted   int `json:"drifted"`
	Orphaned  int `json:"orphaned"`
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

// Record does what one record needs and counts the result. An error or a panic
// of one record is logged with its name and counted, and does not keep the
// others from being looked at. After the deadline of the round it does nothing:
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
	case PullFailed:
		r.counts.Failed++
	default:
		r.counts.Unchanged++
	}
}

// pullEngine runs one round for each tick, one at a time.
type pullEngine struct {
	settings
	puller Puller
	// busy is held while a round runs.
	busy sync.Mutex
}

// handle runs a round for a tick of a PingSource, or of anybody who sends an event of that type. A
// tick during a round is answered 200 and skipped: complete rounds make up for it. A round that could
// not see everything is answered 503 with the reason; the PingSource tries a few times more then.
func (e *pullEngine) handle(ctx context.Context, event cloudevents.Event) (*cloudevents.Event, protocol.Result) {
	log := logging.FromContext(ctx).With(zap.String("id", event.ID()))
	if !e.busy.TryLock() {
		pullRounds.WithLabelValues("skipped").Inc()
		log.Info("Skipped: a round is under way")
		return nil, nil
	}
	defer e.busy.Unlock()

	// The round outlives the request: who ticks need not wait for it.
	ctx, cancel := context.WithTimeout(logging.WithLogger(context.WithoutCancel(ctx), log), e.deadline)
	defer cancel()
	start := e.clock.Now()
	round := &Round{ctx: ctx}
	err := recovered(ctx, func() error { return e.puller.Pull(ctx, round) })
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
		return nil, function.Unavailable("the round is incomplete: %s", err)
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
