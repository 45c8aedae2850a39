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
	typeSynced   = "dev.xos-knative.model.synced"
	typeFailed   = "dev.xos-knative.model.sync.failed"
	typeDeferred = "dev.xos-knative.model.sync.deferred"
	typePoliced  = "dev.xos-knative.model.policed"
	typeNoPolicy = "dev.xos-knative.model.policy.failed"
	typeReaped   = "dev.xos-knative.model.reaped"
)

func TestLife(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	f.synced("hello")
	i := save(f, f.book("a"))
	f.sync = func(_ context.Context, obj *book) (string, error) {
		if !live(f, i).Carries(model.StepSync) {
			t.Error("the finalizer must be on before the first call to the backend")
		}
		if obj.ResourceVersion != live(f, i).ResourceVersion {
			t.Error("the step must get the object as it is, or it could not save it")
		}
		return "greeting-1", nil
	}

	a := wake(f, i)
	f.wants(a, 200, typeSynced)
	f.wantCalls("sync Dany")
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
	if status.Handle != "greeting-1" || status.Generation != 1 || !status.LastSuccess.Time.Equal(now) ||
		len(status.Dependencies) != 1 || status.Dependencies[0].Generation != 1 {
		t.Errorf("got %+v", status)
	}

	f.wants(wake(f, i), 200, "")
	f.wantCalls("") // It is not due, and the answer has no body.

	i = save(f, changed(f, i, func(o *book) { o.Spec.Title = "Arya" }))
	f.wants(wake(f, i), 200, "") // The state has not changed: no reply.
	f.wantCalls("sync Arya")
	if got := wantStatus(f, i, model.StateOK); got.Generation != 2 || got.Handle != "greeting-1" {
		t.Errorf("got %+v", got)
	}

	remove(f, i)
	f.wants(wake(f, i), 200, typeReaped)
	f.wantCalls("delete Arya")
	if _, err := model.For[*book](f.Models).Get(t.Context(), i.Namespace, "a"); !apierrors.IsNotFound(err) {
		t.Errorf("the object must be gone, got %v", err)
	}
	f.wants(f.post(wakeOf(i)), 200, "") // An event for what is gone is no error.
	f.wantCalls("")
}

// changed reads an object, changes it and gives it back.
func changed(f *fixture, obj *book, edit func(*book)) *book {
	f.Helper()
	got, err := model.For[*book](f.Models).Get(f.Context(), obj.Namespace, obj.Name)
	if err != nil {
		f.Fatal(err)
	}
	edit(got)
	return got
}

// wakeOf is a model event as a human would write it.
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
		again   string // the calls of a second event at the same time
	}{
		"Deferred": {
			reason:  "Still in progress: a retry in the source, not here.",
			sync:    func(context.Context, *book) (string, error) { return "", step.Deferred("Maybe later") },
			state:   model.StateDeferred,
			reply:   typeDeferred,
			message: "Maybe later",
			next:    true,
		},
		"Failed": {
			reason:  "A failure is answered with 200 all the same: the broker must not retry what the source does.",
			sync:    func(context.Context, *book) (string, error) { return "", errors.New("Maybe not") },
			state:   model.StateFailed,
			reply:   typeFailed,
			message: "Maybe not",
			next:    true,
		},
		"Permanent": {
			reason:  "No next attempt.",
			sync:    func(context.Context, *book) (string, error) { return "", step.Permanent(errors.New("never")) },
			state:   model.StateFailed,
			reply:   typeFailed,
			message: "never",
		},
		"Innocuous": {
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
			reason:  "So is a step that takes too long.",
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
			f := newSync(t, options...)
			f.sync = tt.sync
			f.synced("hello")
			i := save(f, f.book("a"))
			f.wants(wake(f, i), 200, tt.reply)
			f.wantCalls("sync Dany")
			if got := wantStatus(f, i, tt.state, tt.message); (got.NextAttempt != nil) != tt.next {
				t.Errorf("\n%s\ngot the next attempt %v", tt.reason, got.NextAttempt)
			}
			f.wants(wake(f, i), 200, "")
			f.wantCalls("") // Not before its time.

			if !tt.next {
				return
			}
			f.Clock.SetTime(now.Add(time.Hour))
			f.wants(wake(f, i), 200, "") // The state is the same: no reply.
			f.wantCalls("sync Dany")
		})
	}
}

