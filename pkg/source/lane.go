package source

import (
	"context"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// When the sink rejects events, a lane tries again after these waits.
const (
	rejectedWait    = 500 * time.Millisecond
	rejectedMaxWait = 30 * time.Second
)

// laneKey names a lane. Each kind and step has one, so that a function that hangs holds up nobody
// else.
type laneKey struct {
	groupKind schema.GroupKind
	step      model.Step
}

// lane is what is due of one kind and step, first come, first served.
type lane struct {
	laneKey
	waiting []key
	// inFlight counts the places that are taken: events that are being sent or are not acknowledged,
	// and have not had their visibility timeout.
	inFlight int
	// sending counts the sends that the sink has not answered yet.
	sending int
	// rejected counts the rounds in a row that the sink rejected; the sends that are under way at the
	// same time are one round. Until the sink accepts one again the lane sends one event at a time,
	// not before resume.
	rejected int
	resume   time.Time
}

func (l *lane) push(k key) { l.waiting = append(l.waiting, k) }

func (s *Source) lane(k key) *lane {
	name := laneKey{k.groupKind, k.step}
	l := s.lanes[name]
	if l == nil {
		l = &lane{laneKey: name}
		s.lanes[name] = l
	}
	return l
}

// sendWaiting sends what waits in the lane as far as the window allows. An event that is
// acknowledged before the sink has answered is no longer in flight, but its connection counts. The
// caller holds mu.
func (s *Source) sendWaiting(ctx context.Context, l *lane) {
	for len(l.waiting) > 0 && max(l.inFlight, l.sending) < s.options.Window && ctx.Err() == nil {
		if l.rejected > 0 {
			if l.sending > 0 {
				return // Its answer decides how to go on.
			}
			if wait := l.resume.Sub(s.options.Clock.Now()); wait > 0 {
				s.queue.AddAfter(key{groupKind: l.groupKind, step: l.step}, wait)
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
	t := s.tasks[k]
	if t == nil || !t.waiting {
		return // Done while it waited.
	}
	t.waiting = false // Also if nothing is sent now: what is not in the lane must be able to come back.
	o := s.object(k.groupKind, k.Namespace, k.Name)
	if o == nil || t.uid != o.UID {
		return // Gone while it waited, or evaluated again when its kind is known again.
	}
	n, known := s.neighbours(o)
	now := s.options.Clock.Now()
	verdict := model.Due(k.step, o, n, now)
	if !known || !verdict.Due() {
		s.queue.Add(k) // It may be due at a later time.
		return
	}
	d := &delivery{due: verdict.Reason, status: o.Status.Step(k.step), round: l.rejected}
	t.attempts++
	t.inFlight = d
	l.inFlight++
	l.sending++
	inFlight.WithLabelValues(string(k.step), k.groupKind.Kind).Inc()
	event := o.WakeEvent(k.step, t.attempts, now)
	s.workers.Go(func() { s.deliver(ctx, k, t, d, event, verdict.Reason) })
}

// deliver hands an event to the sink and goes on with the lane.
func (s *Source) deliver(ctx context.Context, k key, t *task, d *delivery, event cloudevents.Event, due model.Reason) {
	sending, cancel := context.WithTimeout(ctx, s.options.Visibility)
	err := s.send(sending, event)
	cancel()

	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lane(k)
	l.sending--
	switch {
	case err == nil:
		sentTotal.WithLabelValues(string(k.step), k.groupKind.Kind, string(due)).Inc()
		s.log(ctx, k).Debugw("Sent", zap.String("id", event.ID()), zap.String("type", event.Type()), zap.String("due", string(due)))
		s.accepted(k, l, t, d)
	case ctx.Err() == nil:
		rejectedTotal.WithLabelValues(string(k.step), k.groupKind.Kind).Inc()
		s.log(ctx, k).Warnw("The sink did not accept the event, trying again", zap.Error(err))
		s.rejected(ctx, k, l, t, d)
	}
	s.sendWaiting(ctx, l)
}

// accepted starts the wait for the acknowledgement. The caller holds mu.
func (s *Source) accepted(k key, l *lane, t *task, d *delivery) {
	if d.round == l.rejected {
		l.rejected = 0
	}
	if t.inFlight != d {
		return // Acknowledged already, or the object is gone.
	}
	visibility := min(s.options.MaxVisibility, s.options.Visibility<<min(t.lost, 10))
	d.accepted = s.options.Clock.Now()
	d.expires = d.accepted.Add(visibility)
	s.queue.AddAfter(k, s.options.Visibility)
}

// rejected puts an event that the sink did not accept back into its lane, at the end, so that one
// that is never accepted does not hold up others. The caller holds mu.
func (s *Source) rejected(ctx context.Context, k key, l *lane, t *task, d *delivery) {
	if d.round == l.rejected {
		wait := min(rejectedMaxWait, wait.Jitter(rejectedWait<<min(l.rejected, 10), 0.2))
		l.resume = s.options.Clock.Now().Add(wait)
		l.rejected++
	}
	if t.inFlight != d {
		return // Acknowledged all the same, or the object is gone.
	}
	t.waiting = true
	l.push(k)
	s.land(ctx, k, t)
}

// land ends the wait for an acknowledgement: nothing is in flight for the task after that. The
// caller holds mu.
func (s *Source) land(ctx context.Context, k key, t *task) {
	if t.inFlight == nil {
		return
	}
	d := t.inFlight
	t.inFlight = nil // First: the next to be sent may be the same step again.
	inFlight.WithLabelValues(string(k.step), k.groupKind.Kind).Dec()
	s.free(ctx, k, d)
}

// free gives the place of an event in its lane to another one. The caller holds mu.
func (s *Source) free(ctx context.Context, k key, d *delivery) {
	if d.freed {
		return
	}
	d.freed = true
	l := s.lane(k)
	l.inFlight--
	s.sendWaiting(ctx, l)
}
