package main

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/greetertest"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

type (
	service  = v1alpha1.HelloWorldService
	instance = v1alpha1.HelloWorldServiceInstance
)

func TestMain(m *testing.M) { steptest.Main(m, "../../../config/helloworld/crds") }

// newWorld starts the function beside a real greeter, with the service "hello" of Jon.
func newWorld(t *testing.T) (*steptest.World, *greetertest.Greeter) {
	t.Helper()
	greeter := greetertest.Start(t)
	t.Setenv("GREETER_URL", greeter.URL)
	w := steptest.New(t, steps, v1alpha1.AddToScheme)
	steptest.Given(w, &service{ObjectMeta: steptest.Meta("hello"), Spec: v1alpha1.HelloWorldServiceSpec{HelloFrom: "Jon"}})
	return w, greeter
}

func given(w *steptest.World, name, to string) {
	w.Helper()
	steptest.Given(w, &instance{ObjectMeta: steptest.Meta(name), Spec: v1alpha1.HelloWorldServiceInstanceSpec{
		HelloTo: to, Owner: &v1alpha1.OwnerReference{Name: "hello"}}})
}

// says lists what the greeter says.
func says(t *testing.T, greeter *greetertest.Greeter) []string {
	t.Helper()
	messages := []string{}
	for g, err := range greeter.Client.All(t.Context(), client.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, g.Message)
	}
	return messages
}

func TestGreeting(t *testing.T) {
	w, greeter := newWorld(t)
	given(w, "arya", "Arya")
	w.Settle()
	if diff := cmp.Diff([]string{"Jon is saying hello to Arya"}, says(t, greeter)); diff != "" {
		t.Errorf("an instance is a greeting in the name of its service: -want, +got:\n%s", diff)
	}
	i, _ := steptest.Get[*instance](w, "arya")
	if i.Status.Sync.Handle != string(i.UID) {
		t.Errorf("the status has the id of the greeting: got %+v", i.Status.Sync)
	}

	steptest.Change(w, "hello", func(s *service) { s.Spec.HelloFrom = "Sansa" })
	steptest.Change(w, "arya", func(i *instance) { i.Spec.HelloTo = "Bran" })
	w.Settle()
	if diff := cmp.Diff([]string{"Sansa is saying hello to Bran"}, says(t, greeter)); diff != "" {
		t.Errorf("it follows the service and the instance: -want, +got:\n%s", diff)
	}

	steptest.Delete[*service](w, "hello")
	w.Settle()
	if _, ok := steptest.Get[*service](w, "hello"); !ok {
		t.Error("a service stays as long as it has instances")
	}
	steptest.Delete[*instance](w, "arya")
	w.Settle()
	if got := says(t, greeter); len(got) > 0 {
		t.Errorf("the greeting is removed: got %q", got)
	}
	if _, ok := steptest.Get[*service](w, "hello"); ok {
		t.Error("now the service can go")
	}
}

// TestGreetingGoesFirst deletes an instance while the greeter is down.
func TestGreetingGoesFirst(t *testing.T) {
	w, greeter := newWorld(t)
	given(w, "arya", "Arya")
	w.Settle()
	greeter.Misbehave(greetertest.Failing(503))
	steptest.Delete[*instance](w, "arya")
	w.Settle()
	if i, ok := steptest.Get[*instance](w, "arya"); !ok || i.Status.Sync.State != model.StateFailed {
		t.Errorf("the instance stays until its greeting is removed: got %v, %+v", ok, i.Status.Sync)
	}
	greeter.Misbehave(nil)
	w.After(2 * step.FailedInterval)
	w.Settle()
	if _, ok := steptest.Get[*instance](w, "arya"); ok || len(says(t, greeter)) > 0 {
		t.Errorf("then both are gone: got %t, %q", ok, says(t, greeter))
	}
}

// invalid answers like the greeter to a request that it never accepts.
func invalid(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error": "hello_to: expected a guest of ours"}`))
	})
}