func TestWaits(t *testing.T) {
	tests := map[string]struct {
		reason  string
		owner   func(*fixture)
		edit    func(*book)
		message string
		mend    func(*fixture)
	}{
		"Missing": {
			reason:  "There is no such service.",
			message: "waiting for Shelf hello, which does not exist",
			mend:    func(f *fixture) { f.synced("hello") },
		},
		"NotSynced": {
			reason:  "It is not synced yet.",
			owner:   func(f *fixture) { save(f, f.shelf("hello")) },
			message: "waiting for Shelf hello, which is not synced yet",
			mend:    func(f *fixture) { acknowledge(f, f.shelf("hello"), model.StateOK) },
		},
		"Failed": {
			reason: "Its sync failed.",
			owner: func(f *fixture) {
				acknowledge(f, save(f, f.shelf("hello")), model.StateFailed)
			},
			message: "waiting for Shelf hello, whose sync failed",
			mend:    func(f *fixture) { acknowledge(f, f.shelf("hello"), model.StateOK) },
		},
		"Deleting": {
			reason: "It is being deleted.",
			owner: func(f *fixture) {
				s := f.shelf("hello")
				s.Finalizers = []string{"example.com/keep"}
				remove(f, save(f, s))
			},
			message: "waiting for Shelf hello, which is being deleted",
			mend: func(f *fixture) {
				s, err := model.For[*shelf](f.Models).Get(f.Context(), f.Namespace, "hello")
				if err != nil {
					f.Fatal(err)
				}
				s.Finalizers = nil
				save(f, s)
				f.synced("hello")
			},
		},
		"Unset": {
			reason:  "No service is named.",
			edit:    func(i *book) { i.Spec.Shelf = nil },
			message: "waiting for Shelf, which the spec does not name yet",
			mend: func(f *fixture) {
				f.synced("hello")
				save(f, f.book("a"))
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newSync(t)
			if tt.owner != nil {
				tt.owner(f)
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
				t.Error("nothing was begun, so there is nothing to clean up")
			}

			version := live(f, i).ResourceVersion
			f.wants(wake(f, i), 200, "")
			if live(f, i).ResourceVersion != version {
				t.Error("a wait must be recorded once")
			}
			f.wantCalls("")

			tt.mend(f)
			f.wants(wake(f, i), 200, typeSynced)
			f.wantCalls("sync Dany")
			wantStatus(f, i, model.StateOK)
		})
	}
}

func TestOwnerChanges(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	hello := f.synced("hello")
	i := save(f, f.book("a"))
	f.wants(wake(f, i), 200, typeSynced)

	save(f, func() *shelf { s := f.shelf("hello"); s.Spec.Label = "Arya Stark"; return s }())
	f.wants(wake(f, i), 200, "")
	wantStatus(f, i, model.StateWaiting, "hello, which is not synced yet")
	f.wants(wake(f, hello), 200, "")
	f.wants(wake(f, i), 200, typeSynced)
	if got := wantStatus(f, i, model.StateOK); got.Dependencies[0].Generation != 2 {
		t.Errorf("got %+v", got.Dependencies)
	}
	f.wantCalls("sync Dany, sync shelf, sync Dany")
}

