package step_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"

	corev1alpha1 "github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

const (
	typeSynced       = "dev.xos-knative.model.synced"
	typeFailed       = "dev.xos-knative.model.sync.failed"
	typeDeferred     = "dev.xos-knative.model.sync.deferred"
	typePoliced      = "dev.xos-knative.model.policed"
	typePolicyFailed = "dev.xos-knative.model.policy.failed"
	typeReaped       = "dev.xos-knative.model.reaped"
)

func TestLife(t *testing.T) {
	t.Parallel()
	f, i := newBook(t)
	f.sync = func(_ context.Context, obj *book) (string, error) {
		if !live(f, i).Carries(model.StepSync) {
			t.Error("the finalizer must be there before the first call to the backend")
		}
		if obj.ResourceVersion != live(f, i).ResourceVersion {
			t.Error("the step must get the newest version of the object, otherwise it cannot update it")
		}
		return "record-1", nil
	}

	a := wake(f, i)
	f.wants(a, 200, typeSynced)
	f.wantCalls("sync Dune")
	var data map[string]any
	if err := json.Unmarshal(a.Reply.Data(), &data); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"apiVersion": "library.xos-knative.dev/v1alpha1", "kind": "Book", "namespace": i.Namespace,
		"name": "a", "uid": string(i.UID), "generation": 1.0, "state": "OK", "message": "OK"}
	if diff := cmp.Diff(want, data); diff != "" {
		t.Errorf("the reply's data: -want, +got:\n%s", diff)
	}
	if a.Reply.Subject() != "a" || !a.Reply.Time().Equal(now) || a.Reply.Extensions()[model.ExtensionKind] != "Book" {
		t.Errorf("got the reply %s", a.Reply)
	}
	status := wantStatus(f, i, model.StateOK)
	if status.Handle != "record-1" || status.Generation != 1 || !status.LastSuccess.Time.Equal(now) ||
		len(status.Dependencies) != 1 || status.Dependencies[0].Generation != 1 {
		t.Errorf("got %+v", status)
	}

	f.wants(wake(f, i), 200, "")
	f.wantCalls("") // It is not due. The answer has no body.

	i = save(f, changed(f, i, func(o *book) { o.Spec.Title = "Emma" }))
	f.wants(wake(f, i), 200, "") // The state has not changed: no reply.
	f.wantCalls("sync Emma")
	if got := wantStatus(f, i, model.StateOK); got.Generation != 2 || got.Handle != "record-1" {
		t.Errorf("got %+v", got)
	}

	remove(f, i)
	f.wants(wake(f, i), 200, typeReaped)
	f.wantCalls("delete Emma")
	if _, err := model.For[*book](f.Models).Get(t.Context(), i.Namespace, "a"); !apierrors.IsNotFound(err) {
		t.Errorf("the object must be gone, got %v", err)
	}
	f.wants(f.post(wakeOf(i)), 200, "") // An event about an object that is gone is no error.
	f.wantCalls("")
}

// changed reads an object, and returns it with a change that is not saved.
func changed(f *fixture, obj *book, edit func(*book)) *book {
	f.Helper()
	got, err := model.For[*book](f.Models).Get(f.Context(), obj.Namespace, obj.Name)
	if err != nil {
		f.Fatal(err)
	}
	edit(got)
	return got
}

// wakeOf is a model event as somebody writes it by hand.
func wakeOf(obj *book) cloudevents.Event {
	event := cloudevents.NewEvent()
	event.SetID("1")
	event.SetType(model.EventUpdated)
	event.SetSource("test")
	_ = event.SetData(cloudevents.ApplicationJSON, map[string]any{
		"apiVersion": "library.xos-knative.dev/v1alpha1", "kind": "Book", "namespace": obj.Namespace, "name": obj.Name})
	return event
}

