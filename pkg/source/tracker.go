package source

import (
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// When the sink rejects events, a lane tries again after these waits.
const (
	rejectedWait    = 500 * time.Millisecond
	rejectedMaxWait = 30 * time.Second
)

// Two steps of one object go one after the other, so that they need not write to it at the same time, and one function
// that has both does them at once. But no step waits for a function that is slow, or that has to be started first.
const (
	// behindMax is how long a step waits for the event of another step of its object.
	behindMax = 5 * time.Second
	// behindWarm is how long ago the last event of the other step's lane was acknowledged, at most.
	behindWarm = 10 * time.Second
)

// passingMax is how long the event of a step that has to wait is held back, if what it waits for is about to come. A long
// chain of objects is so created and deleted without an event for each that only says that it waits.
const passingMax = 30 * time.Second

// gathering is how long a lane that is full waits for more places than one, to send several objects by one event. It is
// about what an event takes on its way through a Broker and a Trigger.
const gathering = 20 * time.Millisecond

// tracker decides what is sent, and when. It is a state machine without goroutines, clocks or I/O: it is told
// what time it is, what has changed and what the sink has said, and it returns what is to be done.
type tracker struct {
	Options
	// look finds the object that a key is about, nil if there is none, and what model.Due has to know
	// beside it. It is false while something that matters is not known yet; the key is evaluated again then.
	look func(key) (o *model.Snapshot, n model.Neighbours, known bool)
	// kept finds what outlives a task, nil if there is no such object.
	kept  func(key) *kept
	tasks map[key]*task
	lanes map[key]*lane
	todo  todo // What the call that is under way has come to.
	// verify, of tests, is called at the end of each call.
	verify func()
}

// todo is what the caller of a tracker has to do.
type todo struct {
	send  []*parcel // Now; [tracker.answered] has to be called for each.
	again []again   // To be evaluated, each after a time.
	lost  int       // The attempt that was not acknowledged in time, zero if there is none.
}

type again struct {
	key
	after time.Duration
}

// task is what the tracker remembers of one step of one object while it is due, or an event for it is in flight.
type task struct {
	uid        types.UID
	generation int64
	attempts   int       // Events sent for this generation.
	lost       int       // Events in a row that were not acknowledged in time.
	waiting    bool      // It is in its lane and waits to be sent.
	passing    time.Time // Since when its event is held back because what is in its way is about to go.
	behind     bool      // It is evaluated again when the event of another step of the object is acknowledged.
	inFlight   *delivery // The event that was sent and is not acknowledged, nil if there is none.
}

// parcel is an event that is being sent, with all objects of a lane that it is about.
type parcel struct {
	event      cloudevents.Event
	deliveries []*delivery
	objects    []model.Wake // Until the event is made of them.
	round      int          // The lane's count of rejected rounds when the event was sent.
}

// delivery is what was sent, or is being sent, about one object, and is not acknowledged.
type delivery struct {
	key
	task   *task
	due    model.Reason // Why the event was sent.
	status uint64       // The print of the step's part of the status when the event was sent. Any other one acknowledges it.
	sent   time.Time
	// accepted is when the sink accepted it, zero before that, and expires is when the event is sent
	// again if nothing acknowledges it.
	accepted, expires time.Time
	// freed: it no longer takes a place in its lane. It has had its visibility timeout, and that it
	// is sent again later and later must not keep others waiting.
	freed bool
}

// lane is what is due of one kind and step, first come, first served. Each kind and step has one, so that a
// function that hangs holds up nobody else.
type lane struct {
	key     // Without a name.
	waiting []key
	// inFlight counts the places that are taken: objects whose event is being sent or is not acknowledged,
	// and has not had its visibility timeout.
	inFlight int
	sending  int       // Objects of events that the sink has not answered yet.
	gathered time.Time // When it no longer waits for more places, zero if it does not wait.
	// unacknowledged counts the objects in flight, with those that no longer take a place.
	unacknowledged int
	acknowledged   time.Time // The last time that an event was.
	// rejected counts the rounds in a row that the sink rejected; the sends that are under way at the
	// same time are one round. Until the sink accepts one again the lane sends one event at a time,
	// not before resume.
	rejected int
	resume   time.Time
	// gauge shows unacknowledged.
	gauge prometheus.Gauge
}

// evaluate looks at one step of one object. A key without a name is a lane whose wait is over.
func (t *tracker) evaluate(k key, now time.Time) todo {
	if o, n, known := t.look(k); known {
		t.decide(k, o, n, now)
	}
	return t.done(t.lane(k), now)
}

// decide finds out whether the event that is in flight for a step, if any, still is, and whether the step is due.
func (t *tracker) decide(k key, o *model.Snapshot, n model.Neighbours, now time.Time) {
	task := t.remembered(k, o)
	if o == nil {
		return
	}
	verdict := model.Due(k.step, o, n, now)
	switch {
	case task != nil && t.mustWait(k, task, o, verdict, now):
	case verdict.Due():
		t.enter(k, task, o)
	default:
		t.rest(k, task)
		if !verdict.At.IsZero() {
			t.again(k, verdict.At.Sub(now))
		}
	}
}

// answered is called when the sink has accepted an event, or has rejected it. What was rejected goes to the end of its
// lane: if it is never accepted, it does not hold up others.
func (t *tracker) answered(p *parcel, accepted bool, now time.Time) todo {
	l := t.lane(p.deliveries[0].key)
	l.sending -= len(p.deliveries)
	switch {
	case p.round != l.rejected: // Another event of its round, or a later one, has decided about the lane.
	case accepted:
		l.rejected = 0
	default:
		l.resume = now.Add(min(rejectedMaxWait, rejectedWait<<min(l.rejected, 10)))
		l.rejected++
	}
	for _, d := range p.deliveries {
		switch {
		case d.task.inFlight != d: // Acknowledged all the same, or the object is gone.
		case accepted:
			d.accepted = now
			d.expires = now.Add(min(t.MaxVisibility, t.Visibility<<min(d.task.lost, 10)))
			t.again(d.key, t.Visibility)
		default:
			d.task.waiting = true
			l.waiting = append(l.waiting, d.key)
			t.land(d.task)
		}
	}
	return t.done(l, now)
}

// done ends a call about a lane.
func (t *tracker) done(l *lane, now time.Time) (do todo) {
	t.sendWaiting(l, now)
	if t.verify != nil {
		t.verify()
	}
	do, t.todo = t.todo, do
	return do
}

func (t *tracker) again(k key, after time.Duration) {
	t.todo.again = append(t.todo.again, again{k, after})
}

func (t *tracker) lane(k key) *lane {
	k.NamespacedName = types.NamespacedName{}
	if t.lanes[k] == nil {
		t.lanes[k] = &lane{key: k}
	}
	return t.lanes[k]
}

// remembered is the task for the step of exactly this object, nil if there is none.
func (t *tracker) remembered(k key, o *model.Snapshot) *task {
	task := t.tasks[k]
	if task == nil {
		return nil
	}
	if o == nil || task.uid != o.UID {
		// The object is gone, and with it the interest in what is in flight for it. For another one
		// that has its name everything starts from the beginning.
		t.forget(k)
		t.land(task)
		return nil
	}
	if task.generation != o.Generation {
		// Attempts are counted for each generation. What is in flight stays so, as the step must not
		// run twice at once, but for no longer than the first event of a generation.
		task.generation, task.attempts = o.Generation, 0
		if d := task.inFlight; d != nil && !d.accepted.IsZero() {
			d.expires = d.accepted.Add(t.Visibility)
		}
	}
	return task
}

// mustWait reports whether the step must be left alone because an event is in flight for it. If one
// was and no longer is, its place is free after that.
func (t *tracker) mustWait(k key, task *task, o *model.Snapshot, verdict model.Verdict, now time.Time) bool {
	d := task.inFlight
	switch {
	case d == nil:
		return false
	case d.acknowledged(o, verdict, t.kept(k).print):
		task.lost = 0
		t.lane(k).acknowledged = now
	case d.accepted.IsZero():
		return true // Evaluated again when the sink has answered.
	case now.Before(d.expires):
		// Also if it is not due any more: the step may be running, and if it became due again it
		// would run twice at once.
		next := d.accepted.Add(t.Visibility)
		if !now.Before(next) {
			t.free(d)
			next = d.expires
		}
		t.again(k, next.Sub(now))
		return true
	case verdict.Due():
		task.lost++
		t.todo.lost = task.attempts
	}
	t.land(task)
	return false
}

// acknowledged reports whether the object shows that the step has handled the event. verdict is what
// is due now, and status the print of the step's part of the status.
func (d *delivery) acknowledged(o *model.Snapshot, verdict model.Verdict, status uint64) bool {
	if d.due == model.DueFinalizer || d.due == model.DueReport {
		// Such a run does not call the step, and leaves its part of the status as it is.
		return verdict.Reason != d.due
	}
	if o.Deleting() && !o.Carries(d.step) {
		return true // Cleaned up: the step has no more to do with the object.
	}
	return status != d.status
}

// rest ends a task, if there is one, that is not due and has no event in flight. What has come to rest takes no
// memory here.
func (t *tracker) rest(k key, task *task) {
	if task == nil {
		return
	}
	t.kept(k).attempts = uint32(task.attempts)
	t.forget(k)
}

func (t *tracker) forget(k key) {
	delete(t.tasks, k)
	if len(t.tasks) == 0 {
		t.tasks = map[key]*task{} // A map never gets smaller.
	}
}

// enter puts a step that is due into its lane. The task is nil if nothing is remembered of it.
func (t *tracker) enter(k key, known *task, o *model.Snapshot) {
	if known == nil {
		known = &task{uid: o.UID, generation: o.Generation, attempts: int(t.kept(k).attempts)}
		if status := o.Status.Step(k.step); known.attempts == 0 && status != nil && status.Generation == o.Generation {
			known.attempts = int(status.Failures) // A source that starts again does not count from 1.
		}
		t.tasks[k] = known
	}
	if !known.waiting {
		known.waiting = true
		l := t.lane(k)
		l.waiting = append(l.waiting, k)
	}
}

// sendWaiting sends what waits in a lane as far as the window allows. What is acknowledged before the sink has answered
// is no longer in flight, but its connection counts.
func (t *tracker) sendWaiting(l *lane, now time.Time) {
	if t.gather(l, now) {
		return
	}
	for len(l.waiting) > 0 && max(l.inFlight, l.sending) < t.Window {
		if l.rejected > 0 {
			if l.sending > 0 {
				break // Its answer decides how to go on.
			}
			if wait := l.resume.Sub(now); wait > 0 {
				t.again(l.key, wait)
				break
			}
		}
		next := l.waiting[0]
		l.waiting = l.waiting[1:]
		t.launch(l, next, now)
	}
	for _, p := range t.todo.send {
		p.event = model.WakeEvent(l.step, now, p.objects[0], p.objects[1:]...)
		p.objects = nil
	}
}

// gather reports whether a lane waits for more places. It does if more objects wait than there are places: then several
// go by one event, the more the more wait, and the way through Broker, Trigger and function is gone once for all of them.
func (t *tracker) gather(l *lane, now time.Time) bool {
	places := t.Window - max(l.inFlight, l.sending)
	if places <= 0 || places >= min(t.Objects, len(l.waiting)) || l.rejected > 0 {
		l.gathered = time.Time{}
		return false
	}
	if l.gathered.IsZero() {
		l.gathered = now.Add(gathering)
	}
	wait := l.gathered.Sub(now)
	if wait <= 0 {
		l.gathered = time.Time{}
		return false
	}
	t.again(l.key, wait)
	return true
}

// pack puts an object into an event that is being made, or begins another one. What was not acknowledged in time goes
// alone: it may be what ends the function's process, and with it the runs for all others of its event.
func (t *tracker) pack(d *delivery, w model.Wake, round int) {
	for _, p := range t.todo.send {
		o, first := p.objects[0].Object, p.deliveries[0].task
		if len(p.objects) < t.Objects && d.task.lost == 0 && first.lost == 0 && o.Namespace == d.Namespace && o.EventType(d.step) == w.Object.EventType(d.step) {
			p.deliveries, p.objects = append(p.deliveries, d), append(p.objects, w)
			return
		}
	}
	t.todo.send = append(t.todo.send, &parcel{deliveries: []*delivery{d}, objects: []model.Wake{w}, round: round})
}

// launch sends the step of k, if it is still due.
func (t *tracker) launch(l *lane, k key, now time.Time) {
	task := t.tasks[k]
	if task == nil || !task.waiting {
		return // Done while it waited.
	}
	task.waiting = false // Also if nothing is sent now: what is not in the lane must be able to come back.
	o, n, known := t.look(k)
	if o == nil || task.uid != o.UID {
		return // Gone while it waited, or evaluated again when its kind is known again.
	}
	verdict := model.Due(k.step, o, n, now)
	if !known || !verdict.Due() {
		t.again(k, 0) // It may be due at a later time.
		return
	}
	if !verdict.Passing(n) {
		task.passing = time.Time{}
	} else if task.passing.IsZero() {
		task.passing = now
	}
	if wait := task.passing.Add(passingMax).Sub(now); wait > 0 {
		t.again(k, wait)
		return
	}
	if wait := t.behindOthers(k, o, now); wait > 0 {
		task.behind = true
		t.again(k, wait)
		return
	}
	task.attempts++
	d := &delivery{key: k, task: task, due: verdict.Reason, status: t.kept(k).print, sent: now}
	task.inFlight = d
	l.inFlight++
	l.sending++
	l.unacknowledged++
	t.pack(d, model.Wake{Object: o, Attempt: task.attempts, Dependencies: n.Dependencies}, l.rejected)
}

// land ends the wait for an acknowledgement: nothing is in flight for the task after that.
func (t *tracker) land(task *task) {
	if d := task.inFlight; d != nil {
		task.inFlight = nil
		t.lane(d.key).unacknowledged--
		t.free(d)
		for _, step := range model.Steps() {
			k := d.key
			k.step = step
			if other := t.tasks[k]; other != nil && other.behind {
				other.behind = false
				t.again(k, 0)
			}
		}
	}
}

// behindOthers is how long a step of the object has to wait because the event of another one is in flight.
func (t *tracker) behindOthers(k key, o *model.Snapshot, now time.Time) (wait time.Duration) {
	for _, step := range o.Kind.Steps {
		other := k
		other.step = step
		task := t.tasks[other]
		if task == nil || task.inFlight == nil || now.Sub(t.lane(other).acknowledged) > behindWarm {
			continue
		}
		wait = max(wait, task.inFlight.sent.Add(behindMax).Sub(now))
	}
	return wait
}

// free gives the place of an event in its lane to another one.
func (t *tracker) free(d *delivery) {
	if !d.freed {
		d.freed = true
		t.lane(d.key).inFlight--
	}
}
