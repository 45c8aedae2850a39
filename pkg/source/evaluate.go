package source

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// flight is what the source remembers of one step of one object.
type flight struct {
	uid        types.UID
	generation int64
	// attempts counts the events sent for this generation.
	attempts int
	// lost counts the events in a row that were not acknowledged in time.
	lost int
	// pending: it waits for a place in its lane.
	pending bool
	// sent is the event that is in flight, nil if there is none.
	sent *sent
}

// sent is an event that was sent, or is being sent, and is not acknowledged.
type sent struct {
	// status of the step when the event was sent. Any other one acknowledges it.
	status *model.StepStatus
	// taken is when the sink took it, zero before, and expires when the event is
	// sent again if nothing acknowledges it.
	taken, expires time.Time
	// late: it has had its visibility timeout and does not count in its lane any
	// more. That it is sent again later and later must not keep others waiting.
	late bool
}

// acknowledged tells whether the step has handled the event, as the object shows.
func (e *sent) acknowledged(step model.Step, o *model.Snapshot) bool {
	if o.Deleting() && !o.Carries(step) {
		return true // Cleaned up: the step has no more to do with the object.
	}
	return !equality.Semantic.DeepEqual(e.status, o.Status.Step(step))
}

// evaluate decides about one step of one object.
func (s *Source) evaluate(ctx context.Context, k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.Name == "" {
		s.pump(ctx, s.lane(k)) // A lane's wait for the sink is over.
		return
	}
	if w := s.kinds[k.kind]; !s.synced || w != nil && !w.synced {
		return // Looked at again once all that there is is known.
	}
	o := s.object(k.kind, k.Namespace, k.Name)
	f := s.tracked[k]
	if f != nil && (o == nil || f.uid != o.UID) {
		// The object is gone, and so is interest in what is in flight for it.
		// Another one that has its name begins anew.
		delete(s.tracked, k)
		s.land(ctx, k, f)
		f = nil
	}
	if o == nil {
		return
	}
	n, known := s.neighbours(o)
	if !known {
		return
	}
	now := s.options.Clock.Now()
	verdict := model.Due(k.step, o, n, now)
	if f != nil && f.generation != o.Generation {
		// There is a new generation to count attempts for. What is in flight
		// stays so, as the step must not run twice at once, but no longer than
		// if it were the first.
		f.generation, f.attempts = o.Generation, 0
		if f.sent != nil && !f.sent.taken.IsZero() {
			f.sent.expires = f.sent.taken.Add(s.options.Visibility)
		}
	}

	if f != nil && f.sent != nil {
		switch {
		case f.sent.acknowledged(k.step, o):
			f.lost = 0
		case f.sent.taken.IsZero():
			return // Looked at again when the sink has answered.
		case now.Before(f.sent.expires):
			// Also if it is not due any more: the step may be running, and if
			// it became due again it would run twice at once.
			again := f.sent.taken.Add(s.options.Visibility)
			if !now.Before(again) {
				s.yield(ctx, k, f.sent)
				again = f.sent.expires
			}
			s.queue.AddAfter(k, again.Sub(now))
			return
		case verdict.Due():
			f.lost++
			lostTotal.WithLabelValues(string(k.step), k.kind.Kind).Inc()
			s.log(ctx, k).Warnw("Not acknowledged in time, sending again", "attempt", f.attempts+1)
		}
		s.land(ctx, k, f)
	}

	if !verdict.Due() {
		if f != nil {
			f.pending, f.lost = false, 0
		}
		if !verdict.At.IsZero() {
			s.queue.AddAfter(k, verdict.At.Sub(now))
		}
		return
	}
	if f == nil {
		f = &flight{uid: o.UID, generation: o.Generation}
		if status := o.Status.Step(k.step); status != nil && status.Generation == o.Generation {
			// A restart of the source should not count from 1 again.
			f.attempts = int(status.Failures)
		}
		s.tracked[k] = f
	}
	if !f.pending {
		f.pending = true
		s.lane(k).push(k)
	}
	s.pump(ctx, s.lane(k))
}