func TestStepReturns(t *testing.T) {
	tests := map[string]struct {
		reason  string
		sync    func(ctx context.Context, obj *book) (string, error)
		state   model.State
		reply   string
		message string
		next    bool
	}{
		"Deferred": {
			reason:  "It is in progress: the source retries, not the engine.",
			sync:    func(context.Context, *book) (string, error) { return "", step.Deferred("Maybe later") },
			state:   model.StateDeferred,
			reply:   typeDeferred,
			message: "Maybe later",
			next:    true,
		},
		"Failed": {
			reason:  "A failure is answered with 200: the source retries, so the broker must not.",
			sync:    func(context.Context, *book) (string, error) { return "", errors.New("Maybe not") },
			state:   model.StateFailed,
			reply:   typeFailed,
			message: "Maybe not",
			next:    true,
		},
		"Permanent": {
			reason:  "There is no next attempt.",
			sync:    func(context.Context, *book) (string, error) { return "", step.Permanent(errors.New("never")) },
			state:   model.StateFailed,
			reply:   typeFailed,
			message: "never",
		},
		"Warning": {
			reason:  "Done, with a warning.",
			sync:    func(context.Context, *book) (string, error) { return "", step.Warning(errors.New("hm")) },
			state:   model.StateOK,
			reply:   typeSynced,
			message: "hm",
			next:    true,
		},
		"Panic": {
			reason:  "A panic is a failure like any other.",
			sync:    func(context.Context, *book) (string, error) { panic("oops") },
			state:   model.StateFailed,
			reply:   typeFailed,
			message: "panic: oops",
			next:    true,
		},
		"Deadline": {
			reason:  "A step that takes too long is a failure.",
			sync:    func(ctx context.Context, _ *book) (string, error) { <-ctx.Done(); return "", ctx.Err() },
			state:   model.StateFailed,
			reply:   typeFailed,
			message: "deadline exceeded",
			next:    true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var options []step.Option
			if name == "Deadline" {
				options = append(options, step.WithDeadline(50*time.Millisecond))
			}
			f, i := newBook(t, options...)
			f.sync = tt.sync
			f.wants(wake(f, i), 200, tt.reply)
			f.wantCalls("sync Dune")
			if got := wantStatus(f, i, tt.state, tt.message); (got.NextAttempt != nil) != tt.next {
				t.Errorf("\n%s\ngot the next attempt %v", tt.reason, got.NextAttempt)
			}
			f.wants(wake(f, i), 200, "")
			f.wantCalls("") // The retry is not due yet.

			if !tt.next {
				return
			}
			f.Clock.SetTime(now.Add(time.Hour))
			f.wants(wake(f, i), 200, "") // The state is the same: no reply.
			f.wantCalls("sync Dune")
		})
	}
}

func TestWaits(t *testing.T) {
	tests := map[string]struct {
		reason  string
		shelf   func(*fixture)
		edit    func(*book)
		message string
		repair  func(*fixture)
	}{
		"Missing": {
			reason:  "There is no such shelf.",
			message: "waiting for Shelf fiction, which does not exist",
			repair:  func(f *fixture) { f.synced("fiction") },
		},
		"NotSynced": {
			reason:  "It is not synced yet.",
			shelf:   func(f *fixture) { save(f, f.shelf("fiction")) },
			message: "waiting for Shelf fiction, which is not synced yet",
			repair:  func(f *fixture) { acknowledge(f, f.shelf("fiction"), model.StateOK) },
		},
		"Failed": {
			reason: "Its sync failed.",
			shelf: func(f *fixture) {
				acknowledge(f, save(f, f.shelf("fiction")), model.StateFailed)
			},
			message: "waiting for Shelf fiction, whose sync failed",
			repair:  func(f *fixture) { acknowledge(f, f.shelf("fiction"), model.StateOK) },
		},
		"Deleting": {
			reason: "It is being deleted.",
			shelf: func(f *fixture) {
				s := f.shelf("fiction")
				s.Finalizers = []string{"example.com/keep"}
				remove(f, save(f, s))
			},
			message: "waiting for Shelf fiction, which is being deleted",
			repair: func(f *fixture) {
				s, err := model.For[*shelf](f.Models).Get(f.Context(), f.Namespace, "fiction")
				if err != nil {
					f.Fatal(err)
				}
				s.Finalizers = nil
				save(f, s)
				f.synced("fiction")
			},
		},
		"Unset": {
			reason:  "The spec names no shelf.",
			edit:    func(i *book) { i.Spec.Shelf = nil },
			message: "waiting for Shelf, which the spec does not name yet",
			repair: func(f *fixture) {
				f.synced("fiction")
				save(f, f.book("a"))
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newSync(t)
			if tt.shelf != nil {
				tt.shelf(f)
			}
			i := f.book("a")
			if tt.edit != nil {
				tt.edit(i)
			}
			i = save(f, i)
			f.wants(wake(f, i), 200, "")
			got := wantStatus(f, i, model.StateWaiting)
			if got.Message != tt.message || got.NextAttempt != nil || got.Code != model.CodeInProgress {
				t.Errorf("\n%s\nwant %q, got %+v", tt.reason, tt.message, got)
			}
			if live(f, i).Carries(model.StepSync) {
				t.Error("the step was not called, so there is nothing to clean up")
			}

			version := live(f, i).ResourceVersion
			f.wants(wake(f, i), 200, "")
			if live(f, i).ResourceVersion != version {
				t.Error("a wait must be stored once")
			}
			f.wantCalls("")

			tt.repair(f)
			f.wants(wake(f, i), 200, typeSynced)
			f.wantCalls("sync Dune")
			wantStatus(f, i, model.StateOK)
		})
	}
}

