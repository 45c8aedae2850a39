package source

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/xos-knative/synchronizer/pkg/model"
)

var (
	sentTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "synchronizer_source_events_sent_total",
		Help: "Model events that the sink has taken, by step, kind and why the step was due.",
	}, []string{"step", "kind", "due"})
	lostTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "synchronizer_source_events_lost_total",
		Help: "Model events that no status acknowledged within the visibility timeout.",
	}, []string{"step", "kind"})
	refusedTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "synchronizer_source_events_refused_total",
		Help: "Model events that the sink has not taken.",
	}, []string{"step", "kind"})
	inFlight = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "synchronizer_source_events_in_flight",
		Help: "Model events that were sent and are not acknowledged.",
	}, []string{"step", "kind"})
)

// When the sink does not take events, a lane tries again after these waits.
const (
	refusedWait    = 500 * time.Millisecond
	refusedMaxWait = 30 * time.Second
)

// laneKey names a lane: a synchronizer that hangs holds up its own only.
type laneKey struct {
	kind schema.GroupKind
	step model.Step
}

// lane is what is due of one kind and step, first come, first served.
type lane struct {
	laneKey
	waiting []key
	// inFlight counts the events that are sent or being sent and not
	// acknowledged, as far as they are not late.
	inFlight int
	// sending counts the sends that the sink has not answered yet.
	sending int
	// refused counts the rounds in a row that the sink did not take; the sends
	// that are under way at the same time are one round. Until the sink takes
	// one again the lane sends one event at a time, not before resume.
	refused int
	resume  time.Time
}

func (l *lane) push(k key) { l.waiting = append(l.waiting, k) }

func (s *Source) lane(k key) *lane {
	name := laneKey{k.kind, k.step}
	l := s.lanes[name]
	if l == nil {
		l = &lane{laneKey: name}
		s.lanes[name] = l
	}
	return l
}

// pump sends what waits in the lane as far as the window allows. An event that
// is acknowledged before the sink has answered is no longer in flight, but its
// connection counts. The caller holds mu.
func (s *Source) pump(ctx context.Context, l *lane) {
	for len(l.waiting) > 0 && max(l.inFlight, l.sending) < s.options.Window && ctx.Err() == nil {
		if l.refused > 0 {
			if l.sending > 0 {
				return // Its answer tells how to go on.
			}
			if wait := l.resume.Sub(s.options.Clock.Now()); wait > 0 {
				s.queue.AddAfter(key{kind: l.kind, step: l.step}, wait)
				return
			}
		}
		k := l.waiting[0]
		l.waiting = l.waiting[1:]
		s.launch(ctx, l, k)
	}
}

// launch sends the event for k, if the step is still due. The caller holds mu.
func (s *Source) launch(ctx context.Context, l *lane, k key) {
	f := s.tracked[k]
	if f == nil || !f.pending {
		return // Done while it waited.
	}
	f.pending = false // Also if nothing is sent now: what is not in the lane must be able to come back.
	o := s.object(k.kind, k.Namespace, k.Name)
	if o == nil || f.uid != o.UID {
		return // Gone while it waited, or looked at again when its kind is known again.
	}
	n, known := s.neighbours(o)
	now := s.options.Clock.Now()
	verdict := model.Due(k.step, o, n, now)
	if !known || !verdict.Due() {
		return // Looked at again when it is known, or when it is due.
	}
	flying := &sent{status: o.Status.Step(k.step)}
	round := l.refused
	f.attempts++
	f.sent = flying
	l.inFlight++
	l.sending++
	inFlight.WithLabelValues(string(k.step), k.kind.Kind).Inc()

	event := o.WakeEvent(k.step, f.attempts, now)
	s.workers.Go(func() {
		sending, cancel := context.WithTimeout(ctx, s.options.Visibility)
		err := s.send(sending, event)
		cancel()

		s.mu.Lock()
		defer s.mu.Unlock()
		l.sending--
		switch {
		case err == nil:
			sentTotal.WithLabelValues(string(k.step), k.kind.Kind, string(verdict.Reason)).Inc()
			s.log(ctx, k).Debugw("Sent", zap.String("id", event.ID()), zap.String("type", event.Type()), zap.String("due", string(verdict.Reason)))
			s.taken(k, l, round, f, flying)
		case ctx.Err() == nil:
			refusedTotal.WithLabelValues(string(k.step), k.kind.Kind).Inc()
			s.log(ctx, k).Warnw("The sink did not take the event, trying again", zap.Error(err))
			s.refused(ctx, k, l, round, f, flying)
		}
		s.pump(ctx, l)
	})
}

// taken starts the wait for the acknowledgement. The caller holds mu.
func (s *Source) taken(k key, l *lane, round int, f *flight, flying *sent) {
	if round == l.refused {
		l.refused = 0
	}
	if f.sent != flying {
		return // Acknowledged already, or the object is gone.
	}
	visibility := min(s.options.MaxVisibility, s.options.Visibility<<min(f.lost, 10))
	flying.taken = s.options.Clock.Now()
	flying.expires = flying.taken.Add(visibility)
	s.queue.AddAfter(k, s.options.Visibility)
}

// refused puts an event that the sink did not take back into its lane, at the
// end, so that one that is never taken does not hold up others. The caller holds mu.
func (s *Source) refused(ctx context.Context, k key, l *lane, round int, f *flight, flying *sent) {
	if round == l.refused {
		wait := min(refusedMaxWait, wait.Jitter(refusedWait<<min(l.refused, 10), 0.2))
		l.resume = s.options.Clock.Now().Add(wait)
		l.refused++
	}
	if f.sent != flying {
		return // Acknowledged all the same, or the object is gone.
	}
	f.pending = true
	l.push(k)
	s.land(ctx, k, f)
}

// land frees the place of an event that is no longer in flight. The caller holds mu.
func (s *Source) land(ctx context.Context, k key, f *flight) {
	if f.sent == nil {
		return
	}
	flying := f.sent
	f.sent = nil // First: the next to be sent may be the same step again.
	inFlight.WithLabelValues(string(k.step), k.kind.Kind).Dec()
	s.yield(ctx, k, flying)
}

// yield gives the place of an event in its lane to another one. The caller holds mu.
func (s *Source) yield(ctx context.Context, k key, flying *sent) {
	if flying.late {
		return
	}
	flying.late = true
	l := s.lane(k)
	l.inFlight--
	s.pump(ctx, l)
}