func TestDeletionOrder(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	hello := save(f, f.shelf("hello"))
	f.wants(wake(f, hello), 200, typeSynced)
	i := save(f, f.book("a"))
	f.wants(wake(f, i), 200, typeSynced)
	f.took()

	remove(f, hello)
	f.wants(wake(f, hello), 200, "")
	wantStatus(f, hello, model.StateWaiting, "waiting for Book a, which still depends on it")
	f.wantCalls("")
	remove(f, i)
	f.wants(wake(f, i), 200, typeReaped)
	f.wants(wake(f, hello), 200, typeReaped)
	f.wantCalls("delete Dany, delete shelf")
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
			reason: "A clean-up that failed keeps the object.",
			err:    errors.New("boom"), reply: typeFailed, state: model.StateFailed,
		},
		"Deferred": {
			reason: "So does one in progress.",
			err:    step.Deferred("wait"), reply: typeDeferred, state: model.StateDeferred,
		},
		"Innocuous": {
			reason: "A warning is no reason to keep it.",
			err:    step.Warning(errors.New("hm")), reply: typeReaped, gone: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newSync(t)
			f.synced("hello")
			i := save(f, f.book("a"))
			f.wants(wake(f, i), 200, typeSynced)
			f.took()
			f.clean = func(context.Context, *book) error { return tt.err }
			remove(f, i)
			f.wants(wake(f, i), 200, tt.reply)
			f.wantCalls("delete Dany")
			if tt.gone {
				if _, err := model.For[*book](f.Models).Get(t.Context(), i.Namespace, "a"); !apierrors.IsNotFound(err) {
					t.Errorf("\n%s\ngot %v", tt.reason, err)
				}
				return
			}
			wantStatus(f, i, tt.state)
			f.wants(wake(f, i), 200, "")
			f.wantCalls("") // Not before its time.
			f.Clock.SetTime(now.Add(time.Minute))
			f.clean = nil
			f.wants(wake(f, i), 200, typeReaped)
			f.wantCalls("delete Dany")
		})
	}
}

// TestForbiddenDependents has a function lack the right to see what may depend on its object.
func TestForbiddenDependents(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	s := save(f, f.shelf("hello"))
	f.wants(wake(f, s), 200, typeSynced)
	f.took()
	remove(f, s)
	f.before = func(r *http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/books") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "books"}, "", errors.New("nobody has said so"))
		}
		return nil
	}
	f.wants(wake(f, s), 200, "dev.xos-knative.model.sync.failed")
	f.wantCalls("")
	// What is missing must be seen, and looked for again.
	if got := wantStatus(f, s, model.StateFailed, "books is forbidden"); got.NextAttempt == nil {
		t.Errorf("want a next attempt, got %+v", got)
	}
	f.before = nil
	f.Clock.SetTime(now.Add(time.Minute))
	f.wants(wake(f, s), 200, typeReaped)
	f.wantCalls("delete shelf")
}

// TestClockBehind has the clock of the function's node be behind that of the model source's.
func TestClockBehind(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	f.synced("hello")
	i := save(f, f.book("a"))
	f.sync = func(context.Context, *book) (string, error) { return "", step.Deferred("later") }
	f.wants(wake(f, i), 200, typeDeferred)
	next := wantStatus(f, i, model.StateDeferred).NextAttempt.Time
	f.sync = nil
	f.took()

	f.Clock.SetTime(next.Add(-step.MaxSkew - time.Millisecond))
	f.wants(wake(f, i), 200, "")
	f.wantCalls("")
	f.Clock.SetTime(next.Add(-step.MaxSkew))
	f.wants(wake(f, i), 200, typeSynced)
	f.wantCalls("sync Dany")
}

func TestReapedIsToldOnce(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	p := newPolicy(t, deleting{})
	p.Namespace = f.Namespace
	f.synced("hello")
	i := save(f, f.book("a"))
	f.wants(wake(f, i), 200, typeSynced)
	p.wants(wake(p, i), 200, typePoliced)
	remove(f, i)
	// Both steps clean up at the same time: when sync has begun, policy ends.
	f.clean = func(context.Context, *book) error {
		p.wants(wake(p, i), 200, "")
		return nil
	}
	f.wants(wake(f, i), 200, typeReaped)
}