func TestShelfChanges(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	fiction := f.synced("fiction")
	i := save(f, f.book("a"))
	f.wants(wake(f, i), 200, typeSynced)

	save(f, func() *shelf { s := f.shelf("fiction"); s.Spec.Label = "Poems"; return s }())
	f.wants(wake(f, i), 200, "")
	wantStatus(f, i, model.StateWaiting, "fiction, which is not synced yet")
	f.wants(wake(f, fiction), 200, "")
	f.wants(wake(f, i), 200, typeSynced)
	if got := wantStatus(f, i, model.StateOK); got.Dependencies[0].Generation != 2 {
		t.Errorf("got %+v", got.Dependencies)
	}
	f.wantCalls("sync Dune, sync shelf, sync Dune")
}

func TestDeletionOrder(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	fiction := save(f, f.shelf("fiction"))
	f.wants(wake(f, fiction), 200, typeSynced)
	i := save(f, f.book("a"))
	f.wants(wake(f, i), 200, typeSynced)
	f.takeCalls()

	remove(f, fiction)
	f.wants(wake(f, fiction), 200, "")
	wantStatus(f, fiction, model.StateWaiting, "waiting for Book a, which still depends on it")
	f.wantCalls("")
	remove(f, i)
	f.wants(wake(f, i), 200, typeReaped)
	f.wants(wake(f, fiction), 200, typeReaped)
	f.wantCalls("delete Dune, delete shelf")
}

func TestCleanUp(t *testing.T) {
	tests := map[string]struct {
		reason string
		err    error
		reply  string
		gone   bool
		state  model.State
	}{
		"Failed": {
			reason: "A failed clean-up keeps the object.",
			err:    errors.New("boom"), reply: typeFailed, state: model.StateFailed,
		},
		"Deferred": {
			reason: "A clean-up in progress keeps it too.",
			err:    step.Deferred("wait"), reply: typeDeferred, state: model.StateDeferred,
		},
		"Warning": {
			reason: "A warning does not keep it.",
			err:    step.Warning(errors.New("hm")), reply: typeReaped, gone: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, i := newBook(t)
			f.wants(wake(f, i), 200, typeSynced)
			f.takeCalls()
			f.clean = func(context.Context, *book) error { return tt.err }
			remove(f, i)
			f.wants(wake(f, i), 200, tt.reply)
			f.wantCalls("delete Dune")
			if tt.gone {
				if _, err := model.For[*book](f.Models).Get(t.Context(), i.Namespace, "a"); !apierrors.IsNotFound(err) {
					t.Errorf("\n%s\ngot %v", tt.reason, err)
				}
				return
			}
			wantStatus(f, i, tt.state)
			f.wants(wake(f, i), 200, "")
			f.wantCalls("") // The retry is not due yet.
			f.Clock.SetTime(now.Add(time.Minute))
			f.clean = nil
			f.wants(wake(f, i), 200, typeReaped)
			f.wantCalls("delete Dune")
		})
	}
}