func TestOutcomes(t *testing.T) {
	tests := map[string]struct {
		reason  string
		to      string
		fault   greetertest.Fault
		state   model.State
		message string
		again   bool
	}{
		"Tyrion":  {"The tutorial's guest who comes later", "Tyrion Lannister", nil, model.StateDeferred, "Maybe later", true},
		"Joffrey": {"The tutorial's guest who does not come", "Joffrey Baratheon", nil, model.StateFailed, "Maybe not", true},
		"Down":    {"A greeting is tried again when the greeter is down", "Arya", greetertest.Failing(503), model.StateFailed, "greeting Arya: ", true},
		"Invalid": {"A greeting that the greeter never accepts is not tried again", "Arya", invalid, model.StateFailed, "cannot put greeting", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w, greeter := newWorld(t)
			greeter.Misbehave(tt.fault)
			given(w, "guest", tt.to)
			w.Settle()
			i, _ := steptest.Get[*instance](w, "guest")
			got := i.Status.Sync
			if got.State != tt.state || !strings.HasPrefix(got.Message, tt.message) || (got.NextAttempt != nil) != tt.again {
				t.Errorf("%s: want %s, %q, again: %v; got %+v", tt.reason, tt.state, tt.message, tt.again, got)
			}
			if !tt.again {
				return
			}
			w.After(step.DeferredInterval)
			if n := w.Settle(); n != 1 {
				t.Errorf("%s: want one more attempt, got %d", tt.reason, n)
			}
		})
	}
}

// ahead gives the greeter a greeting of an instance, of a generation that the model does not have yet.
func ahead(t *testing.T, greeter *greetertest.Greeter, i *instance, generation int64) {
	t.Helper()
	_, err := greeter.Client.Put(t.Context(), string(i.UID), api.PutRequest{Name: i.Name, HelloFrom: "Jon", HelloTo: "Newer", Generation: generation,
		Model: &api.ModelRef{Namespace: i.Namespace, Name: i.Name, UID: string(i.UID)}})
	if err != nil {
		t.Fatal(err)
	}
}

// TestGreeterAhead has a greeter with newer generations than the models, which were restored from a backup.
func TestGreeterAhead(t *testing.T) {
	tests := map[string]struct {
		reason  string
		harm    func(t *testing.T, greeter *greetertest.Greeter, i *instance)
		restore func(w *steptest.World) // What happens to the instance then.
		want    []string
	}{
		"Changed": {"A greeting that was changed after the backup", func(t *testing.T, greeter *greetertest.Greeter, i *instance) { ahead(t, greeter, i, 9) },
			func(w *steptest.World) { request(w) }, []string{"Jon is saying hello to Arya"}},
		"Deleted": {"A greeting that was deleted after the backup", func(t *testing.T, greeter *greetertest.Greeter, i *instance) {
			if err := greeter.Client.Delete(t.Context(), string(i.UID), 9); err != nil {
				t.Fatal(err)
			}
		}, func(w *steptest.World) { request(w) }, []string{"Jon is saying hello to Arya"}},
		"Next": {"A change after the restore", func(t *testing.T, greeter *greetertest.Greeter, i *instance) { ahead(t, greeter, i, 9) },
			func(w *steptest.World) { steptest.Change(w, "a", func(i *instance) { i.Spec.HelloTo = "Bran" }) }, []string{"Jon is saying hello to Bran"}},
		"Deletion": {"A deletion after the restore", func(t *testing.T, greeter *greetertest.Greeter, i *instance) { ahead(t, greeter, i, 9) },
			func(w *steptest.World) { steptest.Delete[*instance](w, "a") }, []string{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w, greeter := newWorld(t)
			given(w, "a", "Arya")
			w.Settle()
			i, _ := steptest.Get[*instance](w, "a")
			tt.harm(t, greeter, i)
			tt.restore(w)
			w.Settle()
			if diff := cmp.Diff(tt.want, says(t, greeter)); diff != "" {
				t.Errorf("%s: the models decide: -want, +got:\n%s", tt.reason, diff)
			}
			now, ok := steptest.Get[*instance](w, "a")
			if ok != (len(tt.want) > 0) || ok && now.Status.Sync.State != model.StateOK {
				t.Errorf("%s: want it synced, or gone, got %v, %+v", tt.reason, ok, now.Status.Sync)
			}
			if !ok {
				if _, err := greeter.Client.Put(t.Context(), string(i.UID), hello.GreetingOf(i, &service{ObjectMeta: metav1.ObjectMeta{UID: "hello", Generation: 1}, Spec: v1alpha1.HelloWorldServiceSpec{HelloFrom: "Jon"}})); !client.IsConflict(err) {
					t.Errorf("%s: a late write does not bring it back: got %v", tt.reason, err)
				}
			}
		})
	}
}