func TestSpecChangesWhileTheStepRuns(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	f.synced("hello")
	i := save(f, f.book("a"))
	f.sync = func(context.Context, *book) (string, error) {
		f.sync = nil
		save(f, changed(f, i, func(o *book) { o.Spec.Title = "Arya" }))
		return "", nil
	}
	f.wants(wake(f, i), 200, typeSynced)
	if got := wantStatus(f, i, model.StateOK); got.Generation != 1 {
		t.Errorf("the outcome is that of the spec the step has seen, got generation %d", got.Generation)
	}
	f.wants(wake(f, i), 200, "")
	f.wantCalls("sync Dany, sync Arya")
	if got := wantStatus(f, i, model.StateOK); got.Generation != 2 {
		t.Errorf("got generation %d", got.Generation)
	}
}

func TestAnotherRunWasFaster(t *testing.T) {
	t.Run("NothingLeft", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.book("a"))
		f.sync = func(context.Context, *book) (string, error) {
			acknowledge(f, i, model.StateOK)
			return "", errors.New("late")
		}
		f.wants(wake(f, i), 200, "")
		f.wantCalls("sync Dany")
		wantStatus(f, i, model.StateOK, "by another run")
	})
	t.Run("AgainOnTheNewest", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.book("a"))
		f.sync = func(context.Context, *book) (string, error) {
			f.sync = nil
			acknowledge(f, i, model.StateFailed)
			save(f, changed(f, i, func(o *book) { o.Spec.Title = "Arya" }))
			return "", nil
		}
		f.wants(wake(f, i), 200, typeSynced) // The other run had stored a failure.
		f.wantCalls("sync Dany, sync Arya")
		if got := wantStatus(f, i, model.StateOK); got.Generation != 2 {
			t.Errorf("got generation %d", got.Generation)
		}
	})
	t.Run("NoEnd", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.book("a"))
		n := 0
		f.sync = func(context.Context, *book) (string, error) {
			n++
			s := live(f, i)
			return "", f.Models.SetStep(f.Context(), s.Kind, liveObject(f, i), model.StepSync, &model.StepStatus{State: model.StateFailed, Message: fmt.Sprint(n)})
		}
		f.wants(wake(f, i), 503, "", "5 times in a row")
		f.wantCalls(strings.TrimSuffix(strings.Repeat("sync Dany, ", step.MaxRuns), ", "))
	})
}

func TestRemovedByForceWhileTheStepRuns(t *testing.T) {
	force := func(f *fixture, i *book) {
		s := changed(f, i, func(o *book) { o.Finalizers = nil })
		remove(f, save(f, s))
	}
	t.Run("Undone", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.book("a"))
		f.sync = func(context.Context, *book) (string, error) { force(f, i); return "", nil }
		f.wants(wake(f, i), 200, "")
		f.wantCalls("sync Dany, delete Dany")
	})
	t.Run("UndoneLater", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.book("a"))
		f.sync = func(context.Context, *book) (string, error) { force(f, i); return "", nil }
		f.clean = func(context.Context, *book) error { f.clean = nil; return errors.New("backend down") }
		f.wants(wake(f, i), 200, "")
		f.wantCalls("sync Dany, delete Dany, delete Dany")
	})
	t.Run("NotServed", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.book("a"))
		ran := false
		f.sync = func(context.Context, *book) (string, error) { ran = true; return "", nil }
		f.before = func(r *http.Request) error {
			if ran && strings.Contains(r.URL.Path, "/books/a") {
				r.URL.Path = strings.Replace(r.URL.Path, "/v1alpha1/", "/v1/", 1) // As if that version were served no longer.
			}
			return nil
		}
		f.wants(wake(f, i), 503, "", "could not find the requested resource")
		f.wantCalls("sync Dany") // A 404 for the kind does not say that the object is gone.
	})
	t.Run("Recreated", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.book("a"))
		f.sync = func(context.Context, *book) (string, error) {
			f.sync = nil
			force(f, i)
			save(f, f.book("a"))
			return "", nil
		}
		f.wants(wake(f, i), 200, "")
		f.wantCalls("sync Dany, delete Dany")
		if live(f, i).Status.Sync != nil {
			t.Error("the new object was not synced")
		}
		f.wants(wake(f, i), 200, typeSynced)
		f.wantCalls("sync Dany")
	})
	t.Run("NotUndone", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.book("a"))
		f.sync = func(context.Context, *book) (string, error) { force(f, i); return "", nil }
		f.clean = func(context.Context, *book) error { return errors.New("backend down") }
		f.wants(wake(f, i), 503, "", "undoing", "backend down")
	})
	t.Run("WhileCleaning", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
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
		f.wantCalls("sync Dany, delete Dany")
	})
}

