package step_test

import (
	"context"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

// newRequests makes a function with these steps for books, a synced shelf that the function knows, and a book on it.
func newRequests(t *testing.T, registrations ...step.Registration) *fixture {
	t.Helper()
	f := newFixture(t)
	f.start(append(registrations, step.Sync(shelfSyncer{f}), step.Sync(step.Syncer[*book](f)))...)
	f.synced("fiction")
	save(f, f.book("other"))
	f.Settle()
	save(f, f.book("a"))
	return f
}

// TestRequests checks what events cost in requests to the API.
func TestRequests(t *testing.T) {
	t.Parallel()
	policy := step.Policies(step.Policy[*book](step.PolicyFuncs[*book]{}))
	deleter := step.Policies(step.Policy[*book](deleting{}))
	tests := map[string]struct {
		reason string
		// with are the steps beside the sync of books.
		with  []step.Registration
		given func(*fixture)
		want  []string
	}{
		"First": {
			reason: "A first sync reads the object, puts its finalizer on, and writes one status. What the object depends on is known from another one's sync.",
			want:   []string{"GET books/a", "PATCH books/a", "PATCH books/a/status"},
		},
		"NewDependency": {
			reason: "What the object depends on is read if it has changed.",
			given: func(f *fixture) {
				steptest.Change(f.World, "fiction", func(s *shelf) { s.Spec.Label = "Novels" })
				f.wants(steptest.Wake[*shelf](f.World, model.StepSync, "fiction"), 200, "")
			},
			want: []string{"GET books/a", "GET shelves/fiction", "PATCH books/a", "PATCH books/a/status"},
		},
		"Later": {
			reason: "A later one finds its finalizer.",
			given: func(f *fixture) {
				f.Settle()
				retitle(f)
			},
			want: []string{"GET books/a", "PATCH books/a/status"},
		},
		"NotDue": {
			reason: "If nothing is due there is only the read.",
			given:  func(f *fixture) { f.Settle() },
			want:   []string{"GET books/a"},
		},
		"Deleted": {
			reason: "A clean-up reads the object and removes the finalizer; no kind can depend on it.",
			given: func(f *fixture) {
				f.Settle()
				remove(f, f.book("a"))
			},
			want: []string{"GET books/a", "PATCH books/a"},
		},
		"FirstOfBoth": {
			reason: "A function that has both steps does with the same.",
			with:   []step.Registration{policy},
			want:   []string{"GET books/a", "PATCH books/a", "PATCH books/a/status"},
		},
		"LaterOfBoth": {
			reason: "Also later.",
			with:   []step.Registration{policy},
			given: func(f *fixture) {
				f.Settle()
				retitle(f)
			},
			want: []string{"GET books/a", "PATCH books/a/status"},
		},
		"FinalizersOfBoth": {
			reason: "Both finalizers come with one patch.",
			with:   []step.Registration{deleter},
			want:   []string{"GET books/a", "PATCH books/a", "PATCH books/a/status"},
		},
		"DeletedByBoth": {
			reason: "And go with one.",
			with:   []step.Registration{deleter},
			given: func(f *fixture) {
				f.Settle()
				remove(f, f.book("a"))
			},
			want: []string{"GET books/a", "PATCH books/a"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRequests(t, tt.with...)
			if tt.given != nil {
				tt.given(f)
			}
			event := steptest.WakeEvent[*book](f.World, model.StepSync, "a")
			f.Requests()
			f.post(event)
			if diff := cmp.Diff(tt.want, f.Requests()); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tt.reason, diff)
			}
			if a, ok := steptest.Get[*book](f.World, "a"); ok && !a.Status.GetCondition(model.ConditionReady).IsTrue() && len(tt.with) > 0 {
				t.Errorf("all was done; got %+v", a.Status)
			}
		})
	}
	t.Run("Gone", func(t *testing.T) {
		t.Parallel()
		f := newRequests(t)
		gone := steptest.Snapshot[*book](f.World, "a")
		remove(f, f.book("a"))
		gone.ResourceVersion = save(f, f.book("later")).ResourceVersion // The API knows the deletion when it knows this.
		f.Requests()
		f.wants(f.post(gone.WakeEvent(model.StepSync, 1, now)), 200, "")
		if diff := cmp.Diff([]string{"GET books/a"}, f.Requests()); diff != "" {
			t.Errorf("what is gone is not looked for again: -want, +got:\n%s", diff)
		}
	})
	t.Run("Policy", func(t *testing.T) {
		t.Parallel()
		f := newPolicy(t, step.PolicyFuncs[*book]{})
		i := save(f, f.book("a"))
		event := live(f, i).WakeEvent(model.StepPolicy, 1, now)
		f.Requests()
		f.wants(f.post(event), 200, typePoliced)
		if diff := cmp.Diff([]string{"GET books/a", "PATCH books/a/status"}, f.Requests()); diff != "" {
			t.Errorf("a policy without Delete needs no finalizer, and no dependency: -want, +got:\n%s", diff)
		}
		if got := live(f, i).Finalizers; len(got) > 0 {
			t.Errorf("got the finalizers %v", got)
		}
	})
}

// TestTwoStepsAtOnce runs both steps of a new object at the same time, in two functions.
func TestTwoStepsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sync, policy := make(chan struct{}), make(chan struct{})
	f.sync = func(context.Context, *book) (string, error) { close(sync); <-policy; return "", nil }
	f.start(step.Sync(f), step.Sync(shelfSyncer{f}))
	f.synced("fiction")
	i := save(f, f.book("a"))
	events := []cloudevents.Event{live(f, i).WakeEvent(model.StepSync, 1, now), live(f, i).WakeEvent(model.StepPolicy, 1, now)}
	syncs := f.World
	syncs.Requests()
	f.start(step.Policies(step.Policy[*book](step.PolicyFuncs[*book]{OnCreate: func(context.Context, *book) error {
		<-sync // Both steps have read the object, and none has stored anything.
		return nil
	}})))
	done := make(chan steptest.Answer)
	go func() { done <- syncs.Send(events[0]) }()
	f.wants(f.post(events[1]), 200, typePoliced)
	close(policy)
	f.wants(<-done, 200, typeSynced)

	// Each step patches the status once. The second does it again: its conditions lack the first step.
	want := []string{"GET books/a", "GET shelves/fiction", "PATCH books/a", "PATCH books/a/status", "PATCH books/a/status"}
	if diff := cmp.Diff(want, syncs.Requests()); diff != "" {
		t.Errorf("the writes do not conflict: -want, +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"GET books/a", "PATCH books/a/status"}, f.Requests()); diff != "" {
		t.Errorf("the writes do not conflict: -want, +got:\n%s", diff)
	}
	got := live(f, i)
	if !got.Status.GetCondition(model.ConditionReady).IsTrue() || got.Status.ObservedGeneration != 1 {
		t.Errorf("both steps are done: got %+v", got.Status)
	}
}