// TestForbiddenDependents has a function that may not list a kind that can depend on its object.
func TestForbiddenDependents(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	s := save(f, f.shelf("fiction"))
	f.wants(wake(f, s), 200, typeSynced)
	f.takeCalls()
	remove(f, s)
	f.before = func(r *http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/books") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "books"}, "", errors.New("nobody has said so"))
		}
		return nil
	}
	f.wants(wake(f, s), 200, "dev.xos-knative.model.sync.failed")
	f.wantCalls("")
	// The status says what is missing, and it is tried again.
	if got := wantStatus(f, s, model.StateFailed, "books is forbidden"); got.NextAttempt == nil {
		t.Errorf("want a next attempt, got %+v", got)
	}
	f.before = nil
	f.Clock.SetTime(now.Add(time.Minute))
	f.wants(wake(f, s), 200, typeReaped)
	f.wantCalls("delete shelf")
}

// TestClockBehind has a function whose clock is behind that of the model source.
func TestClockBehind(t *testing.T) {
	t.Parallel()
	f, i := newBook(t)
	f.sync = func(context.Context, *book) (string, error) { return "", step.Deferred("later") }
	f.wants(wake(f, i), 200, typeDeferred)
	next := wantStatus(f, i, model.StateDeferred).NextAttempt.Time
	f.sync = nil
	f.takeCalls()

	event := live(f, i).WakeEvent(f.step, 1, next) // By the clock of the source.
	f.Clock.SetTime(next.Add(-step.MaxSkew - time.Millisecond))
	f.wants(f.post(event), 200, "")
	f.wantCalls("")
	f.Clock.SetTime(next.Add(-step.MaxSkew))
	f.wants(f.post(event), 200, typeSynced)
	f.wantCalls("sync Dune")
}

func TestReapedIsSentOnce(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	p := newPolicy(t, deleting{})
	p.Namespace = f.Namespace
	f.synced("fiction")
	i := save(f, f.book("a"))
	f.wants(wake(f, i), 200, typeSynced)
	p.wants(wake(p, i), 200, typePoliced)
	remove(f, i)
	// Both steps clean up at the same time: policy ends while sync runs.
	f.clean = func(context.Context, *book) error {
		p.wants(wake(p, i), 200, "")
		return nil
	}
	f.wants(wake(f, i), 200, typeReaped)
}

func TestSpecChangesWhileTheStepRuns(t *testing.T) {
	t.Parallel()
	f, i := newBook(t)
	f.sync = func(context.Context, *book) (string, error) {
		f.sync = nil
		save(f, changed(f, i, func(o *book) { o.Spec.Title = "Emma" }))
		return "", nil
	}
	f.wants(wake(f, i), 200, typeSynced)
	if got := wantStatus(f, i, model.StateOK); got.Generation != 1 {
		t.Errorf("the outcome is for the spec that the step has read, got generation %d", got.Generation)
	}
	f.wants(wake(f, i), 200, "")
	f.wantCalls("sync Dune, sync Emma")
	if got := wantStatus(f, i, model.StateOK); got.Generation != 2 {
		t.Errorf("got generation %d", got.Generation)
	}
}

func TestAnotherRunWasFaster(t *testing.T) {
	t.Run("DeletedMeanwhile", func(t *testing.T) {
		t.Parallel()
		f, i := newBook(t)
		f.sync = func(context.Context, *book) (string, error) {
			acknowledge(f, i, model.StateOK)
			remove(f, i)
			return "", errors.New("late")
		}
		f.wants(wake(f, i), 200, typeReaped)
		f.wantCalls("sync Dune, delete Dune")
	})
	t.Run("AgainWithTheNewest", func(t *testing.T) {
		t.Parallel()
		f, i := newBook(t)
		f.sync = func(context.Context, *book) (string, error) {
			f.sync = nil
			acknowledge(f, i, model.StateFailed)
			save(f, changed(f, i, func(o *book) { o.Spec.Title = "Emma" }))
			return "", nil
		}
		f.wants(wake(f, i), 200, typeSynced) // The other run has stored a failure.
		f.wantCalls("sync Dune, sync Emma")
		if got := wantStatus(f, i, model.StateOK); got.Generation != 2 {
			t.Errorf("got generation %d", got.Generation)
		}
	})
	t.Run("NoEnd", func(t *testing.T) {
		t.Parallel()
		f, i := newBook(t)
		n := 0
		f.sync = func(context.Context, *book) (string, error) {
			n++
			s := live(f, i)
			return "", f.Models.SetStep(f.Context(), s.Kind, liveObject(f, i), model.StepSync, &model.StepStatus{State: model.StateFailed, Message: fmt.Sprint(n)})
		}
		f.wants(wake(f, i), 503, "", "5 times in a row")
		f.wantCalls(strings.TrimSuffix(strings.Repeat("sync Dune, ", step.MaxRuns), ", "))
	})
}

