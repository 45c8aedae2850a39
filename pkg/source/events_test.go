package source

import (
	"encoding/json"
	"path"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/model"
)

func TestEvent(t *testing.T) {
	r := newRig(t, things)
	r.start(Options{})
	r.create("Thing", "a", nil)
	got := map[string]cloudevents.Event{}
	for _, e := range r.expect("a new object is sent once to each of its steps", "created Thing/a policy #1", "created Thing/a sync #1") {
		got[e.Extensions()["step"].(string)] = e
	}
	o, _ := r.live(got["sync"])

	for _, step := range model.Steps() {
		r.isCreated(got[string(step)], o.Snapshot, step)
	}

	r.quiet("what is in flight is not sent again")
	r.work(got["sync"], got["policy"])
	r.quiet("the status that acknowledges an event wakes nobody")

	r.update("Thing", "a", fields{"spec.color": "red"})
	r.work(r.expect("a changed spec is sent to a step", "updated Thing/a sync #1")...)
	r.work(r.expect("and then to the other one", "updated Thing/a policy #1")...)
	r.quiet("and then it is done")

	r.delete("Thing", "a")
	r.work(r.expect("the deletion is sent to each step that has a finalizer", "deleted Thing/a sync #1")...)
	r.work(r.expect("one after the other", "deleted Thing/a policy #1")...)
	r.quiet("what is gone is done")
	r.await("the object to be forgotten", func() bool {
		r.source.mu.Lock()
		defer r.source.mu.Unlock()
		for k := range r.source.tasks {
			if k.Name == "a" {
				return false
			}
		}
		return true
	})
}

// isCreated compares an event with what the protocol says of one for a new object.
func (r *rig) isCreated(e cloudevents.Event, o *model.Snapshot, step model.Step) {
	r.Helper()
	want := cloudevents.NewEvent()
	want.SetType("dev.xos-knative.model.created")
	want.SetSource("/apis/" + r.group + "/v1/namespaces/" + r.namespace + "/things")
	want.SetSubject("a")
	want.SetID(string(o.UID) + "/1/" + string(step) + "/1")
	want.SetTime(r.clock.Now())
	for key, value := range map[string]string{"step": string(step), "kind": "Thing", "namespace": r.namespace, "name": "a",
		"uid": string(o.UID), "generation": "1", "partitionkey": string(o.UID)} {
		want.SetExtension(key, value)
	}
	data := map[string]any{"apiVersion": r.group + "/v1", "kind": "Thing", "namespace": r.namespace, "name": "a",
		"uid": string(o.UID), "generation": 1, "resourceVersion": o.ResourceVersion}
	if err := want.SetData(cloudevents.ApplicationJSON, data); err != nil {
		r.Fatal(err)
	}
	if err := e.Validate(); err != nil {
		r.Errorf("%s: the event must be valid: %v", step, err)
	}
	if diff := cmp.Diff(decoded(r.T, want), decoded(r.T, e)); diff != "" {
		r.Errorf("%s: the event has the attributes of the protocol, and a reference as data: -want, +got:\n%s", step, diff)
	}
	if text := e.String(); strings.Contains(text, "of the spec") {
		r.Errorf("%s: the spec must not be in the event: %s", step, text)
	}
}

