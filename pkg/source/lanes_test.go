package source

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// receive waits for n events of the kind and step.
func (r *rig) receive(n int, kind string, step model.Step) []cloudevents.Event {
	r.Helper()
	var got []cloudevents.Event
	for range n {
		e := r.next()
		if e.Extensions()["kind"] != kind || e.Extensions()["step"] != string(step) {
			r.Fatalf("expected an event for %s of %s, got %s", step, kind, line(e))
		}
		got = append(got, e)
	}
	return got
}

func names(events []cloudevents.Event) map[string]int {
	n := map[string]int{}
	for _, e := range events {
		n[e.Subject()]++
	}
	return n
}

func TestWindow(t *testing.T) {
	const objects, window = 80, 8
	r := newRig(t, owners, things)
	r.start(Options{Window: window})
	r.await("the source to be ready: what is there before has no order", r.source.Ready)
	for i := range objects {
		r.create("Owner", fmt.Sprintf("o-%03d", i), nil)
	}
	full := func(l *lane) bool { return l.inFlight == window && len(l.waiting) == objects-window }
	r.await("the lane to be full", func() bool { return r.lane("Owner", model.StepSync, full) })
	flying := r.receive(window, "Owner", model.StepSync)

	// Both steps of another kind have lanes of their own, beside the full one.
	r.create("Thing", "a", nil)
	both := r.expect("a full lane holds up neither another kind nor another step", "created Thing/a policy #1", "created Thing/a sync #1")
	r.work(both...)

	// One more comes for each that is acknowledged, first come first served.
	seen := names(flying)
	for len(seen) < objects {
		if got := len(r.events); got != 0 {
			t.Fatalf("at most %d are in flight, got %d more", window, got)
		}
		r.settle(flying[0], &model.StepStatus{State: model.StateOK})
		flying = append(flying[1:], r.receive(1, "Owner", model.StepSync)...)
		want, got := fmt.Sprintf("o-%03d", len(seen)), flying[window-1].Subject()
		if want != got {
			t.Fatalf("first come first served: expected %s, got %s", want, got)
		}
		seen[got]++
	}
	for _, e := range flying {
		r.settle(e, &model.StepStatus{State: model.StateOK})
	}
	r.quiet("all are done")
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s: expected one event, got %d", name, n)
		}
	}
}

func TestWindowIsFreedByLostEvents(t *testing.T) {
	r := newRig(t, owners)
	r.start(Options{Window: 2})
	for _, name := range []string{"a", "b", "c"} {
		r.create("Owner", name, nil)
	}
	first := names(r.receive(2, "Owner", model.StepSync)) // In any order: they are there at the start.
	r.await("the third to wait", func() bool {
		return r.lane("Owner", model.StepSync, func(l *lane) bool { return len(l.waiting) == 1 && l.sending == 0 })
	})
	r.step(30 * time.Second)
	second := r.receive(2, "Owner", model.StepSync)
	if first[second[0].Subject()] == 1 && first[second[1].Subject()] == 1 {
		t.Errorf("the one that has waited goes before those that come again, got %s and %s", line(second[0]), line(second[1]))
	}
	r.work(second...)
	r.work(r.receive(1, "Owner", model.StepSync)...)
	r.quiet("all are done")
}

func TestSinkDown(t *testing.T) {
	const objects, window = 20, 8
	r := newRig(t, owners, things)
	r.answerWith(func(_ context.Context, e cloudevents.Event) error {
		if e.Extensions()["kind"] == "Owner" {
			return errDown
		}
		return nil
	})
	for i := range objects {
		r.create("Owner", fmt.Sprintf("o-%02d", i), nil)
	}
	r.start(Options{Window: window})
	waits := func(rounds int) {
		t.Helper()
		r.await("the lane to wait for the sink", func() bool {
			return r.lane("Owner", model.StepSync, func(l *lane) bool {
				return l.rejected == rounds && l.sending == 0 && l.inFlight == 0 && len(l.waiting) == objects
			})
		})
	}
	waits(1)
	r.step(450 * time.Millisecond)
	waits(1)
	first := r.tries.Load()
	if first > window {
		t.Errorf("expected at most a window (%d) of tries at once, got %d", window, first)
	}
	const rounds = 9
	for i := range rounds {
		// At most the wait after so many rounds, jitter included.
		r.step(min(30*time.Second, time.Duration(float64(500*time.Millisecond<<i)*1.2)))
		waits(i + 2)
	}
	if got := r.tries.Load(); got != first+rounds {
		t.Errorf("expected one try after each wait: %d, got %d", first+rounds, got)
	}
	r.create("Thing", "a", nil)
	r.work(r.expect("another lane goes on", "created Thing/a policy #1", "created Thing/a sync #1")...)

	r.answer.Store(nil)
	r.step(30 * time.Second)
	got := map[string]int{}
	for len(got) < objects {
		e := r.next()
		got[e.Subject()]++
		r.work(e)
	}
	r.quiet("all are done")
	want := map[string]int{}
	for i := range objects {
		want[fmt.Sprintf("o-%02d", i)] = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nothing is lost and nothing comes twice: -want, +got:\n%s", diff)
	}
}

