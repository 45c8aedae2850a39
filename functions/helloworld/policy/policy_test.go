package main

import (
	"net/http"
	"testing"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

type (
	service  = v1alpha1.HelloWorldService
	instance = v1alpha1.HelloWorldServiceInstance
)

func TestMain(m *testing.M) { steptest.Main(m, "../../../config/helloworld/crds") }

func given(w *steptest.World, name, to string) {
	w.Helper()
	steptest.Given(w, &instance{ObjectMeta: steptest.Meta(name), Spec: v1alpha1.HelloWorldServiceInstanceSpec{HelloTo: to}})
}

func offer(w *steptest.World, name string) {
	w.Helper()
	steptest.Given(w, &service{ObjectMeta: steptest.Meta(name), Spec: v1alpha1.HelloWorldServiceSpec{HelloFrom: "Jon"}})
}

func TestUnwelcome(t *testing.T) {
	w := steptest.New(t, steps, v1alpha1.AddToScheme)
	offer(w, "hello")
	given(w, "tyrion", "Tyrion Lannister")
	given(w, "arya", "Arya")
	w.Settle()
	if _, ok := steptest.Get[*instance](w, "tyrion"); ok {
		t.Error("an unwelcome guest is deleted")
	}
	steptest.Change(w, "arya", func(i *instance) { i.Spec.HelloTo = "Joffrey Baratheon" })
	w.Settle()
	if _, ok := steptest.Get[*instance](w, "arya"); ok {
		t.Error("also one that becomes unwelcome")
	}
}

// TestDeletesWhatItJudged changes an instance just before the policy deletes it.
func TestDeletesWhatItJudged(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(w *steptest.World)
		kept   bool
		want   int // Attempts to delete it.
	}{
		"Corrected": {"An instance whose guest was corrected stays", func(w *steptest.World) {
			steptest.Change(w, "guest", func(i *instance) { i.Spec.HelloTo = "Arya" })
		}, true, 1},
		"Written": {"One that is still unwelcome after another write is deleted", func(w *steptest.World) {
			steptest.Change(w, "guest", func(i *instance) { i.Labels = map[string]string{"a": "b"} })
		}, false, 2},
		"Replaced": {"Another instance of that name stays", func(w *steptest.World) {
			steptest.Delete[*instance](w, "guest")
			given(w, "guest", "Arya")
		}, true, 1},
		"Gone": {"One that is gone is gone", func(w *steptest.World) { steptest.Delete[*instance](w, "guest") }, false, 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := steptest.New(t, steps, v1alpha1.AddToScheme)
			offer(w, "hello")
			given(w, "guest", "Joffrey Baratheon")
			deletes := 0
			w.Intercept(func(r *http.Request) error {
				if r.Method == http.MethodDelete {
					if deletes++; deletes == 1 {
						tc.change(w)
					}
				}
				return nil
			})
			w.Settle()
			if _, ok := steptest.Get[*instance](w, "guest"); ok != tc.kept || deletes != tc.want {
				t.Errorf("%s: want kept: %t after %d attempts, got kept: %t after %d", tc.reason, tc.kept, tc.want, ok, deletes)
			}
		})
	}
}

func TestOwner(t *testing.T) {
	w := steptest.New(t, steps, v1alpha1.AddToScheme)
	given(w, "arya", "Arya")
	w.Settle()
	i, _ := steptest.Get[*instance](w, "arya")
	if got := i.Status.Policy; got.State != model.StateWaiting {
		t.Errorf("without a service it waits for one: got %+v", got)
	}
	offer(w, "hello")
	w.Settle()
	if i, _ = steptest.Get[*instance](w, "arya"); i.OwnerName() != "hello" || i.Status.Policy.State != model.StateOK {
		t.Errorf("it gets the only service: got %q, %+v", i.OwnerName(), i.Status.Policy)
	}

	offer(w, "another")
	given(w, "bran", "Bran")
	w.Settle()
	if i, _ = steptest.Get[*instance](w, "bran"); i.OwnerName() != "" || i.Status.Policy.State != model.StateWaiting {
		t.Errorf("it does not choose from two services: got %q, %+v", i.OwnerName(), i.Status.Policy)
	}
}

func TestWires(t *testing.T) {
	w := steptest.New(t, steps, v1alpha1.AddToScheme)
	w.CheckWires("helloworld", "policy", "../../../config", "../../../eventing")
}