func TestRemovedByForceWhileTheStepRuns(t *testing.T) {
	force := func(f *fixture, i *book) {
		s := changed(f, i, func(o *book) { o.Finalizers = nil })
		remove(f, save(f, s))
	}
	t.Run("Undone", func(t *testing.T) {
		t.Parallel()
		f, i := newBook(t)
		f.sync = func(context.Context, *book) (string, error) { force(f, i); return "", nil }
		f.wants(wake(f, i), 200, "")
		f.wantCalls("sync Dune, delete Dune")
	})
	t.Run("UndoneLater", func(t *testing.T) {
		t.Parallel()
		f, i := newBook(t)
		f.sync = func(context.Context, *book) (string, error) { force(f, i); return "", nil }
		f.clean = func(context.Context, *book) error { f.clean = nil; return errors.New("backend down") }
		f.wants(wake(f, i), 200, "")
		f.wantCalls("sync Dune, delete Dune, delete Dune")
	})
	t.Run("NotServed", func(t *testing.T) {
		t.Parallel()
		f, i := newBook(t)
		ran := false
		f.sync = func(context.Context, *book) (string, error) { ran = true; return "", nil }
		f.before = func(r *http.Request) error {
			if ran && strings.Contains(r.URL.Path, "/books/a") {
				r.URL.Path = strings.Replace(r.URL.Path, "/v1alpha1/", "/v1/", 1) // As if this version were no longer served.
			}
			return nil
		}
		f.wants(wake(f, i), 503, "", "could not find the requested resource")
		f.wantCalls("sync Dune") // A 404 about the kind does not mean that the object is gone.
	})
	t.Run("Recreated", func(t *testing.T) {
		t.Parallel()
		f, i := newBook(t)
		f.sync = func(context.Context, *book) (string, error) {
			f.sync = nil
			force(f, i)
			save(f, f.book("a"))
			return "", nil
		}
		f.wants(wake(f, i), 200, "")
		f.wantCalls("sync Dune, delete Dune")
		if live(f, i).Status.Sync != nil {
			t.Error("the new object was not synced")
		}
		f.wants(wake(f, i), 200, typeSynced)
		f.wantCalls("sync Dune")
	})
	t.Run("NotUndone", func(t *testing.T) {
		t.Parallel()
		f, i := newBook(t)
		f.sync = func(context.Context, *book) (string, error) { force(f, i); return "", nil }
		f.clean = func(context.Context, *book) error { return errors.New("backend down") }
		f.wants(wake(f, i), 503, "", "undoing", "backend down")
	})
	t.Run("WhileCleaning", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("fiction")
		i := f.book("a")
		i.Finalizers = []string{"example.com/keep"}
		i = save(f, i)
		f.wants(wake(f, i), 200, typeSynced)
		remove(f, i)
		f.clean = func(context.Context, *book) error {
			save(f, changed(f, i, func(o *book) { o.Finalizers = nil }))
			return errors.New("boom")
		}
		f.wants(wake(f, i), 200, "")
		f.wantCalls("sync Dune, delete Dune")
	})
}

