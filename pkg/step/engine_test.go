package step

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
	"testing/synctest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"

	corev1alpha1 "github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
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
	i := save(f, f.instance("a"))
	f.sync = func(_ context.Context, obj *instance) (string, error) {
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
	if err := json.Unmarshal(a.reply.Data(), &data); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"apiVersion": "helloworld.xos-knative.dev/v1alpha1", "kind": "HelloWorldServiceInstance", "namespace": i.Namespace,
		"name": "a", "uid": string(i.UID), "generation": 1.0, "state": "OK", "message": "OK"}
	if diff := cmp.Diff(want, data); diff != "" {
		t.Errorf("the reply's data: -want, +got:\n%s", diff)
	}
	if a.reply.Subject() != "a" || !a.reply.Time().Equal(now) || a.reply.Extensions()[model.ExtensionKind] != "HelloWorldServiceInstance" {
		t.Errorf("got the reply %s", a.reply)
	}
	status := wantStatus(f, i, model.StateOK)
	if status.Handle != "greeting-1" || status.Generation != 1 || !status.LastSuccess.Time.Equal(now) ||
		len(status.Dependencies) != 1 || status.Dependencies[0].Generation != 1 {
		t.Errorf("got %+v", status)
	}

	f.wants(wake(f, i), 200, "")
	f.wantCalls("") // It is not due, and the answer has no body.

	i = save(f, changed(f, i, func(o *instance) { o.Spec.HelloTo = "Arya" }))
	f.wants(wake(f, i), 200, "") // The state has not changed: no reply.
	f.wantCalls("sync Arya")
	if got := wantStatus(f, i, model.StateOK); got.Generation != 2 || got.Handle != "greeting-1" {
		t.Errorf("got %+v", got)
	}

	remove(f, i)
	f.wants(wake(f, i), 200, typeReaped)
	f.wantCalls("delete Arya")
	if _, err := model.For[*instance](f.models).Get(t.Context(), i.Namespace, "a"); !apierrors.IsNotFound(err) {
		t.Errorf("the object must be gone, got %v", err)
	}
	f.wants(f.post(wakeOf(i)), 200, "") // An event for what is gone is no error.
	f.wantCalls("")
}

// changed reads an object, changes it and gives it back.
func changed(f *fixture, obj *instance, edit func(*instance)) *instance {
	f.Helper()
	got, err := model.For[*instance](f.models).Get(f.Context(), obj.Namespace, obj.Name)
	if err != nil {
		f.Fatal(err)
	}
	edit(got)
	return got
}

// wakeOf is a model event as a human would write it.
func wakeOf(obj *instance) cloudevents.Event {
	event := cloudevents.NewEvent()
	event.SetID("1")
	event.SetType(model.EventUpdated)
	event.SetSource("test")
	_ = event.SetData(cloudevents.ApplicationJSON, map[string]any{
		"apiVersion": "helloworld.xos-knative.dev/v1alpha1", "kind": "HelloWorldServiceInstance", "namespace": obj.Namespace, "name": obj.Name})
	return event
}

