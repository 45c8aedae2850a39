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
	// inFlight: an event was sent, or is being sent, and not acknowledged.
	inFlight bool
	// status of the step when that event was sent. Any other one acknowledges it.
	status *model.StepStatus
	// expires is when the event is taken for lost.
	expires time.Time
	// lost counts the events in a row that were not acknowledged in time.
	lost int
	// pending: it waits for a place in its lane.
	pending bool
}

// evaluate decides about one step of one object.
func (s *Source) evaluate(ctx context.Context, k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.Name == "" {
		s.pump(ctx, s.lane(k)) // A lane's wait for the sink is over.
		return
	}
	if !s.synced {
		return // Looked at again once all definitions are known.
	}
	o := s.object(k.kind, k.Namespace, k.Name)
	if o == nil {
		s.forget(ctx, k)
		return
	}
	if w := s.kinds[k.kind]; !w.synced {
		return // Looked at again once it is.
	}
	n, known := s.neighbours(o)
	if !known {
		return
	}
	now := s.options.Clock.Now()
	verdict := model.Due(k.step, o, n, now)
	f := s.tracked[k]
	if f != nil && (f.uid != o.UID || f.generation != o.Generation) {
		// Another object has the name, or there is a new generation to count
		// attempts for. What is in flight stays so: the step is not run twice
		// at once. For another object it is of no interest any more.
		if f.uid != o.UID {
			s.forget(ctx, k)
			f = nil
		} else {
			f.generation, f.attempts = o.Generation, 0
		}
	}

	if f != nil && f.inFlight {
		switch {
		case !verdict.Due() || !equality.Semantic.DeepEqual(f.status, o.Status.Step(k.step)):
			f.lost = 0
			s.land(ctx, k, f)
		case now.Before(f.expires):
			s.queue.AddAfter(k, f.expires.Sub(now))
			return
		default:
			f.lost++
			s.log(ctx, k).Warnw("Not acknowledged in time, sending again", "attempt", f.attempts+1)
			lostTotal.WithLabelValues(string(k.step), k.kind.Kind).Inc()
			s.land(ctx, k, f)
		}
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

// forget drops what is remembered of an object that is gone.
func (s *Source) forget(ctx context.Context, k key) {
	f := s.tracked[k]
	if f == nil {
		return
	}
	delete(s.tracked, k)
	if f.inFlight {
		s.land(ctx, k, f)
	}
}