// decoded is the event as structured JSON, decoded, so that a difference is
// easy to read.
func decoded(t *testing.T, e cloudevents.Event) map[string]any {
	t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// settled are objects that no step has work on, each for another reason.
func (r *rig) settled() (names []string) {
	r.Helper()
	later := metaTime(r.clock.Now().Add(time.Hour))
	for name, status := range map[string]*model.StepStatus{
		"ok":        {State: model.StateOK},
		"warning":   {State: model.StateOK, Failures: 1, NextAttempt: later},
		"failed":    {State: model.StateFailed, Failures: 3, NextAttempt: later},
		"permanent": {State: model.StateFailed, Failures: 1, Permanent: true},
		"deferred":  {State: model.StateDeferred, NextAttempt: later},
	} {
		r.create("Item", name, fields{"spec.owner": "owner"})
		status.Dependencies = nil
		status.Generation = 1
		for _, e := range r.expect("new", "created Item/"+name+" sync #1") {
			o, step := r.live(e)
			n, err := r.models.Neighbours(r.Context(), model.StepSync, o.Snapshot)
			if err != nil {
				r.Fatal(err)
			}
			d := n.Dependencies[0]
			status.Dependencies = []model.DependencyStatus{{Kind: "Owner", Name: d.Name, UID: string(d.Object.UID), Generation: d.Object.Generation}}
			r.setStep(o, step, status)
		}
		names = append(names, name)
	}
	for name, owner := range map[string]string{"waits-missing": "nobody", "waits-unset": "", "waits-failed": "failed-owner"} {
		r.create("Item", name, fields{"spec.owner": owner})
		r.work(r.expect("new", "created Item/"+name+" sync #1")...)
		names = append(names, name)
	}
	for name, annotation := range map[string]string{"paused": model.AnnotationPaused, "opted-out": model.AnnotationNoSync} {
		r.create("Item", name, fields{"@" + annotation: "true", "spec.owner": "owner"})
		r.work(r.expect("the conditions say so", "created Item/"+name+" sync #1")...)
		names = append(names, name)
	}
	return names
}

func TestNobodyIsWoken(t *testing.T) {
	r := newRig(t, owners, items)
	r.start(Options{})
	r.create("Owner", "owner", nil)
	r.work(r.expect("new", "created Owner/owner sync #1")...)
	r.create("Owner", "failed-owner", nil)
	r.settle(r.expect("new", "created Owner/failed-owner sync #1")[0],
		&model.StepStatus{State: model.StateFailed, Failures: 1, NextAttempt: metaTime(r.clock.Now().Add(time.Hour))})
	r.create("Owner", "leaving", nil)
	r.work(r.expect("new", "created Owner/leaving sync #1")...)
	r.create("Item", "stays", fields{"spec.owner": "leaving"})
	r.work(r.expect("new", "created Item/stays sync #1")...)
	r.delete("Owner", "leaving")
	r.work(r.expect("its dependent waits on, it waits for its dependent",
		"deleted Owner/leaving sync #1", "updated Item/stays sync #2")...)
	names := r.settled()
	r.quiet("all is settled")

	for i := range 3 {
		for _, name := range names {
			r.update("Item", name, fields{"metadata.labels.round": itoa(i)})
			r.update("Item", name, fields{"@example.dev/note": itoa(i)})
			r.update("Item", name, fields{"status.annotations": map[string]any{"round": itoa(i)}})
			r.update("Item", name, fields{"status.policy": map[string]any{"generation": int64(1), "state": "OK", "code": int64(1), "message": itoa(i)}})
		}
		for _, name := range []string{"owner", "failed-owner", "leaving"} {
			r.update("Owner", name, fields{"status.annotations": map[string]any{"round": itoa(i)}, "metadata.labels.round": itoa(i)})
		}
	}
	r.quiet("neither labels, nor foreign annotations, nor the status of others wake a step")
	r.update("Item", "ok", fields{"status.sync.message": "looked at"})
	r.work(r.expect("the conditions follow the step's part", "updated Item/ok sync #2")...)
	r.quiet("that is all")

	r.stop()
	r.start(Options{})
	r.quiet("a restart finds nothing to do")
}

func TestDueAgain(t *testing.T) {
	cases := map[string]struct {
		reason string
		make   fields
		// outcome of the first run, nil if the step is only to report what keeps it away.
		outcome *model.StepStatus
		change  fields
		want    string
	}{
		"Spec": {
			reason:  "a new generation is due",
			outcome: &model.StepStatus{State: model.StateOK},
			change:  fields{"spec.color": "red"},
			want:    "updated Owner/a sync #1",
		},
		"SpecOfPermanent": {
			reason:  "a new generation is a new chance",
			outcome: &model.StepStatus{State: model.StateFailed, Permanent: true},
			change:  fields{"spec.color": "red"},
			want:    "updated Owner/a sync #1",
		},
		"Requested": {
			reason:  "somebody asked for it: another attempt at the same generation",
			outcome: &model.StepStatus{State: model.StateOK},
			change:  fields{"@" + model.AnnotationRequestedAt: "now"},
			want:    "updated Owner/a sync #2",
		},
		"RequestedOfPermanent": {
			reason:  "somebody asked for it",
			outcome: &model.StepStatus{State: model.StateFailed, Permanent: true},
			change:  fields{"@" + model.AnnotationRequestedAt: "now"},
			want:    "updated Owner/a sync #2",
		},
		"Unpaused": {
			reason: "a paused object is due when it goes on",
			make:   fields{"@" + model.AnnotationPaused: "true"},
			change: fields{"@" + model.AnnotationPaused: nil},
			want:   "created Owner/a sync #2",
		},
		"UnpausedWithFalse": {
			reason: "false is no pause",
			make:   fields{"@" + model.AnnotationPaused: "true"},
			change: fields{"@" + model.AnnotationPaused: "false"},
			want:   "created Owner/a sync #2",
		},
		"OptedIn": {
			reason: "an object that was kept from sync is due when it is not any more",
			make:   fields{"@" + model.AnnotationNoSync: "true"},
			change: fields{"@" + model.AnnotationNoSync: nil},
			want:   "created Owner/a sync #2",
		},
	}
	r := newRig(t, owners)
	r.start(Options{})
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			defer r.in(t)()
			r.create("Owner", "a", tc.make)
			first := r.expect("new", "created Owner/a sync #1")
			if tc.outcome == nil {
				r.work(first...)
			} else {
				r.settle(first[0], tc.outcome)
			}
			r.quiet("not due yet")
			r.update("Owner", "a", tc.change)
			e := r.expect(tc.reason, tc.want)
			r.quiet("it is sent once")
			r.work(e...)
			r.quiet("done")
			r.delete("Owner", "a")
			r.work(r.expect("cleaning up", "deleted Owner/a sync #1")...)
			r.quiet("gone")
		})
	}
}

