package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// patience is how long the outcome of a step waits for that of the next step in the same run, to be stored with it:
// a second, with the deadline that the engine has by default.
func (s settings) patience() time.Duration { return s.deadline / 25 }

// spare is how long a step may have taken if another one is called after it in the same run. Together they must end before
// the model source counts the event as lost.
func (s settings) spare() time.Duration { return 4 * s.patience() }

// together are the runs of the function's steps for one event: one read, one patch of the finalizers and one write of the
// status do for all. A step that fails or takes long neither undoes nor hides what another one has come to.
type together struct {
	// event is the step that the event is for.
	event model.Step
	// overtaken are the steps that are called although they are not due.
	overtaken sets.Set[model.Step]
	// due: there was something to do.
	due bool
	// open is what is not stored yet.
	open  []*ending
	reply *cloudevents.Event
	err   error
}

// next is what the next step sees after a run that took some time, nil if there is none in this run.
func (t *together) next(ctx context.Context, e *ending, took time.Duration) (*observation, error) {
	if took > e.patience() {
		t.store(ctx)
	}
	switch {
	case e.res.own != nil && e.res.own.Deleted():
		return nil, nil
	case took > e.spare() && t.event != e.step:
		return nil, function.Unavailable("step %s took %s: step %s is called for the next delivery", e.step, took, t.event)
	case took > e.spare():
		return nil, nil
	}
	o := &observation{hint: e.o.hint, live: e.newest(), obj: e.o.obj, reported: e.res.feedback}
	if o.live == e.o.live {
		return o, nil
	}
	if o.live.GroupVersionKind() != o.obj.Kind.GVK { // The step has written it in the version that it knows.
		return e.read(ctx, e.o.outdated())
	}
	var err error
	if o.obj, err = o.obj.Kind.SnapshotOf(o.live); err == nil && !slices.Equal(o.obj.Refs, e.o.obj.Refs) {
		o.hint = o.outdated()
	}
	return o, err
}

// storeAfter stores what is open unless it is stopped before. When stop returns it is not storing.
func (t *together) storeAfter(ctx context.Context, d time.Duration) (stop func()) {
	done := make(chan struct{})
	timer := time.AfterFunc(d, func() {
		defer close(done)
		t.store(ctx)
	})
	return func() {
		if !timer.Stop() {
			<-done
		}
	}
}

// store stores what is open. After a clean-up that is to remove the finalizer, and no status.
func (t *together) store(ctx context.Context) {
	open := t.open
	t.open = nil
	var cleaned, outcomes []*ending
	for _, e := range open {
		switch {
		case e.v.Reason == model.DueReport && len(open) == 1:
			t.fail(e.models.Report(ctx, e.o.obj.Kind, e.o.live))
		case e.v.Reason == model.DueReport: // Whatever is written of the others, the conditions are with it.
		case e.v.Reason == model.DueFinalizer && e.runners[e.o.GroupKind()].needsFinalizer(): // To put it on was all.
		case e.cleanedUp():
			cleaned = append(cleaned, e)
		default:
			var err error
			if e.outcome, err = e.engine.outcome(ctx, e.o, e.v, e.res); err != nil {
				t.fail(err)
				continue
			}
			outcomes = append(outcomes, e)
		}
	}
	if len(cleaned) > 0 {
		t.fail(t.release(ctx, cleaned))
	}
	if len(outcomes) > 0 {
		t.fail(t.acknowledge(ctx, outcomes))
	}
}

func (t *together) fail(err error) { t.err = errors.Join(t.err, err) }

// release removes the finalizers of steps that have cleaned up.
func (t *together) release(ctx context.Context, ends []*ending) error {
	var steps []model.Step
	for _, e := range ends {
		steps = append(steps, e.step)
	}
	e := ends[0]
	last, err := e.models.RemoveFinalizer(ctx, e.o.obj.Kind, e.o.live, steps...)
	if err != nil {
		return err
	}
	for _, e := range ends {
		message := ""
		if e.res.err != nil {
			message = oneLine(e.res.err) // A warning.
		}
		e.report(ctx, "Reaped", message)
		e.tellCleanedUp(e.o, message)
	}
	if last {
		t.reply = e.event(e.o.obj, eventReaped, nil)
	}
	return nil
}

// acknowledge writes the outcomes into the steps' parts of the status, with what the steps have reported, if nobody else has
// changed these parts since the object was observed. If the API refuses a report, the outcome is that the step has failed.
func (t *together) acknowledge(ctx context.Context, ends []*ending) error {
	var outcomes []model.Outcome
	reports := 0
	for _, e := range ends {
		outcomes = append(outcomes, model.Outcome{Step: e.step, Before: e.o.obj.Status.Step(e.step), Status: e.outcome, Feedback: e.res.feedback})
		reports += min(1, len(e.res.feedback))
	}
	alone := func() error { return errors.Join(t.acknowledge(ctx, ends[:1]), t.acknowledge(ctx, ends[1:])) }
	if reports > 1 {
		return alone()
	}
	last := ends[len(ends)-1]
	err := last.models.Acknowledge(ctx, last.o.obj.Kind, last.newest(), outcomes...)
	if reports > 0 && (apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err)) {
		if len(ends) > 1 {
			return alone()
		}
		last.refused(err)
		err = last.models.Acknowledge(ctx, last.o.obj.Kind, last.newest(), model.Outcome{Step: last.step, Before: outcomes[0].Before, Status: last.outcome})
	}
	return t.acknowledged(ctx, ends, err)
}

// acknowledged ends the runs whose outcomes were written, if they were.
func (t *together) acknowledged(ctx context.Context, ends []*ending, err error) error {
	switch {
	case errors.Is(err, model.ErrStepChanged):
		err = fmt.Errorf("%w: another run has stored its outcome", errAgain)
		for _, e := range ends {
			if e.res.called {
				t.overtaken.Insert(e.step)
				err = errOvertaken
			}
		}
		return err
	case model.IsGone(err):
		var errs []error
		for _, e := range ends {
			errs = append(errs, e.undo(ctx))
		}
		return errors.Join(errs...)
	case err != nil:
		return err
	}
	for _, e := range ends {
		e.report(ctx, string(e.outcome.State), e.outcome.Message)
		e.tell(e.o, e.outcome)
		if reply := e.reply(); t.reply == nil || e.step == t.event && reply != nil {
			t.reply = reply
		}
	}
	return nil
}