func TestChangesBeforeTheFinalizer(t *testing.T) {
	// once calls fn before the engine's first patch, which adds the finalizer.
	once := func(f *fixture, fn func()) {
		var first sync.Once
		f.before = func(r *http.Request) error {
			if r.Method == http.MethodPatch {
				first.Do(fn)
			}
			return nil
		}
	}
	t.Run("Deleted", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("fiction")
		i := f.book("a")
		i.Finalizers = []string{"example.com/keep"}
		i = save(f, i)
		once(f, func() { remove(f, i) })
		f.wants(wake(f, i), 200, "")
		f.wantCalls("")
		if live(f, i).Carries(model.StepSync) {
			t.Error("an object that is being deleted and was never synced must get no finalizer")
		}
	})
	t.Run("Gone", func(t *testing.T) {
		t.Parallel()
		f, i := newBook(t)
		once(f, func() { remove(f, i) })
		f.wants(wake(f, i), 200, "")
		f.wantCalls("")
	})
	t.Run("Changed", func(t *testing.T) {
		t.Parallel()
		f, i := newBook(t)
		once(f, func() { save(f, changed(f, i, func(o *book) { o.Spec.Title = "Emma" })) })
		f.wants(wake(f, i), 200, typeSynced)
		f.wantCalls("sync Emma")
		if got := wantStatus(f, i, model.StateOK); got.Generation != 2 {
			t.Errorf("got generation %d", got.Generation)
		}
	})
}

func TestConcurrentEvents(t *testing.T) {
	// Not parallel: it looks at all goroutines of the process.
	f, i := newBook(t)
	release := make(chan struct{})
	f.sync = func(context.Context, *book) (string, error) { <-release; return "", nil }
	event := live(f, i).WakeEvent(model.StepSync, 1, now)

	const events = 3
	answers := make([]steptest.Answer, events)
	var wg sync.WaitGroup
	for n := range events {
		wg.Go(func() { answers[n] = f.post(event) })
	}
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return strings.Count(string(stacks), "singleflight.(*Group).Do(") == events, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	close(release)
	wg.Wait()
	f.wantCalls("sync Dune")
	replies := 0
	for _, a := range answers {
		if a.Code != 200 {
			t.Errorf("got %+v", a)
		}
		if a.Reply != nil {
			replies++
		}
	}
	if replies != 1 {
		t.Errorf("the new state must be replied once, got %d replies", replies)
	}
}

func TestChangeDuringARun(t *testing.T) {
	// Not parallel: it looks at all goroutines of the process.
	f, i := newBook(t)
	first := live(f, i).WakeEvent(model.StepSync, 1, now)
	// The second event is about a change that the first run has not read, and comes before that ends.
	second := make(chan steptest.Answer, 1)
	f.sync = func(ctx context.Context, _ *book) (string, error) {
		f.sync = nil
		i = save(f, changed(f, i, func(o *book) { o.Spec.Title = "Emma" }))
		event := live(f, i).WakeEvent(model.StepSync, 1, now)
		go func() { second <- f.post(event) }()
		return "", wait.PollUntilContextTimeout(ctx, time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			return strings.Count(string(stacks), "singleflight.(*Group).Do(") == 2, nil
		})
	}
	f.wants(f.post(first), 200, typeSynced)
	f.wants(<-second, 200, "")
	f.wantCalls("sync Dune, sync Emma")
	if got := wantStatus(f, i, model.StateOK); got.Generation != 2 {
		t.Errorf("the second event must be handled too, got generation %d", got.Generation)
	}
}

