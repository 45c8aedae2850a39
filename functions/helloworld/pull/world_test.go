package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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

func TestMain(m *testing.M) { steptest.Main(m, "../../../config/helloworld/crds") }

// world is the pull step beside a real greeter, with sync steps in the same function, which push as
// those of function sync do.
type world struct {
	*steptest.World
	namespace string
	greeter   *greetertest.Greeter
	instances model.Models[*instance]
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{namespace: steptest.Namespace(t), greeter: greetertest.Start(t)}
	w.start(t, time.Minute)
	return w
}

// start starts the function, with a limit for each answer of the greeter.
func (w *world) start(t testing.TB, timeout time.Duration) {
	t.Helper()
	w.World = steptest.New(t, func(_ context.Context, models *model.Client) ([]step.Registration, error) {
		c, err := client.New(w.greeter.URL, client.WithHTTPClient(&http.Client{Timeout: timeout}))
		return []step.Registration{
			step.Sync(serviceSync{}), step.Sync(instanceSync{w}),
			step.Pull(Greetings{Models: models, Greeter: c, Namespace: w.namespace}),
		}, err
	}, v1alpha1.AddToScheme)
	w.instances = model.For[*instance](w.Models)
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

// pull ticks and wants these counts.
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

// run lets the sync step have an event about the object.
func (w *world) run(kind, name string) {
	w.Helper()
	wake := steptest.Wake[*instance]
	if kind == "HelloWorldService" {
		wake = steptest.Wake[*service]
	}
	if a := wake(w.World, model.StepSync, name); a.Code != http.StatusOK {
		w.Fatalf("sync of %s %s: %d %s", kind, name, a.Code, a.Body)
	}
}

// service makes a synced service, or changes the one that is there.
func (w *world) service(name, from string) {
	w.Helper()
	services := model.For[*v1alpha1.HelloWorldService](w.Models)
	_, _, err := services.CreateOrModify(w.Context(), w.Namespace, name, func(s *v1alpha1.HelloWorldService) error {
		s.Spec.HelloFrom = from
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	w.run("HelloWorldService", name)
}

// synced makes a synced instance of the service "hello".
func (w *world) synced(name, to string) *instance {
	w.Helper()
	i := w.create(&instance{ObjectMeta: w.meta(name), Spec: v1alpha1.HelloWorldServiceInstanceSpec{HelloTo: to, Owner: &v1alpha1.OwnerReference{Name: "hello"}}})
	w.run("HelloWorldServiceInstance", name)
	return i
}

func (w *world) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.Namespace, Name: name}
}

func (w *world) create(i *instance) *instance {
	w.Helper()
	i, err := w.instances.Create(w.Context(), i)
	if err != nil {
		w.Fatal(err)
	}
	return i
}

// change changes an instance as a user does.
func (w *world) change(name string, fn func(*instance)) {
	w.Helper()
	i := w.get(name)
	fn(i)
	if _, _, err := w.instances.Update(w.Context(), i); err != nil {
		w.Fatal(err)
	}
}

func (w *world) get(name string) *instance {
	w.Helper()
	i, err := w.instances.Get(w.Context(), w.Namespace, name)
	if err != nil {
		w.Fatal(err)
	}
	return i
}

// all lists the instances with their versions: nothing was written if it is as before.
func (w *world) all() map[string]string {
	w.Helper()
	list, err := w.instances.List(w.Context(), w.Namespace, model.Filter{})
	if err != nil {
		w.Fatal(err)
	}
	all := map[string]string{}
	for _, i := range list {
		all[i.Name] = i.ResourceVersion
	}
	return all
}

// put writes a greeting as somebody who knows nothing of models.
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

// greetings lists what the greeter has, as "name: message".
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