func TestChangesBeforeTheFinalizer(t *testing.T) {
	// once calls fn before the engine's first patch, which puts the finalizer on.
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
		f.synced("hello")
		i := f.book("a")
		i.Finalizers = []string{"example.com/keep"}
		i = save(f, i)
		once(f, func() { remove(f, i) })
		f.wants(wake(f, i), 200, "")
		f.wantCalls("")
		if live(f, i).Carries(model.StepSync) {
			t.Error("what is being deleted and was never synced must not be held up")
		}
	})
	t.Run("Gone", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.book("a"))
		once(f, func() { remove(f, i) })
		f.wants(wake(f, i), 200, "")
		f.wantCalls("")
	})
	t.Run("Changed", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.book("a"))
		once(f, func() { save(f, changed(f, i, func(o *book) { o.Spec.Title = "Arya" })) })
		f.wants(wake(f, i), 200, typeSynced)
		f.wantCalls("sync Arya")
		if got := wantStatus(f, i, model.StateOK); got.Generation != 2 {
			t.Errorf("got generation %d", got.Generation)
		}
	})
}

func TestConcurrentEvents(t *testing.T) {
	// Not parallel: it looks at all goroutines of the process.
	f := newSync(t)
	f.synced("hello")
	i := save(f, f.book("a"))
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
	f.wantCalls("sync Dany")
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
		t.Errorf("the new state must be told once, it was told %d times", replies)
	}
}