func TestSenderIsGone(t *testing.T) {
	t.Parallel()
	f, i := newBook(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.sync = func(ctx context.Context, _ *book) (string, error) { cancel(); return "", ctx.Err() }
	if _, err := f.Function.Handle(ctx, live(f, i).WakeEvent(model.StepSync, 1, now)); err != nil {
		t.Fatal(err)
	}
	wantStatus(f, i, model.StateOK) // The outcome of a step that has begun is stored.
}

func TestRequested(t *testing.T) {
	t.Parallel()
	f, i := newBook(t)
	f.wants(wake(f, i), 200, typeSynced)
	save(f, changed(f, i, func(o *book) {
		o.Annotations = map[string]string{model.AnnotationRequestedAt: "t1", model.AnnotationRequestReason: "drift"}
	}))
	f.wants(wake(f, i), 200, "")
	f.wantCalls("sync Dune, sync Dune")
	if got := wantStatus(f, i, model.StateOK, "OK, requested: drift"); got.RequestedAt != "t1" {
		t.Errorf("got %q", got.RequestedAt)
	}
	f.wants(wake(f, i), 200, "")
	f.wantCalls("")
}

func TestRefusedEvents(t *testing.T) {
	t.Parallel()
	f, good := newBook(t)
	tests := map[string]struct {
		reason string
		edit   func(*cloudevents.Event)
		says   []string
	}{
		"UnknownKind": {
			reason: "The reason names the kinds that the function knows.",
			edit: func(e *cloudevents.Event) {
				_ = e.SetData(cloudevents.ApplicationJSON, model.Reference{APIVersion: "core.xos-knative.dev/v1alpha1", Kind: "ServiceGraphConstraint", Namespace: "n", Name: "a"})
			},
			says: []string{"data.kind", "ServiceGraphConstraint.core.xos-knative.dev", "Book.library.xos-knative.dev, Shelf.library.xos-knative.dev"},
		},
		"OtherStep": {
			reason: "A Trigger without a filter sends all events.",
			edit:   func(e *cloudevents.Event) { e.SetExtension(model.ExtensionStep, "policy") },
			says:   []string{"step", "expected sync", "policy"},
		},
		"NoData": {
			reason: "The data says which object the event is about.",
			edit:   func(e *cloudevents.Event) { e.DataEncoded = nil },
			says:   []string{"data", "apiVersion"},
		},
		"Malformed": {
			reason: "The reason names the field.",
			edit: func(e *cloudevents.Event) {
				_ = e.SetData(cloudevents.ApplicationJSON, model.Reference{APIVersion: "library.xos-knative.dev/v1alpha1", Kind: "Shelf", Namespace: "n", Name: "../b"})
			},
			says: []string{"data.name", "../b"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			event := live(f, good).WakeEvent(model.StepSync, 1, now)
			tt.edit(&event)
			a := f.post(event)
			t.Log(tt.reason)
			f.wants(a, 422, "", tt.says...)
			if strings.Contains(a.Body, "\n") {
				t.Errorf("the reason must be one line, got %q", a.Body)
			}
		})
	}
	f.wantCalls("")
}

func TestEventWithoutStep(t *testing.T) {
	t.Parallel()
	f, i := newBook(t)
	f.wants(f.post(wakeOf(i)), 200, typeSynced)
}

func TestAPIDown(t *testing.T) {
	is := func(method, part string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.Path, part) }
	}
	tests := map[string]struct {
		reason string
		when   func(*http.Request) bool
		calls  string
	}{
		"Altogether": {"The object cannot be read.", func(*http.Request) bool { return true }, ""},
		"Shelf":      {"What it depends on cannot be read.", is(http.MethodGet, "shelves/"), ""},
		"Finalizer":  {"Without the finalizer the step must not be called.", is(http.MethodPatch, ""), ""},
		"Status":     {"The outcome cannot be stored.", is(http.MethodPatch, "/status"), "sync Dune"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, i := newBook(t)
			f.before = func(r *http.Request) error {
				if tt.when(r) {
					return errors.New("the API is down")
				}
				return nil
			}
			t.Log(tt.reason)
			f.wants(wake(f, i), 503, "", "the API is down")
			f.wantCalls(tt.calls)
			f.before = nil
			f.wants(wake(f, i), 200, typeSynced)
			f.wantCalls("sync Dune")
		})
	}
	t.Run("FinalizerOff", func(t *testing.T) {
		t.Parallel()
		f, i := newBook(t)
		f.wants(wake(f, i), 200, typeSynced)
		remove(f, i)
		f.takeCalls()
		f.before = func(r *http.Request) error {
			if r.Method == http.MethodPatch {
				return errors.New("the API is down")
			}
			return nil
		}
		f.wants(wake(f, i), 503, "", "removing the finalizer")
		f.before = nil
		f.wants(wake(f, i), 200, typeReaped)
		f.wantCalls("delete Dune, delete Dune") // Delete must be idempotent.
	})
}