// request asks for a sync, as pull does.
func request(w *steptest.World) {
	steptest.Change(w, "a", func(i *instance) { i.Annotations = map[string]string{model.AnnotationRequestedAt: "now"} })
}

func isPut(r *http.Request) bool { return r.Method == http.MethodPut }

func newest(w *steptest.World) {
	steptest.Change(w, "a", func(i *instance) { i.Spec.HelloTo = "Newest" })
}

// TestLateWriter lets a newer run of the step overtake one that has read an older instance.
func TestLateWriter(t *testing.T) {
	tests := map[string]struct {
		reason string
		ahead  bool
		when   func(r *http.Request) bool
		change func(w *steptest.World)
		want   string
	}{
		"Before": {"A late writer finds a newer instance when it is refused", false, isPut, newest, "Jon is saying hello to Newest"},
		"Between": {"A writer that found none is late when it tries again", true, func(r *http.Request) bool {
			return r.Header.Get("If-Match") != ""
		}, newest, "Jon is saying hello to Newest"},
		"Service": {"A late writer of the same instance finds a newer service", false, isPut, func(w *steptest.World) {
			steptest.Change(w, "hello", func(s *service) { s.Spec.HelloFrom = "Newest" })
			steptest.Wake[*service](w, model.StepSync, "hello")
		}, "Newest is saying hello to Late"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			steptest.Namespace(t)
			w, greeter := newWorld(t)
			other := steptest.New(t, steps, v1alpha1.AddToScheme) // Another pod.
			given(w, "a", "Arya")
			w.Settle()
			i, _ := steptest.Get[*instance](w, "a")
			if tt.ahead {
				ahead(t, greeter, i, 9)
			}
			var overtaken atomic.Bool
			greeter.Misbehave(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if tt.when(r) && overtaken.CompareAndSwap(false, true) {
						tt.change(other)
						if code := steptest.Wake[*instance](other, model.StepSync, "a").Code; code != http.StatusOK {
							t.Errorf("%s: the newer run: got %d", tt.reason, code)
						}
					}
					next.ServeHTTP(rw, r)
					if g, err := greeter.Store.Get(string(i.UID)); overtaken.Load() && (err != nil || g.Message == "Jon is saying hello to Late") {
						t.Errorf("%s: it does not overwrite what is newer: got %+v, %v", tt.reason, g, err)
					}
				})
			})
			steptest.Change(w, "a", func(i *instance) { i.Spec.HelloTo = "Late" })
			steptest.Wake[*instance](w, model.StepSync, "a")
			if !overtaken.Load() {
				t.Fatalf("%s: it was not overtaken", tt.reason)
			}
			if diff := cmp.Diff([]string{tt.want}, says(t, greeter)); diff != "" {
				t.Errorf("%s: -want, +got:\n%s", tt.reason, diff)
			}
		})
	}
}

func TestWires(t *testing.T) {
	w, _ := newWorld(t)
	w.CheckWires("helloworld", "sync", "../../../config", "../../../eventing")
}