func TestChangedWhileInFlight(t *testing.T) {
	r := newRig(t, owners)
	r.start(Options{})
	r.create("Owner", "a", nil)
	first := r.expect("new", "created Owner/a sync #1")
	r.update("Owner", "a", fields{"spec.color": "red"})
	r.update("Owner", "a", fields{"@" + model.AnnotationPaused: "true"})
	r.update("Owner", "a", fields{"@" + model.AnnotationPaused: nil})
	r.quiet("the step is running: it must not run twice at once")

	o, step := r.live(first[0])
	r.setStep(o, step, &model.StepStatus{Generation: 1, State: model.StateOK})
	r.work(r.expect("it has handled the older generation: the newer one is due", "updated Owner/a sync #1")...)
	r.quiet("done")

	// One that is not due any more keeps its place until the timeout, and is not lost then.
	r.update("Owner", "a", fields{"spec.color": "blue"})
	r.expect("changed", "updated Owner/a sync #1")
	r.update("Owner", "a", fields{"@" + model.AnnotationPaused: "true"})
	r.quiet("paused")
	r.step(30 * time.Second)
	r.work(r.expect("given up: the pause is reported", "updated Owner/a sync #2")...)
	r.quiet("paused: not sent again")
	r.update("Owner", "a", fields{"@" + model.AnnotationPaused: nil})
	r.work(r.expect("it goes on", "updated Owner/a sync #3")...)
	r.quiet("done")
}

func TestVisibilityTimeout(t *testing.T) {
	r := newRig(t, owners)
	r.start(Options{Visibility: 30 * time.Second, MaxVisibility: 100 * time.Second})
	r.create("Owner", "a", nil)
	r.expect("new", "created Owner/a sync #1")
	var last []cloudevents.Event
	for i, timeout := range []time.Duration{30 * time.Second, 60 * time.Second, 100 * time.Second, 100 * time.Second} {
		r.accepted("Owner")
		r.step(timeout - time.Millisecond)
		r.quiet("not before the timeout")
		r.step(time.Millisecond)
		last = r.expect("not acknowledged: sent again, with the next attempt number", "created Owner/a sync #"+itoa(i+2))
	}
	r.accepted("Owner")
	r.work(last...)
	r.quiet("acknowledged")
	r.step(time.Hour)
	r.quiet("for good")

	r.update("Owner", "a", fields{"spec.color": "red"})
	r.expect("changed", "updated Owner/a sync #1")
	r.accepted("Owner")
	r.step(30 * time.Second)
	r.work(r.expect("after an acknowledgement the timeout is short again", "updated Owner/a sync #2")...)
}

