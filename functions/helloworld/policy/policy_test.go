package main

import (
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