func TestNew(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tests := map[string]struct {
		reason string
		steps  []step.Registration
		says   []string
	}{
		"None": {
			reason: "A function without a step is a mistake.",
			says:   []string{"expected at least one step"},
		},
		"Empty": {
			reason: "So is an empty registration.",
			steps:  []step.Registration{{}},
			says:   []string{"registration", "expected one made by"},
		},
		"Twice": {
			reason: "Two syncers of a kind are a mistake.",
			steps:  []step.Registration{step.Sync(f), step.Sync(f)},
			says:   []string{"Book.library.xos-knative.dev", "one sync step"},
		},
		"NoModel": {
			reason: "A step for a type that is not a model is never called.",
			steps:  []step.Registration{step.Sync(nothing{})},
			says:   []string{"not in the scheme"},
		},
		"NoType": {
			reason: "A handler without a type is never called.",
			steps:  []step.Registration{step.On(orders(nil))},
			says:   []string{"at least one type"},
		},
		"TypeTwice": {
			reason: "Two handlers of a type are a mistake.",
			steps:  []step.Registration{step.On(orders(nil), "a"), step.On(orders(nil), "b", "a")},
			says:   []string{"one handler for type a"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := step.New(t.Context(), f.Models, tt.steps)
			if err == nil {
				t.Fatal(tt.reason)
			}
			for _, text := range tt.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("the error must say %q, got %v", text, err)
				}
			}
		})
	}
}

// TestSeveralSteps has a function with all kinds of steps.
func TestSeveralSteps(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.start(step.Sync(f), step.Sync(shelfSyncer{f}),
		step.Policies(step.Policy[*book](step.PolicyFuncs[*book]{OnCreate: func(context.Context, *book) error { f.called("policy"); return nil }})),
		step.Pull(pullFunc(func(context.Context, *step.Round) error { f.called("pull"); return nil })),
		step.On(orders(func(context.Context, order) (step.EventResult, error) {
			f.called("event")
			return step.EventResult{}, nil
		}), "order"))
	f.synced("fiction")
	i := save(f, f.book("a"))

	f.wants(steptest.Wake[*book](f.World, model.StepSync, "a"), 200, typeSynced)
	f.wants(steptest.Wake[*book](f.World, model.StepPolicy, "a"), 200, "") // The event for the sync was for both.
	f.wants(f.Send(steptest.Event(step.EventPing, nil)), 200, step.EventPullCompleted)
	f.wants(f.Send(steptest.Event("order", `{"name":"a"}`)), 200, step.EventHandled)
	f.wantCalls("policy, sync Dune, pull, event")
	f.wants(f.post(wakeOf(i)), 422, "", "step: expected policy or sync")

	want := []step.Work{
		{Step: "sync", GroupKind: schema.GroupKind{Group: "library.xos-knative.dev", Kind: "Book"}},
		{Step: "sync", GroupKind: schema.GroupKind{Group: "library.xos-knative.dev", Kind: "Shelf"}},
		{Step: "policy", GroupKind: schema.GroupKind{Group: "library.xos-knative.dev", Kind: "Book"}},
		{Step: "pull", EventTypes: []string{step.EventPing}},
		{Step: "event", EventTypes: []string{"order"}},
	}
	if diff := cmp.Diff(want, f.Function.Work()); diff != "" {
		t.Errorf("what the function does: -want, +got:\n%s", diff)
	}
}

// TestDependency reads the dependency from a step.
func TestDependency(t *testing.T) {
	t.Parallel()
	f, i := newBook(t)
	f.sync = func(ctx context.Context, _ *book) (string, error) {
		s, err := step.Dependency[*shelf](ctx)
		if err != nil {
			return "", err
		}
		at, err := step.DependencyAt[*shelf](ctx, "spec.shelf.name")
		if err != nil {
			return "", err
		}
		if _, err := step.DependencyAt[*shelf](ctx, "spec.other"); err == nil || !strings.Contains(err.Error(), "spec.other") {
			return "", fmt.Errorf("a field that names no dependency: got %v", err)
		}
		if _, err := step.Dependency[*book](ctx); err == nil || !strings.Contains(err.Error(), "Book") {
			return "", fmt.Errorf("a kind that it does not depend on: got %v", err)
		}
		return s.Spec.Label + at.Name, nil
	}
	f.Requests()
	f.wants(wake(f, i), 200, typeSynced)
	if got := wantStatus(f, i, model.StateOK).Handle; got != "Fictionfiction" {
		t.Errorf("got %q", got)
	}
	if _, err := step.Dependency[*shelf](t.Context()); err == nil {
		t.Error("outside of a step there is no dependency")
	}
}

type nothingModel struct {
	corev1alpha1.ServiceGraphConstraint
}

type nothing struct{}

func (nothing) Sync(context.Context, *nothingModel) (string, error) { return "", nil }
func (nothing) Delete(context.Context, *nothingModel) error         { return nil }
