package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/greetertest"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

type service = v1alpha1.HelloWorldService

func TestMain(m *testing.M) { steptest.Main(m, "../../../config/helloworld/crds") }

// world is a function with the pull step, beside a real greeter. It also has sync steps, which do the
// same as those of function sync.
type world struct {
	*steptest.World
	namespace string
	greeter   *greetertest.Greeter
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{namespace: steptest.Namespace(t), greeter: greetertest.Start(t)}
	w.start(t, time.Minute)
	return w
}

// start starts the function, with a timeout for requests to the greeter.
func (w *world) start(t testing.TB, timeout time.Duration) {
	t.Helper()
	w.World = steptest.New(t, func(context.Context, *model.Client) ([]step.Registration, error) {
		c, err := client.New(w.greeter.URL, client.WithHTTPClient(&http.Client{Timeout: timeout}))
		return []step.Registration{
			step.Sync(serviceSync{}), step.Sync(instanceSync{w}),
			step.Compare(greetings(c, w.namespace)),
		}, err
	}, v1alpha1.AddToScheme)
}

type serviceSync struct{}

func (serviceSync) Sync(context.Context, *service) (string, error) { return "", nil }

type instanceSync struct{ *world }

func (s instanceSync) Sync(ctx context.Context, i *instance) (string, error) {
	owner, err := step.Dependency[*service](ctx)
	if err != nil {
		return "", err
	}
	_, err = s.greeter.Client.Put(ctx, hello.GreetingID(i), hello.GreetingOf(i, owner))
	return "", err
}

func (s instanceSync) Delete(ctx context.Context, i *instance) error {
	return s.greeter.Client.Delete(ctx, hello.GreetingID(i), i.Generation)
}

// pull runs a round and checks its counts.
func (w *world) pull(reason string, want step.PullCounts) {
	w.Helper()
	got, a := w.Tick()
	if a.Code != http.StatusOK {
		w.Fatalf("%s: want a complete round, got %d %s", reason, a.Code, a.Body)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(step.PullCounts{}, "Seconds")); diff != "" {
		w.Errorf("%s: -want +got:\n%s", reason, diff)
	}
}

// sync sends the sync step an event about the instance.
func (w *world) sync(name string) {
	w.Helper()
	w.wants200(steptest.Wake[*instance](w.World, model.StepSync, name))
}

func (w *world) wants200(a steptest.Answer) {
	w.Helper()
	if a.Code != http.StatusOK {
		w.Fatalf("want 200, got %d %s", a.Code, a.Body)
	}
}

// service makes a synced service, or changes it.
func (w *world) service(name, from string) {
	w.Helper()
	_, _, err := model.For[*service](w.Models).CreateOrModify(w.Context(), w.Namespace, name, func(s *service) error {
		s.Spec.HelloFrom = from
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	w.wants200(steptest.Wake[*service](w.World, model.StepSync, name))
}

// synced makes a synced instance of the service "hello".
func (w *world) synced(name, to string) *instance {
	w.Helper()
	i := steptest.Given(w.World, &instance{ObjectMeta: steptest.Meta(name), Spec: v1alpha1.HelloWorldServiceInstanceSpec{
		HelloTo: to, Owner: &v1alpha1.OwnerReference{Name: "hello"}}})
	w.sync(name)
	return i
}

// change changes an instance as a user does.
func (w *world) change(name string, fn func(*instance)) {
	w.Helper()
	steptest.Change(w.World, name, fn)
}

func (w *world) get(name string) *instance {
	w.Helper()
	i, ok := steptest.Get[*instance](w.World, name)
	if !ok {
		w.Fatalf("there is no instance %s", name)
	}
	return i
}

// all lists the resource versions of the instances, which show whether anything was written.
func (w *world) all() map[string]string {
	w.Helper()
	all := map[string]string{}
	for _, i := range steptest.List[*instance](w.World) {
		all[i.Name] = i.ResourceVersion
	}
	return all
}

// put writes a greeting.
func (w *world) put(id string, r api.PutRequest) {
	w.Helper()
	if _, err := w.greeter.Client.Put(w.Context(), id, r); err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove(id string) {
	w.Helper()
	if err := w.greeter.Client.Delete(w.Context(), id, 0); err != nil {
		w.Fatal(err)
	}
}

// greetings lists the greetings by id, each as "name: message".
func (w *world) greetings() map[string]string {
	w.Helper()
	all := map[string]string{}
	for g, err := range w.greeter.Client.All(w.Context(), client.ListOptions{}) {
		if err != nil {
			w.Fatal(err)
		}
		all[g.ID] = fmt.Sprintf("%s: %s", g.Name, g.Message)
	}
	return all
}
