package step

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

var stepsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "synchronizer_steps_total",
	Help: "Outcomes of steps, by step, kind and state.",
}, []string{"step", "kind", "state"})

// ending is what a run of a step has come to.
type ending struct {
	*engine
	o       *observation
	v       model.Verdict
	res     result
	outcome *model.StepStatus
}

// cleanedUp reports whether the step's finalizer can go.
func (e *ending) cleanedUp() bool {
	return e.o.obj.Deleting() && e.res.called && (e.res.err == nil || classOf(e.res.err).class == warning)
}

// refused makes the outcome that the API has refused what the step reports.
func (e *ending) refused(err error) {
	failed := run{step: e.step, obj: e.o.obj, err: fmt.Errorf("the step's report was refused: %w", err), now: e.now(e.o),
		finalizer: e.outcome.Finalizer, own: e.res.own}.outcome()
	failed.Handle, failed.Dependencies = e.outcome.Handle, e.outcome.Dependencies
	e.outcome = failed
}

// newest is the object as the run has left it.
func (e *ending) newest() *unstructured.Unstructured {
	if e.res.own != nil {
		_, _, newest, _ := e.res.own.Seen()
		return newest
	}
	return cmp.Or(e.res.marked, e.o.live)
}

// undoRetry says when [ending.undo] tries again.
var undoRetry = wait.Backoff{Steps: 5, Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1}

// undo cleans up after a run whose object was removed by force: somebody has removed the finalizer. No
// event will come for the object, so undo tries several times.
func (e *ending) undo(ctx context.Context) error {
	r := e.runners[e.o.GroupKind()]
	if !e.res.called || !r.needsFinalizer() || e.o.obj.Deleting() {
		return nil // There is nothing to undo, or this was the clean-up.
	}
	var last error
	err := wait.ExponentialBackoffWithContext(ctx, undoRetry, func(ctx context.Context) (bool, error) {
		_, last = e.call(ctx, e.o, cleanUp(r, e.o.typed))
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("undoing the %s of an object that is gone: %w", e.step, errors.Join(err, last))
	}
	logging.FromContext(ctx).Infow("Undone: the object was removed while the step ran")
	return nil
}

// report logs and counts an outcome.
func (e *ending) report(ctx context.Context, state, message string) {
	stepsTotal.WithLabelValues(string(e.step), e.o.Kind, state).Inc()
	logging.FromContext(ctx).Infow(string(e.step)+" "+state, zap.Int64("generation", e.o.obj.Generation),
		zap.String("due", string(e.v.Reason)), zap.String("detail", message))
}

// ReplyTypes are the CloudEvents types of the replies about a new state, by step and state. Other
// states have no reply.
var ReplyTypes = map[model.Step]map[model.State]string{
	model.StepSync: {
		model.StateOK:       "dev.xos-knative.model.synced",
		model.StateFailed:   "dev.xos-knative.model.sync.failed",
		model.StateDeferred: "dev.xos-knative.model.sync.deferred",
	},
	model.StepPolicy: {
		model.StateOK:     "dev.xos-knative.model.policed",
		model.StateFailed: "dev.xos-knative.model.policy.failed",
	},
}

// eventReaped is the type of the reply when the last step has cleaned up and the object can go.
const eventReaped = "dev.xos-knative.model.reaped"

// reply makes the reply about a new state, nil if the state is the same as before.
func (e *ending) reply() *cloudevents.Event {
	if before := e.o.obj.Status.Step(e.step); before != nil && before.State == e.outcome.State {
		return nil
	}
	return e.event(e.o.obj, ReplyTypes[e.step][e.outcome.State], e.outcome)
}

// event makes a reply, nil for a state that has no type, and if nobody wants one.
func (e *engine) event(obj *model.Snapshot, eventType string, outcome *model.StepStatus) *cloudevents.Event {
	if eventType == "" || !e.replies {
		return nil
	}
	data := struct {
		model.Reference
		State   model.State `json:"state,omitempty"`
		Message string      `json:"message,omitempty"`
	}{Reference: obj.Reference()}
	if outcome != nil {
		data.State, data.Message = outcome.State, outcome.Message
	}
	event := obj.Event(eventType, uuid.NewString(), e.clock.Now(), data)
	return &event
}
