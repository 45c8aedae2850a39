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
	waiting  []key
	inFlight int
	// refused counts the sends in a row that the sink did not take; until the
	// next success the lane sends one event at a time, after resume.
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

// pump sends what waits in the lane as far as the window allows. The caller holds mu.
func (s *Source) pump(ctx context.Context, l *lane) {
	for len(l.waiting) > 0 && ctx.Err() == nil {
		window := s.options.Window
		if l.refused > 0 {
			if wait := l.resume.Sub(s.options.Clock.Now()); wait > 0 {
				s.queue.AddAfter(key{kind: l.kind, step: l.step}, wait)
				return
			}
			window = 1
		}
		if l.inFlight >= window {
			return
		}
		k := l.waiting[0]
		l.waiting = l.waiting[1:]
		s.launch(ctx, l, k)
	}
}

// launch sends the event for k, if the step is still due.
func (s *Source) launch(ctx context.Context, l *lane, k key) {
	f := s.tracked[k]
	o := s.object(k.kind, k.Namespace, k.Name)
	if f == nil || o == nil || !f.pending {
		return // Done or gone while it waited.
	}
	f.pending = false
	n, known := s.neighbours(o)
	now := s.options.Clock.Now()
	verdict := model.Due(k.step, o, n, now)
	if !known || !verdict.Due() || f.inFlight {
		return
	}
	visibility := min(s.options.MaxVisibility, s.options.Visibility<<min(f.lost, 20))
	f.attempts++
	f.inFlight, f.status, f.expires = true, o.Status.Step(k.step), now.Add(visibility)
	l.inFlight++
	inFlight.WithLabelValues(string(k.step), k.kind.Kind).Inc()
	s.queue.AddAfter(k, visibility)

	event := o.WakeEvent(k.step, f.attempts, now)
	s.sending.Go(func() {
		// A stopping source finishes what it has begun to send.
		sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), visibility)
		defer cancel()
		err := s.send(sending, event)

		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil {
			sentTotal.WithLabelValues(string(k.step), k.kind.Kind, string(verdict.Reason)).Inc()
			s.log(ctx, k).Infow("Sent", zap.String("id", event.ID()), zap.String("type", event.Type()), zap.String("due", string(verdict.Reason)))
			if l.refused > 0 {
				l.refused = 0
				s.pump(ctx, l)
			}
			return
		}
		s.refused(ctx, l, k, f, err)
	})
}

// refused puts an event that the sink did not take back into its lane.
func (s *Source) refused(ctx context.Context, l *lane, k key, f *flight, err error) {
	refusedTotal.WithLabelValues(string(k.step), k.kind.Kind).Inc()
	wait := min(refusedMaxWait, wait.Jitter(refusedWait<<min(l.refused, 10), 0.2))
	s.log(ctx, k).Warnw("The sink did not take the event, trying again", zap.Error(err), zap.Duration("after", wait))
	l.refused++
	l.resume = s.options.Clock.Now().Add(wait)
	if s.tracked[k] != f || !f.inFlight {
		return // Settled otherwise meanwhile.
	}
	f.pending = true
	l.push(k)
	s.land(ctx, k, f)
}

// land frees the place of an event that is no longer in flight.
func (s *Source) land(ctx context.Context, k key, f *flight) {
	f.inFlight, f.status = false, nil
	l := s.lane(k)
	l.inFlight--
	inFlight.WithLabelValues(string(k.step), k.kind.Kind).Dec()
	s.pump(ctx, l)
}