func TestChangeDuringARun(t *testing.T) {
	// Not parallel: it looks at all goroutines of the process.
	f := newSync(t)
	f.synced("hello")
	i := save(f, f.book("a"))
	first := live(f, i).WakeEvent(model.StepSync, 1, now)
	// The second event tells of a change that the first run has not seen, and
	// arrives before that has ended.
	second := make(chan steptest.Answer, 1)
	f.sync = func(ctx context.Context, _ *book) (string, error) {
		f.sync = nil
		i = save(f, changed(f, i, func(o *book) { o.Spec.Title = "Arya" }))
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
	f.wantCalls("sync Dany, sync Arya")
	if got := wantStatus(f, i, model.StateOK); got.Generation != 2 {
		t.Errorf("the second event has to be handled too, got generation %d", got.Generation)
	}
}

func TestSenderIsGone(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	f.synced("hello")
	i := save(f, f.book("a"))
	ctx, cancel := context.WithCancel(t.Context())
	f.sync = func(ctx context.Context, _ *book) (string, error) { cancel(); return "", ctx.Err() }
	if _, err := f.Function.Handle(ctx, live(f, i).WakeEvent(model.StepSync, 1, now)); err != nil {
		t.Fatal(err)
	}
	wantStatus(f, i, model.StateOK) // A step that has begun gets its outcome stored.
}

func TestRequested(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	f.synced("hello")
	i := save(f, f.book("a"))
	f.wants(wake(f, i), 200, typeSynced)
	save(f, changed(f, i, func(o *book) {
		o.Annotations = map[string]string{model.AnnotationRequestedAt: "t1", model.AnnotationRequestReason: "drift"}
	}))
	f.wants(wake(f, i), 200, "")
	f.wantCalls("sync Dany, sync Dany")
	if got := wantStatus(f, i, model.StateOK, "OK, requested: drift"); got.RequestedAt != "t1" {
		t.Errorf("got %q", got.RequestedAt)
	}
	f.wants(wake(f, i), 200, "")
	f.wantCalls("")
}

func TestRefusedEvents(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	f.synced("hello")
	good := save(f, f.book("a"))
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
			reason: "A Trigger without the filter would send everything.",
			edit:   func(e *cloudevents.Event) { e.SetExtension(model.ExtensionStep, "policy") },
			says:   []string{"step", "expected sync", "policy"},
		},
		"NoData": {
			reason: "The data says what it is about.",
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

func TestNoStepAttributeIsNeeded(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	f.synced("hello")
	f.wants(f.post(wakeOf(save(f, f.book("a")))), 200, typeSynced)
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
		"Owner":      {"What it depends on cannot be read.", is(http.MethodGet, "shelves/"), ""},
		"Finalizer":  {"Without the finalizer the step must not be called.", is(http.MethodPatch, ""), ""},
		"Status":     {"The outcome cannot be stored.", is(http.MethodPatch, "/status"), "sync Dany"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newSync(t)
			f.synced("hello")
			i := save(f, f.book("a"))
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
			f.wantCalls("sync Dany")
		})
	}
	t.Run("FinalizerOff", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.book("a"))
		f.wants(wake(f, i), 200, typeSynced)
		remove(f, i)
		f.took()
		f.before = func(r *http.Request) error {
			if r.Method == http.MethodPatch {
				return errors.New("the API is down")
			}
			return nil
		}
		f.wants(wake(f, i), 503, "", "removing the finalizer")
		f.before = nil
		f.wants(wake(f, i), 200, typeReaped)
		f.wantCalls("delete Dany, delete Dany") // It must be idempotent.
	})
}

