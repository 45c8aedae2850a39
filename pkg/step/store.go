package step

import (
	"context"
	"errors"
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

var stepsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "synchronizer_steps_total",
	Help: "Outcomes of steps, by step, kind and state.",
}, []string{"step", "kind", "state"})

// undoRetry says when [engine.undo] tries again.
var undoRetry = wait.Backoff{Steps: 5, Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1}

// store writes the outcome into the step's part of the status, if nobody else has changed that part
// since the object was observed. After a clean-up it removes the finalizer and writes no status.
func (e *engine) store(ctx context.Context, r runner, o *observation, v model.Verdict, res result) (*cloudevents.Event, error) {
	switch {
	case v.Reason == model.DueReport:
		return nil, e.models.Report(ctx, o.obj.Kind, o.live)
	case v.Reason == model.DueFinalizer && r.needsFinalizer():
		return nil, nil // To put it on was all.
	}
	c := classOf(res.err)
	if o.obj.Deleting() && res.called && (res.err == nil || c.class == warning) {
		return e.release(ctx, o, v, res)
	}
	outcome, err := e.outcome(ctx, r, o, v, res)
	if err != nil {
		return nil, err
	}
	outcome, err = e.acknowledge(ctx, o, res, outcome)
	switch {
	case errors.Is(err, model.ErrStepChanged) && res.called:
		return nil, errOvertaken
	case errors.Is(err, model.ErrStepChanged):
		return nil, fmt.Errorf("%w: another run has stored its outcome", errAgain)
	case model.IsGone(err):
		return nil, e.undo(ctx, r, o, res)
	case err != nil:
		return nil, err
	}
	e.report(ctx, o.obj, v, string(outcome.State), outcome.Message)
	e.tell(o, outcome)
	return e.reply(o.obj, outcome), nil
}

// acknowledge writes the outcome, with what the step has reported. If the API refuses the report, the
// outcome is that the step has failed. It returns what was stored.
func (e *engine) acknowledge(ctx context.Context, o *observation, res result, outcome *model.StepStatus) (*model.StepStatus, error) {
	newest := o.live
	if res.own != nil {
		_, _, newest, _ = res.own.Seen()
	}
	err := e.models.Acknowledge(ctx, o.obj, newest, e.step, outcome, res.feedback)
	if len(res.feedback) == 0 || !apierrors.IsInvalid(err) && !apierrors.IsRequestEntityTooLargeError(err) {
		return outcome, err
	}
	refused := run{step: e.step, obj: o.obj, err: fmt.Errorf("the step's report was refused: %w", err), now: e.now(o),
		finalizer: outcome.Finalizer, own: res.own}
	failed := refused.outcome()
	failed.Handle, failed.Dependencies = outcome.Handle, outcome.Dependencies
	return failed, e.models.Acknowledge(ctx, o.obj, newest, e.step, failed, nil)
}

// release removes the finalizer of a step that has cleaned up.
func (e *engine) release(ctx context.Context, o *observation, v model.Verdict, res result) (*cloudevents.Event, error) {
	last, err := e.models.RemoveFinalizer(ctx, o.obj.Kind, o.live, e.step)
	if err != nil {
		return nil, err
	}
	message := ""
	if res.err != nil {
		message = oneLine(res.err) // A warning.
	}
	e.report(ctx, o.obj, v, "Reaped", message)
	e.tellCleanedUp(o, message)
	if !last {
		return nil, nil
	}
	return e.event(o.obj, eventReaped, nil), nil
}

// undo cleans up after a run whose object was removed by force: somebody has removed the finalizer. No
// event will come for the object, so undo tries several times.
func (e *engine) undo(ctx context.Context, r runner, o *observation, res result) error {
	if !res.called || !r.needsFinalizer() || o.obj.Deleting() {
		return nil // There is nothing to undo, or this was the clean-up.
	}
	var last error
	err := wait.ExponentialBackoffWithContext(ctx, undoRetry, func(ctx context.Context) (bool, error) {
		_, last = e.call(ctx, o, cleanUp(r, o.typed))
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("undoing the %s of an object that is gone: %w", e.step, errors.Join(err, last))
	}
	logging.FromContext(ctx).Infow("Undone: the object was removed while the step ran")
	return nil
}

// report logs and counts an outcome.
func (e *engine) report(ctx context.Context, obj *model.Snapshot, v model.Verdict, state, message string) {
	stepsTotal.WithLabelValues(string(e.step), obj.Kind.GVK.Kind, state).Inc()
	logging.FromContext(ctx).Infow(string(e.step)+" "+state, zap.Int64("generation", obj.Generation),
		zap.String("due", string(v.Reason)), zap.String("detail", message))
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
func (e *engine) reply(obj *model.Snapshot, outcome *model.StepStatus) *cloudevents.Event {
	if before := obj.Status.Step(e.step); before != nil && before.State == outcome.State {
		return nil
	}
	return e.event(obj, ReplyTypes[e.step][outcome.State], outcome)
}

// event makes a reply, nil for a state that has no type.
func (e *engine) event(obj *model.Snapshot, eventType string, outcome *model.StepStatus) *cloudevents.Event {
	if eventType == "" {
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