func TestStepReturns(t *testing.T) {
	tests := map[string]struct {
		reason  string
		sync    func(ctx context.Context, obj *instance) (string, error)
		state   model.State
		reply   string
		message string
		next    bool
		again   string // the calls of a second event at the same time
	}{
		"Deferred": {
			reason:  "Still in progress: a retry in the source, not here.",
			sync:    func(context.Context, *instance) (string, error) { return "", Deferred("Maybe later") },
			state:   model.StateDeferred,
			reply:   typeDeferred,
			message: "Maybe later",
			next:    true,
		},
		"Failed": {
			reason:  "A failure is answered with 200 all the same: the broker must not retry what the source does.",
			sync:    func(context.Context, *instance) (string, error) { return "", errors.New("Maybe not") },
			state:   model.StateFailed,
			reply:   typeFailed,
			message: "Maybe not",
			next:    true,
		},
		"Permanent": {
			reason:  "No next attempt.",
			sync:    func(context.Context, *instance) (string, error) { return "", Permanent(errors.New("never")) },
			state:   model.StateFailed,
			reply:   typeFailed,
			message: "never",
		},
		"Innocuous": {
			reason:  "Done, with a warning.",
			sync:    func(context.Context, *instance) (string, error) { return "", Innocuous(errors.New("hm")) },
			state:   model.StateOK,
			reply:   typeSynced,
			message: "hm",
			next:    true,
		},
		"Panic": {
			reason:  "A panic is a failure like any other.",
			sync:    func(context.Context, *instance) (string, error) { panic("oops") },
			state:   model.StateFailed,
			reply:   typeFailed,
			message: "panic: oops",
			next:    true,
		},
		"Deadline": {
			reason:  "So is a step that takes too long.",
			sync:    func(ctx context.Context, _ *instance) (string, error) { <-ctx.Done(); return "", ctx.Err() },
			state:   model.StateFailed,
			reply:   typeFailed,
			message: "deadline exceeded",
			next:    true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var options []Option
			if name == "Deadline" {
				options = append(options, WithDeadline(50*time.Millisecond))
			}
			f := newSync(t, options...)
			f.sync = tt.sync
			f.synced("hello")
			i := save(f, f.instance("a"))
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
			f.clock.SetTime(now.Add(time.Hour))
			f.wants(wake(f, i), 200, "") // The state is the same: no reply.
			f.wantCalls("sync Dany")
		})
	}
}

func TestDeadlineIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		begin := time.Now()
		_, err := call(t.Context(), Deadline, func(context.Context) (string, error) { <-release; return "late", nil })
		if err == nil || !strings.Contains(err.Error(), "did not end within 25s") {
			t.Errorf("a step that does not heed its context must not hold up the function, got %v", err)
		}
		if took := time.Since(begin); took != Deadline+time.Second {
			t.Errorf("want its deadline and a second of grace, got %v", took)
		}
		close(release)

		// One that ends within the grace is heard.
		handle, err := call(t.Context(), Deadline, func(ctx context.Context) (string, error) {
			<-ctx.Done()
			time.Sleep(time.Second / 2)
			return "just", nil
		})
		if handle != "just" || err != nil {
			t.Errorf("got %q, %v", handle, err)
		}
	})
}

