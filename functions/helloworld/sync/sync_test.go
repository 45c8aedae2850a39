package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/greetertest"
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

func TestWires(t *testing.T) {
	w, _ := newWorld(t)
	w.CheckWires("helloworld", "sync", "../../../config", "../../../eventing")
}
