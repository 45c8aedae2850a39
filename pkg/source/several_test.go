package source

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// apart makes events about one object of an event about several.
func (r *rig) apart(events ...cloudevents.Event) (all []cloudevents.Event) {
	r.Helper()
	for _, e := range events {
		refs, err := model.ParseReferences(e)
		if err != nil {
			r.Fatal(err)
		}
		for _, ref := range refs {
			one := e.Clone()
			one.SetSubject(ref.Name)
			if err := one.SetData(cloudevents.ApplicationJSON, ref); err != nil {
				r.Fatal(err)
			}
			all = append(all, one)
		}
	}
	return all
}

// TestSeveral has more objects due than the window takes.
func TestSeveral(t *testing.T) {
	const window, objects = 16, 4
	r := newRig(t, owners)
	r.start(Options{Window: window, Objects: objects})
	r.await("the source to be ready", r.source.Ready)
	var flying []cloudevents.Event
	due := func(namespace string, names ...string) {
		t.Helper()
		for _, name := range names {
			r.createIn(namespace, "Owner", name, nil)
		}
	}
	settle := func(n int) {
		t.Helper()
		for _, e := range flying[:n] {
			r.settle(e, &model.StepStatus{State: model.StateOK})
		}
		flying = flying[n:]
	}
	looks := func(what string, look func(*lane) bool) {
		t.Helper()
		r.await(what, func() bool { return r.lane("Owner", model.StepSync, look) })
	}
	waiting := func(n int) {
		t.Helper()
		looks(fmt.Sprintf("%d to wait", n), func(l *lane) bool { return len(l.waiting) == n && l.sending == 0 })
	}
	// receive returns the names of the objects of each of the next events.
	receive := func(n int) (got []string) {
		t.Helper()
		for _, e := range r.receive(n, "Owner", model.StepSync) {
			var names []string
			one := r.apart(e)
			for _, e := range one {
				names = append(names, e.Subject())
			}
			if count, ok := e.Extensions()[model.ExtensionCount]; ok != (len(names) > 1) || ok && count != int32(len(names)) {
				t.Errorf("expected count %d, got %v", len(names), count)
			}
			got = append(got, strings.Join(names, " "))
			flying = append(flying, one...)
		}
		return got
	}
	expect := func(reason string, want ...string) {
		t.Helper()
		got := receive(len(want))
		slices.Sort(got) // They are sent at the same time.
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s: -want, +got:\n%s", reason, diff)
		}
		if n := len(r.events); n > 0 {
			t.Fatalf("%s: expected no more events, got %d", reason, n)
		}
	}

	for i := range window {
		due(r.namespace, fmt.Sprintf("o%d", i))
	}
	for _, names := range receive(window) {
		if strings.Contains(names, " ") {
			t.Fatalf("as long as there are places each goes alone and at once, got %s", names)
		}
	}
	due(r.namespace, "a", "b", "c", "d", "e", "f")
	due(r.namespace+"-other", "x", "y", "z")
	waiting(9)
	settle(objects - 1)
	looks("the lane to wait for one more place", func(l *lane) bool { return l.inFlight == window-objects+1 && !l.gathered.IsZero() })
	settle(1)
	expect("several go by one event", "a b c d")
	settle(1)
	waiting(5)
	r.step(gathering)
	expect("no object waits for long that others can go with it", "e")
	settle(objects)
	expect("an event is about objects of one namespace", "f", "x y z")

	due(r.namespace, "g", "h", "i", "j", "k")
	waiting(5)
	r.answerWith(func(context.Context, cloudevents.Event) error { return errDown })
	settle(objects)
	looks("the lane to wait for the sink", func(l *lane) bool { return l.rejected == 1 && len(l.waiting) == 5 })
	r.answer.Store(nil)
	r.step(time.Second)
	expect("what was rejected comes again, after one that tries", "k")
	looks("the lane to wait for one more place", func(l *lane) bool { return len(l.waiting) == 4 && !l.gathered.IsZero() })
	r.step(gathering)
	expect("then in the order of the lane", "g h i")

	last := flying[len(flying)-1]
	flying = flying[:len(flying)-1]
	settle(len(flying))
	expect("one waits no more", "j")
	settle(1)
	r.step(30 * time.Second)
	expect("of several the one that nobody has acknowledged comes again", last.Subject())
	settle(1)
	r.quiet("all are done")
}

// TestPack checks which objects go by one event.
func TestPack(t *testing.T) {
	tracked := &tracker{Options: Options{Objects: 3}}
	add := func(name string, lost int, change func(*model.Snapshot)) {
		o := snapshot(ownerKind, name)
		if change != nil {
			change(o)
		}
		tracked.pack(&delivery{key: keyOf(o, model.StepSync), task: &task{lost: lost}}, model.Wake{Object: o, Attempt: 1}, 0)
	}
	deleted := func(o *model.Snapshot) { o.DeletionTimestamp = metaTime(time.Unix(0, 0)) }
	elsewhere := func(o *model.Snapshot) { o.Namespace = "elsewhere" }
	add("a", 0, nil)
	add("lost", 1, nil)
	add("b", 0, nil)
	add("deleted", 0, deleted)
	add("elsewhere", 0, elsewhere)
	add("lost-too", 2, nil)
	add("c", 0, nil)
	add("one-too-many", 0, nil)
	add("elsewhere-too", 0, elsewhere)
	var got []string
	for _, p := range tracked.todo.send {
		var names []string
		for _, d := range p.deliveries {
			names = append(names, d.Name)
		}
		got = append(got, strings.Join(names, " "))
	}
	if diff := cmp.Diff([]string{"a b c", "lost", "deleted", "elsewhere elsewhere-too", "lost-too", "one-too-many"}, got); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
}