func TestWaits(t *testing.T) {
	tests := map[string]struct {
		reason  string
		owner   func(*fixture)
		edit    func(*instance)
		message string
		mend    func(*fixture)
	}{
		"Missing": {
			reason:  "There is no such service.",
			message: "waiting for HelloWorldService hello, which does not exist",
			mend:    func(f *fixture) { f.synced("hello") },
		},
		"NotSynced": {
			reason:  "It is not synced yet.",
			owner:   func(f *fixture) { save(f, f.service("hello")) },
			message: "waiting for HelloWorldService hello, which is not synced yet",
			mend:    func(f *fixture) { f.acknowledge(live(f, f.service("hello")), model.StepSync, model.StateOK) },
		},
		"Failed": {
			reason: "Its sync failed.",
			owner: func(f *fixture) {
				f.acknowledge(live(f, save(f, f.service("hello"))), model.StepSync, model.StateFailed)
			},
			message: "waiting for HelloWorldService hello, whose sync failed",
			mend:    func(f *fixture) { f.acknowledge(live(f, f.service("hello")), model.StepSync, model.StateOK) },
		},
		"Deleting": {
			reason: "It is being deleted.",
			owner: func(f *fixture) {
				s := f.service("hello")
				s.Finalizers = []string{"example.com/keep"}
				remove(f, save(f, s))
			},
			message: "waiting for HelloWorldService hello, which is being deleted",
			mend: func(f *fixture) {
				s, err := model.For[*service](f.models).Get(f.Context(), f.namespace, "hello")
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
			edit:    func(i *instance) { i.Spec.Owner = nil },
			message: "waiting for HelloWorldService, which the spec does not name yet",
			mend: func(f *fixture) {
				f.synced("hello")
				save(f, f.instance("a"))
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
			i := f.instance("a")
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
	i := save(f, f.instance("a"))
	f.wants(wake(f, i), 200, typeSynced)

	save(f, func() *service { s := f.service("hello"); s.Spec.HelloFrom = "Arya Stark"; return s }())
	f.wants(wake(f, i), 200, "")
	wantStatus(f, i, model.StateWaiting, "hello, which is not synced yet")
	f.wants(wake(f, hello), 200, "")
	f.wants(wake(f, i), 200, typeSynced)
	if got := wantStatus(f, i, model.StateOK); got.Dependencies[0].Generation != 2 {
		t.Errorf("got %+v", got.Dependencies)
	}
	f.wantCalls("sync Dany, sync service, sync Dany")
}

func TestDeletionOrder(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	hello := save(f, f.service("hello"))
	f.wants(wake(f, hello), 200, typeSynced)
	i := save(f, f.instance("a"))
	f.wants(wake(f, i), 200, typeSynced)
	f.took()

	remove(f, hello)
	f.wants(wake(f, hello), 200, "")
	wantStatus(f, hello, model.StateWaiting, "waiting for HelloWorldServiceInstance a, which still depends on it")
	f.wantCalls("")
	remove(f, i)
	f.wants(wake(f, i), 200, typeReaped)
	f.wants(wake(f, hello), 200, typeReaped)
	f.wantCalls("delete Dany, delete service")
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
			err:    Deferred("wait"), reply: typeDeferred, state: model.StateDeferred,
		},
		"Innocuous": {
			reason: "A warning is no reason to keep it.",
			err:    Innocuous(errors.New("hm")), reply: typeReaped, gone: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newSync(t)
			f.synced("hello")
			i := save(f, f.instance("a"))
			f.wants(wake(f, i), 200, typeSynced)
			f.took()
			f.clean = func(context.Context, *instance) error { return tt.err }
			remove(f, i)
			f.wants(wake(f, i), 200, tt.reply)
			f.wantCalls("delete Dany")
			if tt.gone {
				if _, err := model.For[*instance](f.models).Get(t.Context(), i.Namespace, "a"); !apierrors.IsNotFound(err) {
					t.Errorf("\n%s\ngot %v", tt.reason, err)
				}
				return
			}
			wantStatus(f, i, tt.state)
			f.wants(wake(f, i), 200, "")
			f.wantCalls("") // Not before its time.
			f.clock.SetTime(now.Add(time.Minute))
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
	s := save(f, f.service("hello"))
	f.wants(wake(f, s), 200, typeSynced)
	f.took()
	remove(f, s)
	f.before = func(r *http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/helloworldserviceinstances") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "helloworldserviceinstances"}, "", errors.New("nobody has said so"))
		}
		return nil
	}
	f.wants(wake(f, s), 200, "dev.xos-knative.model.sync.failed")
	f.wantCalls("")
	// What is missing must be seen, and looked for again.
	if got := wantStatus(f, s, model.StateFailed, "helloworldserviceinstances is forbidden"); got.NextAttempt == nil {
		t.Errorf("want a next attempt, got %+v", got)
	}
	f.before = nil
	f.clock.SetTime(now.Add(time.Minute))
	f.wants(wake(f, s), 200, typeReaped)
	f.wantCalls("delete service")
}

// TestClockBehind has the clock of the function's node be behind that of the model source's.
func TestClockBehind(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	f.synced("hello")
	i := save(f, f.instance("a"))
	f.sync = func(context.Context, *instance) (string, error) { return "", Deferred("later") }
	f.wants(wake(f, i), 200, typeDeferred)
	next := wantStatus(f, i, model.StateDeferred).NextAttempt.Time
	f.sync = nil
	f.took()

	f.clock.SetTime(next.Add(-maxSkew - time.Millisecond))
	f.wants(wake(f, i), 200, "")
	f.wantCalls("")
	f.clock.SetTime(next.Add(-maxSkew))
	reads := 0
	f.before = func(r *http.Request) error {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/a") {
			if reads++; reads == 2 {
				f.clock.SetTime(next) // The engine has waited that long.
			}
		}
		return nil
	}
	f.wants(wake(f, i), 200, typeSynced)
	f.wantCalls("sync Dany")
}

func TestReapedIsToldOnce(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	p := newPolicy(t, PolicyFuncs[*instance]{})
	f.synced("hello")
	i := save(f, f.instance("a"))
	f.wants(wake(f, i), 200, typeSynced)
	p.wants(wake(p, i), 200, typePoliced)
	remove(f, i)
	// Both steps clean up at the same time: when sync has begun, policy ends.
	f.clean = func(context.Context, *instance) error {
		p.wants(wake(p, i), 200, "")
		return nil
	}
	f.wants(wake(f, i), 200, typeReaped)
}

func TestSpecChangesWhileTheStepRuns(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	f.synced("hello")
	i := save(f, f.instance("a"))
	f.sync = func(context.Context, *instance) (string, error) {
		f.sync = nil
		save(f, changed(f, i, func(o *instance) { o.Spec.HelloTo = "Arya" }))
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
		i := save(f, f.instance("a"))
		f.sync = func(context.Context, *instance) (string, error) {
			f.acknowledge(live(f, i), model.StepSync, model.StateOK)
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
		i := save(f, f.instance("a"))
		f.sync = func(context.Context, *instance) (string, error) {
			f.sync = nil
			f.acknowledge(live(f, i), model.StepSync, model.StateFailed)
			save(f, changed(f, i, func(o *instance) { o.Spec.HelloTo = "Arya" }))
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
		i := save(f, f.instance("a"))
		n := 0
		f.sync = func(context.Context, *instance) (string, error) {
			n++
			s := live(f, i)
			err := f.models.SetStep(f.Context(), s, model.StepSync, &model.StepStatus{State: model.StateFailed, Message: fmt.Sprint(n)})
			return "", err
		}
		f.wants(wake(f, i), 503, "", "5 times in a row")
		f.wantCalls(strings.TrimSuffix(strings.Repeat("sync Dany, ", maxRuns), ", "))
	})
}

func TestRemovedByForceWhileTheStepRuns(t *testing.T) {
	force := func(f *fixture, i *instance) {
		s := changed(f, i, func(o *instance) { o.Finalizers = nil })
		remove(f, save(f, s))
	}
	t.Run("Undone", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.instance("a"))
		f.sync = func(context.Context, *instance) (string, error) { force(f, i); return "", nil }
		f.wants(wake(f, i), 200, "")
		f.wantCalls("sync Dany, delete Dany")
	})
	t.Run("UndoneLater", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.instance("a"))
		f.sync = func(context.Context, *instance) (string, error) { force(f, i); return "", nil }
		f.clean = func(context.Context, *instance) error { f.clean = nil; return errors.New("backend down") }
		f.wants(wake(f, i), 200, "")
		f.wantCalls("sync Dany, delete Dany, delete Dany")
	})
	t.Run("NotServed", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.instance("a"))
		ran := false
		f.sync = func(context.Context, *instance) (string, error) { ran = true; return "", nil }
		f.before = func(r *http.Request) error {
			if ran && strings.HasSuffix(r.URL.Path, "/a") {
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
		i := save(f, f.instance("a"))
		f.sync = func(context.Context, *instance) (string, error) {
			f.sync = nil
			force(f, i)
			save(f, f.instance("a"))
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
		i := save(f, f.instance("a"))
		f.sync = func(context.Context, *instance) (string, error) { force(f, i); return "", nil }
		f.clean = func(context.Context, *instance) error { return errors.New("backend down") }
		f.wants(wake(f, i), 503, "", "undoing", "backend down")
	})
	t.Run("WhileCleaning", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := f.instance("a")
		i.Finalizers = []string{"example.com/keep"}
		i = save(f, i)
		f.wants(wake(f, i), 200, typeSynced)
		remove(f, i)
		f.clean = func(context.Context, *instance) error {
			save(f, changed(f, i, func(o *instance) { o.Finalizers = nil }))
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
		i := f.instance("a")
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
		i := save(f, f.instance("a"))
		once(f, func() { remove(f, i) })
		f.wants(wake(f, i), 200, "")
		f.wantCalls("")
	})
	t.Run("Changed", func(t *testing.T) {
		t.Parallel()
		f := newSync(t)
		f.synced("hello")
		i := save(f, f.instance("a"))
		once(f, func() { save(f, changed(f, i, func(o *instance) { o.Spec.HelloTo = "Arya" })) })
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
	i := save(f, f.instance("a"))
	release := make(chan struct{})
	f.sync = func(context.Context, *instance) (string, error) { <-release; return "", nil }
	event := live(f, i).WakeEvent(model.StepSync, 1, now)

	const events = 3
	answers := make([]answer, events)
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
		if a.code != 200 {
			t.Errorf("got %+v", a)
		}
		if a.reply != nil {
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
	i := save(f, f.instance("a"))
	first := live(f, i).WakeEvent(model.StepSync, 1, now)
	// The second event tells of a change that the first run has not seen, and
	// arrives before that has ended.
	second := make(chan answer, 1)
	f.sync = func(ctx context.Context, _ *instance) (string, error) {
		f.sync = nil
		i = save(f, changed(f, i, func(o *instance) { o.Spec.HelloTo = "Arya" }))
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
	i := save(f, f.instance("a"))
	ctx, cancel := context.WithCancel(t.Context())
	f.sync = func(ctx context.Context, _ *instance) (string, error) { cancel(); return "", ctx.Err() }
	if _, err := f.engine.Handle(ctx, live(f, i).WakeEvent(model.StepSync, 1, now)); err != nil {
		t.Fatal(err)
	}
	wantStatus(f, i, model.StateOK) // A step that has begun gets its outcome stored.
}

func TestRequested(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	f.synced("hello")
	i := save(f, f.instance("a"))
	f.wants(wake(f, i), 200, typeSynced)
	save(f, changed(f, i, func(o *instance) {
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
	good := save(f, f.instance("a"))
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
			says: []string{"data.kind", "ServiceGraphConstraint.core.xos-knative.dev", "HelloWorldService.helloworld.xos-knative.dev, HelloWorldServiceInstance.helloworld.xos-knative.dev"},
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
				_ = e.SetData(cloudevents.ApplicationJSON, model.Reference{APIVersion: "helloworld.xos-knative.dev/v1alpha1", Kind: "HelloWorldService", Namespace: "n", Name: "../b"})
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
			if strings.Contains(a.body, "\n") {
				t.Errorf("the reason must be one line, got %q", a.body)
			}
		})
	}
	f.wantCalls("")
}

func TestNoStepAttributeIsNeeded(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	f.synced("hello")
	f.wants(f.post(wakeOf(save(f, f.instance("a")))), 200, typeSynced)
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
		"Owner":      {"What it depends on cannot be read.", is(http.MethodGet, "helloworldservices/"), ""},
		"Finalizer":  {"Without the finalizer the step must not be called.", is(http.MethodPatch, ""), ""},
		"Status":     {"The outcome cannot be stored.", is(http.MethodPut, "/status"), "sync Dany"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newSync(t)
			f.synced("hello")
			i := save(f, f.instance("a"))
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
		i := save(f, f.instance("a"))
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
	record := func(f **fixture, name string, err *error) PolicyFuncs[*instance] {
		note := func(what string) func(context.Context, *instance) error {
			return func(_ context.Context, obj *instance) error {
				(*f).called(name + " " + what + " " + obj.Spec.HelloTo)
				obj.Spec.HelloTo = "changed by " + name // Each has a copy of its own.
				return *err
			}
		}
		return PolicyFuncs[*instance]{OnCreate: note("create"), OnUpdate: note("update"), OnDelete: note("delete")}
	}

	t.Run("Life", func(t *testing.T) {
		t.Parallel()
		var f *fixture
		var one, two error
		f = newPolicy(t, record(&f, "one", &one), record(&f, "two", &two))
		i := save(f, f.instance("a"))

		one = errors.New("not yet")
		f.wants(wake(f, i), 200, typeNoPolicy)
		f.wantCalls("one create Dany, two create Dany")
		wantStatus(f, i, model.StateFailed, "not yet")

		// Create until the first success, also for a changed spec.
		save(f, changed(f, i, func(o *instance) { o.Spec.HelloTo = "Arya" }))
		one = nil
		f.wants(wake(f, i), 200, typePoliced)
		f.wantCalls("one create Arya, two create Arya")

		save(f, changed(f, i, func(o *instance) { o.Spec.HelloTo = "Sansa" }))
		two = Innocuous(errors.New("hm"))
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
		f = newPolicy(t, PolicyFuncs[*instance]{OnCreate: func(context.Context, *instance) error { panic("oops") }}, record(&f, "two", &none))
		i := save(f, f.instance("a"))
		f.wants(wake(f, i), 200, typeNoPolicy)
		f.wantCalls("two create Dany")
		wantStatus(f, i, model.StateFailed, "panic: oops")
	})
	t.Run("WaitForOne", func(t *testing.T) {
		t.Parallel()
		var f *fixture
		f = newPolicy(t, PolicyFuncs[*instance]{OnCreate: func(_ context.Context, obj *instance) error {
			f.called("create")
			if list, err := model.For[*service](f.models).List(f.Context(), obj.Namespace, model.Filter{}); err != nil || len(list) != 1 {
				return errors.Join(err, WaitForOne("HelloWorldService", fmt.Sprintf("found %d", len(list))))
			}
			return nil
		}})
		i := f.instance("a")
		i.Spec.Owner = nil
		i = save(f, i)
		f.wants(wake(f, i), 200, "")
		wantStatus(f, i, model.StateWaiting, "found 0")
		f.wants(wake(f, i), 200, "")
		f.wantCalls("create")
		save(f, f.service("hello"))
		f.wants(wake(f, i), 200, typePoliced)
		f.wantCalls("create")
	})
	t.Run("SavesItsOwnObject", func(t *testing.T) {
		t.Parallel()
		var f *fixture
		f = newPolicy(t, PolicyFuncs[*instance]{OnCreate: func(ctx context.Context, obj *instance) error {
			obj.Spec.HelloTo = "Arya"
			_, _, err := model.For[*instance](f.models).Update(ctx, obj)
			return err
		}})
		i := save(f, f.instance("a"))
		f.wants(wake(f, i), 200, typePoliced)
		got := changed(f, i, func(*instance) {})
		if got.Spec.HelloTo != "Arya" || got.Generation != 2 || got.Status.Policy.Generation != 1 {
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
		f = newPolicy(t, PolicyFuncs[*instance]{
			OnCreate: func(ctx context.Context, obj *instance) error {
				return model.For[*instance](f.models).Delete(ctx, obj)
			},
			OnDelete: func(context.Context, *instance) error { f.called("delete"); return nil },
		})
		i := save(f, f.instance("a"))
		f.wants(wake(f, i), 200, typePoliced)
		f.wants(wake(f, i), 200, typeReaped)
		f.wantCalls("delete")
	})
}

func TestNewEngine(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tests := map[string]struct {
		reason string
		steps  []SyncStep
		says   []string
	}{
		"Twice": {
			reason: "Which of two syncers would work for a kind?",
			steps:  []SyncStep{Sync(f), Sync(f)},
			says:   []string{"HelloWorldServiceInstance.helloworld.xos-knative.dev", "one sync step"},
		},
		"NoModel": {
			reason: "A step for what is no model would never be called.",
			steps:  []SyncStep{Sync(nothing{})},
			says:   []string{"not in the scheme"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := NewSyncEngine(t.Context(), f.models, tt.steps)
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
	e, err := NewSyncEngine(t.Context(), f.models, nil)
	if err != nil {
		t.Fatal(err)
	}
	if e.deadline != Deadline || e.clock == nil {
		t.Errorf("the defaults: got %v, %v", e.deadline, e.clock)
	}
}

type nothingModel struct {
	corev1alpha1.ServiceGraphConstraint
}

type nothing struct{}

func (nothing) Sync(context.Context, *nothingModel) (string, error) { return "", nil }
func (nothing) Delete(context.Context, *nothingModel) error         { return nil }

func TestModels(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBECONFIG", dir+"/none")
	if _, err := Models(nil); err == nil || !strings.Contains(err.Error(), "KUBECONFIG") {
		t.Errorf("want an error that says where the API is looked for, got %v", err)
	}
	kubeapitest.LeadTo(t, kubeapitest.Shared(t))
	models, err := Models(nil)
	if err != nil {
		t.Fatal(err)
	}
	if kinds, err := models.Kinds(t.Context()); err != nil || len(kinds) == 0 {
		t.Errorf("got %v, %v", kinds, err)
	}
}