// TestSinkFails checks that a lane goes on when the sink accepts events again, although
// many of its events are still in flight.
func TestSinkFails(t *testing.T) {
	r := newRig(t, owners)
	r.start(Options{Window: 4})
	r.create("Owner", "a", nil)
	a := r.expect("new", "created Owner/a sync #1")
	r.answerWith(func(context.Context, cloudevents.Event) error { return errDown })
	r.create("Owner", "b", nil)
	r.await("the lane to wait for the sink", func() bool {
		return r.lane("Owner", model.StepSync, func(l *lane) bool { return l.rejected == 1 && l.sending == 0 })
	})
	r.answer.Store(nil)
	r.step(time.Second)
	b := r.expect("one that is in flight is no reason to wait", "created Owner/b sync #2")
	r.work(a[0], b[0])
	r.quiet("done")
}

func TestSinkHangs(t *testing.T) {
	const objects, window = 20, 4
	r := newRig(t, owners, things)
	var hanging, most atomic.Int64
	r.answerWith(func(ctx context.Context, e cloudevents.Event) error {
		if e.Extensions()["kind"] != "Owner" {
			return nil
		}
		n := hanging.Add(1)
		defer hanging.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-ctx.Done()
		return ctx.Err()
	})
	for i := range objects {
		r.create("Owner", fmt.Sprintf("o-%02d", i), nil)
	}
	r.start(Options{Window: window, Visibility: time.Second})
	r.await("the window to hang", func() bool { return most.Load() == window })
	r.create("Thing", "a", nil)
	r.work(r.expect("another lane goes on", "created Thing/a policy #1", "created Thing/a sync #1")...)
	r.await("the lane to give up", func() bool {
		return r.lane("Owner", model.StepSync, func(l *lane) bool { return l.rejected == 1 && l.sending == 0 })
	})
	if got := r.tries.Load() - 2; got != window {
		t.Errorf("expected a window (%d) of tries, got %d", window, got)
	}
	r.step(time.Second)
	r.await("the lane to give up again", func() bool {
		return r.lane("Owner", model.StepSync, func(l *lane) bool { return l.rejected == 2 && l.sending == 0 })
	})
	if got := r.tries.Load() - 2; got != window+1 {
		t.Errorf("expected a single one to try, got %d", got-window)
	}
	if most.Load() != window {
		t.Errorf("expected at most a window (%d) of hanging sends, got %d", window, most.Load())
	}

	r.answer.Store(nil)
	r.step(2 * time.Second)
	for range objects {
		r.work(r.receive(1, "Owner", model.StepSync)...)
	}
	r.quiet("all are done")
}

func TestStopWhileSinkHangs(t *testing.T) {
	r := newRig(t, owners)
	var hanging atomic.Int64
	r.answerWith(func(ctx context.Context, _ cloudevents.Event) error {
		hanging.Add(1)
		<-ctx.Done()
		return ctx.Err()
	})
	r.create("Owner", "a", nil)
	r.start(Options{})
	r.await("the sink to hang", func() bool { return hanging.Load() == 1 })
	began := time.Now()
	r.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("expected the source to stop at once, it took %s", took)
	}
	r.answer.Store(nil)
	r.start(Options{})
	r.work(r.expect("what was not accepted is found again", "created Owner/a sync #1")...)
	r.quiet("done")
}

// TestAcknowledgedBeforeAnswer has a sink that answers only after the step has
// run, as a synchronous broker does.
func TestAcknowledgedBeforeAnswer(t *testing.T) {
	r := newRig(t, owners)
	answer := make(chan error)
	r.answerWith(func(_ context.Context, e cloudevents.Event) error {
		if e.Subject() != "a" {
			return nil
		}
		r.work(e)
		return <-answer
	})
	r.start(Options{Window: 1})
	r.create("Owner", "a", nil)
	r.await("its event", func() bool { return r.tries.Load() == 1 })
	r.create("Owner", "b", nil)
	r.await("the acknowledgement", func() bool {
		return r.lane("Owner", model.StepSync, func(l *lane) bool { return l.inFlight == 0 && l.sending == 1 && len(l.waiting) == 1 })
	})
	answer <- errDown
	r.await("the answer", func() bool {
		return r.lane("Owner", model.StepSync, func(l *lane) bool { return l.sending == 0 && l.rejected == 1 })
	})
	r.step(time.Second)
	r.work(r.expect("the lane goes on", "created Owner/b sync #1")...)
	r.step(time.Minute)
	r.quiet("an event that was acknowledged is not sent again, whatever the answer")
}

// TestClockSetBack has a step that is due again while it waits for its place, and is not any more when it gets
// that, because the clock was set back.
func TestClockSetBack(t *testing.T) {
	r := newRig(t, owners)
	r.start(Options{Window: 1})
	r.create("Owner", "b", nil)
	start := r.clock.Now()
	r.settle(r.expect("new", "created Owner/b sync #1")[0], &model.StepStatus{State: model.StateFailed, Failures: 1, NextAttempt: metaTime(start.Add(10 * time.Second))})
	r.create("Owner", "a", nil)
	first := r.expect("new", "created Owner/a sync #1")
	r.step(10 * time.Second)
	r.await("b to wait for a place", func() bool { return r.lane("Owner", model.StepSync, func(l *lane) bool { return len(l.waiting) == 1 }) })
	r.clock.SetTime(start)
	r.settle(first[0], &model.StepStatus{State: model.StateOK})
	r.await("b to be looked at", func() bool { return r.lane("Owner", model.StepSync, func(l *lane) bool { return len(l.waiting) == 0 }) })
	r.quiet("b is not due yet")
	r.step(10 * time.Second)
	r.expect("its time has come", "updated Owner/b sync #2")
}