func TestPolicies(t *testing.T) {
	record := func(f **fixture, name string, err *error) deleting {
		note := func(what string) func(context.Context, *book) error {
			return func(_ context.Context, obj *book) error {
				(*f).called(name + " " + what + " " + obj.Spec.Title)
				obj.Spec.Title = "changed by " + name // Each has a copy of its own.
				return *err
			}
		}
		return deleting{step.PolicyFuncs[*book]{OnCreate: note("create"), OnUpdate: note("update")}, note("delete")}
	}

	t.Run("Life", func(t *testing.T) {
		t.Parallel()
		var f *fixture
		var one, two error
		f = newPolicy(t, record(&f, "one", &one), record(&f, "two", &two))
		i := save(f, f.book("a"))

		one = errors.New("not yet")
		f.wants(wake(f, i), 200, typeNoPolicy)
		f.wantCalls("one create Dany, two create Dany")
		wantStatus(f, i, model.StateFailed, "not yet")

		// Create until the first success, also for a changed spec.
		save(f, changed(f, i, func(o *book) { o.Spec.Title = "Arya" }))
		one = nil
		f.wants(wake(f, i), 200, typePoliced)
		f.wantCalls("one create Arya, two create Arya")

		save(f, changed(f, i, func(o *book) { o.Spec.Title = "Sansa" }))
		two = step.Warning(errors.New("hm"))
		f.wants(wake(f, i), 200, "")
		f.wantCalls("one update Sansa, two update Sansa")
		wantStatus(f, i, model.StateOK, "hm")

		two = nil
		remove(f, i)
		f.wants(wake(f, i), 200, typeReaped)
		f.wantCalls("one delete Sansa, two delete Sansa")
	})
	t.Run("PanicDoesNotHideTheOthers", func(t *testing.T) {
		t.Parallel()
		var f *fixture
		var none error
		f = newPolicy(t, step.PolicyFuncs[*book]{OnCreate: func(context.Context, *book) error { panic("oops") }}, record(&f, "two", &none))
		i := save(f, f.book("a"))
		f.wants(wake(f, i), 200, typeNoPolicy)
		f.wantCalls("two create Dany")
		wantStatus(f, i, model.StateFailed, "panic: oops")
	})
	t.Run("WaitForOne", func(t *testing.T) {
		t.Parallel()
		var f *fixture
		f = newPolicy(t, step.PolicyFuncs[*book]{OnCreate: func(_ context.Context, obj *book) error {
			f.called("create")
			if list, err := model.For[*shelf](f.Models).List(f.Context(), obj.Namespace, model.Filter{}); err != nil || len(list) != 1 {
				return errors.Join(err, step.WaitForOne("Shelf", fmt.Sprintf("found %d", len(list))))
			}
			return nil
		}})
		i := f.book("a")
		i.Spec.Shelf = nil
		i = save(f, i)
		f.wants(wake(f, i), 200, "")
		wantStatus(f, i, model.StateWaiting, "found 0")
		f.wants(wake(f, i), 200, "")
		f.wantCalls("create")
		save(f, f.shelf("hello"))
		f.wants(wake(f, i), 200, typePoliced)
		f.wantCalls("create")
	})
	t.Run("SavesItsOwnObject", func(t *testing.T) {
		t.Parallel()
		var f *fixture
		f = newPolicy(t, step.PolicyFuncs[*book]{OnCreate: func(ctx context.Context, obj *book) error {
			obj.Spec.Title = "Arya"
			_, _, err := model.For[*book](f.Models).Update(ctx, obj)
			return err
		}})
		i := save(f, f.book("a"))
		f.wants(wake(f, i), 200, typePoliced)
		got := changed(f, i, func(*book) {})
		if got.Spec.Title != "Arya" || got.Generation != 2 || got.Status.Policy.Generation != 1 {
			t.Errorf("got %+v", got)
		}
		f.wants(wake(f, i), 200, "") // Now for its own change, which changes nothing.
		if got := wantStatus(f, i, model.StateOK); got.Generation != 2 {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("DeletesItsOwnObject", func(t *testing.T) {
		t.Parallel()
		var f *fixture
		f = newPolicy(t, deleting{
			step.PolicyFuncs[*book]{OnCreate: func(ctx context.Context, obj *book) error {
				return model.For[*book](f.Models).Delete(ctx, obj)
			}},
			func(context.Context, *book) error { f.called("delete"); return nil },
		})
		i := save(f, f.book("a"))
		f.wants(wake(f, i), 200, typePoliced)
		f.wants(wake(f, i), 200, typeReaped)
		f.wantCalls("delete")
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
			reason: "So is a registration that nobody has filled in.",
			steps:  []step.Registration{{}},
			says:   []string{"registration", "expected one made by"},
		},
		"Twice": {
			reason: "Which of two syncers works for a kind?",
			steps:  []step.Registration{step.Sync(f), step.Sync(f)},
			says:   []string{"Book.library.xos-knative.dev", "one sync step"},
		},
		"NoModel": {
			reason: "A step for what is no model is never called.",
			steps:  []step.Registration{step.Sync(nothing{})},
			says:   []string{"not in the scheme"},
		},
		"TwoPulls": {
			reason: "Which of two rounds does a tick mean?",
			steps:  []step.Registration{step.Pull(pullFunc(nil)), step.Pull(pullFunc(nil))},
			says:   []string{"pull", "expected one"},
		},
		"NoType": {
			reason: "A handler without a type is never called.",
			steps:  []step.Registration{step.On(orders(nil))},
			says:   []string{"at least one type"},
		},
		"TypeTwice": {
			reason: "Which of two handlers works for a type?",
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

// TestSeveralSteps has one function do everything.
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
	f.synced("hello")
	i := save(f, f.book("a"))

	f.wants(steptest.Wake[*book](f.World, model.StepSync, "a"), 200, typeSynced)
	f.wants(steptest.Wake[*book](f.World, model.StepPolicy, "a"), 200, typePoliced)
	f.wants(f.Send(steptest.Event(step.EventPing, nil)), 200, step.EventPullCompleted)
	f.wants(f.Send(steptest.Event("order", `{"name":"a"}`)), 200, step.EventHandled)
	f.wantCalls("sync Dany, policy, pull, event")
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

// TestRequests counts what a run asks of the API.
func TestRequests(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		given  func(*fixture)
		want   []string
	}{
		"First": {
			reason: "A first sync reads the object and what it depends on, puts its finalizer on, and writes one status.",
			want:   []string{"GET books/a", "GET shelves/hello", "PATCH books/a", "PATCH books/a/status"},
		},
		"Later": {
			reason: "A later one has its finalizer.",
			given: func(f *fixture) {
				f.wants(wake(f, f.book("a")), 200, typeSynced)
				save(f, changed(f, f.book("a"), func(o *book) { o.Spec.Title = "Arya" }))
			},
			want: []string{"GET books/a", "GET shelves/hello", "PATCH books/a/status"},
		},
		"NotDue": {
			reason: "An event for nothing costs the reads.",
			given:  func(f *fixture) { f.wants(wake(f, f.book("a")), 200, typeSynced) },
			want:   []string{"GET books/a", "GET shelves/hello"},
		},
		"Deleted": {
			reason: "A clean-up reads the object, looks for what depends on it (nothing can), and lets go.",
			given: func(f *fixture) {
				f.wants(wake(f, f.book("a")), 200, typeSynced)
				remove(f, f.book("a"))
			},
			want: []string{"GET books/a", "PATCH books/a"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newSync(t)
			f.synced("hello")
			save(f, f.book("a"))
			if tt.given != nil {
				tt.given(f)
			}
			event := live(f, f.book("a")).WakeEvent(model.StepSync, 1, now)
			f.Requests()
			f.post(event)
			if diff := cmp.Diff(tt.want, f.Requests()); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tt.reason, diff)
			}
		})
	}
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

// TestTwoStepsAtOnce has both steps of a new object run at the same time.
func TestTwoStepsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sync, policy := make(chan struct{}), make(chan struct{})
	f.sync = func(context.Context, *book) (string, error) { close(sync); <-policy; return "", nil }
	f.start(step.Sync(f), step.Sync(shelfSyncer{f}), step.Policies(step.Policy[*book](step.PolicyFuncs[*book]{OnCreate: func(context.Context, *book) error {
		<-sync // Both have read the object, and none has stored anything.
		return nil
	}})))
	f.synced("hello")
	i := save(f, f.book("a"))
	events := []cloudevents.Event{live(f, i).WakeEvent(model.StepSync, 1, now), live(f, i).WakeEvent(model.StepPolicy, 1, now)}
	f.Requests()
	done := make(chan steptest.Answer)
	go func() { done <- f.post(events[0]) }()
	f.wants(f.post(events[1]), 200, typePoliced)
	close(policy)
	f.wants(<-done, 200, typeSynced)

	// One status for each step, and one more for the conditions, which the second could not know.
	want := []string{"GET books/a", "GET books/a", "GET shelves/hello", "PATCH books/a", "PATCH books/a/status", "PATCH books/a/status", "PATCH books/a/status"}
	if diff := cmp.Diff(want, f.Requests()); diff != "" {
		t.Errorf("no write conflicts: -want, +got:\n%s", diff)
	}
	got := live(f, i)
	if !got.Status.GetCondition(model.ConditionReady).IsTrue() || got.Status.ObservedGeneration != 1 {
		t.Errorf("both steps are done: got %+v", got.Status)
	}
}

// TestDependency hands the step what the engine has read.
func TestDependency(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	f.synced("hello")
	i := save(f, f.book("a"))
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
	if got := wantStatus(f, i, model.StateOK).Handle; got != "Jhon Snowhello" {
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
