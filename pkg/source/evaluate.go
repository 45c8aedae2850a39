package source

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// task is what the source remembers of one step of one object.
type task struct {
	uid        types.UID
	generation int64
	// attempts counts the events sent for this generation.
	attempts int
	// lost counts the events in a row that were not acknowledged in time.
	lost int
	// waiting: it is in its lane and waits to be sent.
	waiting bool
	// inFlight is the event that was sent and is not acknowledged, nil if there is none.
	inFlight *delivery
}

// delivery is an event that was sent, or is being sent, and is not acknowledged.
type delivery struct {
	// due is why the event was sent.
	due model.Reason
	// status of the step when the event was sent. Any other one acknowledges it.
	status *model.StepStatus
	// round is the lane's count of rejected rounds when the event was sent.
	round int
	// accepted is when the sink accepted it, zero before that, and expires is when the event is sent
	// again if nothing acknowledges it.
	accepted, expires time.Time
	// freed: it no longer takes a place in its lane. It has had its visibility timeout, and that it
	// is sent again later and later must not keep others waiting.
	freed bool
}

// acknowledged reports whether the object shows that the step has handled the event. verdict is what
// is due now.
func (d *delivery) acknowledged(step model.Step, o *model.Snapshot, verdict model.Verdict) bool {
	if d.due == model.DueFinalizer || d.due == model.DueReport {
		// Such a run does not call the step, and leaves its part of the status as it is.
		return verdict.Reason != d.due
	}
	if o.Deleting() && !o.Carries(step) {
		return true // Cleaned up: the step has no more to do with the object.
	}
	return !equality.Semantic.DeepEqual(d.status, o.Status.Step(step))
}

// evaluate decides about one step of one object: whether the event that is in flight for it, if
// any, still is, and whether the step is due.
func (s *Source) evaluate(ctx context.Context, k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.Name == "" {
		s.sendWaiting(ctx, s.lane(k)) // The lane's wait for the sink is over.
		return
	}
	if w := s.kinds[k.groupKind]; !s.synced || w != nil && !w.synced {
		return // Evaluated again when all objects are known.
	}
	o := s.object(k.groupKind, k.Namespace, k.Name)
	t := s.remembered(ctx, k, o)
	if o == nil {
		return
	}
	n, known := s.neighbours(o)
	if !known {
		return // As above.
	}
	now := s.options.Clock.Now()
	verdict := model.Due(k.step, o, n, now)
	if t != nil && s.mustWait(ctx, k, t, o, verdict, now) {
		return
	}
	if verdict.Due() {
		s.enter(k, t, o)
		s.sendWaiting(ctx, s.lane(k))
		return
	}
	if t != nil {
		t.waiting, t.lost = false, 0
	}
	if !verdict.At.IsZero() {
		s.queue.AddAfter(k, verdict.At.Sub(now))
	}
}

// remembered is the task for the step of exactly this object, nil if there is none. The caller holds
// mu.
func (s *Source) remembered(ctx context.Context, k key, o *model.Snapshot) *task {
	t := s.tasks[k]
	if t == nil {
		return nil
	}
	if o == nil || t.uid != o.UID {
		// The object is gone, and with it the interest in what is in flight for it. For another one
		// that has its name everything starts from the beginning.
		delete(s.tasks, k)
		s.land(ctx, k, t)
		return nil
	}
	if t.generation != o.Generation {
		// Attempts are counted for each generation. What is in flight stays so, as the step must not
		// run twice at once, but for no longer than the first event of a generation.
		t.generation, t.attempts = o.Generation, 0
		if d := t.inFlight; d != nil && !d.accepted.IsZero() {
			d.expires = d.accepted.Add(s.options.Visibility)
		}
	}
	return t
}

// mustWait reports whether the step must be left alone because an event is in flight for it. If one
// was and no longer is, its place is free after that. The caller holds mu.
func (s *Source) mustWait(ctx context.Context, k key, t *task, o *model.Snapshot, verdict model.Verdict, now time.Time) bool {
	d := t.inFlight
	switch {
	case d == nil:
		return false
	case d.acknowledged(k.step, o, verdict):
		t.lost = 0
	case d.accepted.IsZero():
		return true // Evaluated again when the sink has answered.
	case now.Before(d.expires):
		// Also if it is not due any more: the step may be running, and if it became due again it
		// would run twice at once.
		again := d.accepted.Add(s.options.Visibility)
		if !now.Before(again) {
			s.free(ctx, k, d)
			again = d.expires
		}
		s.queue.AddAfter(k, again.Sub(now))
		return true
	case verdict.Due():
		t.lost++
		lostTotal.WithLabelValues(string(k.step), k.groupKind.Kind).Inc()
		s.log(ctx, k).Warnw("Not acknowledged in time, sending again", "attempt", t.attempts+1)
	}
	s.land(ctx, k, t)
	return false
}

// enter puts a step that is due into its lane. t is nil if nothing is remembered of it. The caller
// holds mu.
func (s *Source) enter(k key, t *task, o *model.Snapshot) {
	if t == nil {
		t = &task{uid: o.UID, generation: o.Generation}
		if status := o.Status.Step(k.step); status != nil && status.Generation == o.Generation {
			t.attempts = int(status.Failures) // A source that starts again does not count from 1.
		}
		s.tasks[k] = t
	}
	if !t.waiting {
		t.waiting = true
		s.lane(k).push(k)
	}
}