// TestNobodyHandles has what handles events away for longer than the visibility timeout.
func TestNobodyHandles(t *testing.T) {
	r := newRig(t, owners)
	for _, name := range []string{"a", "b", "c"} {
		r.create("Owner", name, nil)
	}
	r.start(Options{Window: 2, Visibility: 30 * time.Second, MaxVisibility: 10 * time.Minute})
	two := func(waiting int) map[string]string {
		t.Helper()
		attempts := map[string]string{}
		for range 2 {
			e := r.next()
			attempts[e.Subject()] = path.Base(e.ID())
		}
		r.await("the window to be full", func() bool {
			return r.lane("Owner", model.StepSync, func(l *lane) bool { return l.inFlight == 2 && l.sending == 0 && len(l.waiting) == waiting })
		})
		return attempts
	}
	two(1)
	r.step(30 * time.Second)
	again := ""
	for name, attempt := range two(1) {
		if attempt == "2" {
			again = name
		}
	}
	if again == "" {
		t.Fatal("expected the one that has waited, and one of the others again")
	}
	r.step(30 * time.Second)
	other := ""
	for name, attempt := range two(0) {
		if name == again || attempt != "2" {
			t.Errorf("the second event of %s has 60 s, but makes room after 30 s: expected the second of the others, got %s of %s", again, attempt, name)
		}
		other = name
	}

	r.step(30 * time.Second)
	third := r.expect("the 60 s are over", "created Owner/"+again+" sync #3")
	r.accepted("Owner")
	r.update("Owner", other, fields{"spec.color": "red"})
	changed := r.expect("a new generation does not wait for the longer timeout of the old one", "created Owner/"+other+" sync #1")
	r.accepted("Owner")
	r.work(third[0], changed[0])
	r.step(30 * time.Second)
	r.work(r.next())
	r.quiet("all are synced")
}

// accepted waits until the source knows that the sink has accepted what it was sent.
func (r *rig) accepted(kind string) {
	r.Helper()
	r.await("the answer of the sink", func() bool {
		return r.lane(kind, model.StepSync, func(l *lane) bool { return l.sending == 0 })
	})
}

func TestRetry(t *testing.T) {
	r := newRig(t, owners)
	r.start(Options{})
	r.create("Owner", "a", nil)
	e := r.expect("new", "created Owner/a sync #1")
	for attempt, w := range []int{1, 2, 4, 600} {
		r.settle(e[0], &model.StepStatus{State: model.StateFailed, Failures: int32(attempt + 1),
			NextAttempt: metaTime(r.clock.Now().Add(time.Duration(w) * time.Second))})
		r.quiet("it waits for its next attempt")
		r.step(time.Duration(w)*time.Second - time.Millisecond)
		r.quiet("not before its time")
		r.step(time.Millisecond)
		e = r.expect("at its time, to the second", "updated Owner/a sync #"+itoa(attempt+2))
		r.accepted("Owner")
	}
	// A new source counts on, and knows the time.
	r.settle(e[0], &model.StepStatus{State: model.StateFailed, Failures: 5, NextAttempt: metaTime(r.clock.Now().Add(time.Minute))})
	r.stop()
	r.start(Options{})
	r.quiet("it waits for its next attempt")
	r.step(time.Minute)
	r.work(r.expect("at its time", "updated Owner/a sync #6")...)
	r.quiet("done")
}

func TestReplacedWhileInFlight(t *testing.T) {
	r := newRig(t, owners)
	r.start(Options{Window: 1})
	r.create("Owner", "a", nil)
	first := r.expect("new", "created Owner/a sync #1")
	r.delete("Owner", "a")
	r.create("Owner", "a", nil)
	second := r.expect("another object of that name is due, and has the place of the one that is gone", "created Owner/a sync #1")
	if first[0].ID() == second[0].ID() {
		t.Errorf("expected an id of its own for another object, got %s again", first[0].ID())
	}
	r.work(second...)
	r.quiet("done")
	if !r.lane("Owner", model.StepSync, func(l *lane) bool { return l.inFlight == 0 && len(l.waiting) == 0 }) {
		t.Error("expected an empty lane")
	}
}
