package systemtest

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/localtest"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// namespaces of the example and of the core.
const (
	namespace = "helloworld"
	core      = "synchronizer-system"
)

func TestMain(m *testing.M) {
	const root = "../../.."
	localtest.RaceInProgramsOnly(root)
	localtest.Main(m, root, "./functions/...", "./scripts/synchronizer")
}

// world is a running project and what the users of hello-world have.
type world struct {
	*localtest.World
	services  model.Models[*v1alpha1.HelloWorldService]
	instances model.Models[*v1alpha1.HelloWorldServiceInstance]
	greeter   *client.Client
}

// start brings the project up over o.Dir, a new one if it is empty.
func start(t *testing.T, o local.Options) *world {
	t.Helper()
	o.Only = []string{"helloworld"}
	// A tick at the wrong moment would be counted as work that nobody asked for: tests that want one send it.
	o.Without = append(o.Without, "pingsource/pull")
	running := localtest.Start(t, o)
	w := newWorld(t, running.System.Config(), running.System.Client())
	w.World = running
	return w
}

// with is the same world for another test, such as a subtest.
func (w *world) with(t *testing.T) *world {
	return &world{w.World.With(t), w.services, w.instances, w.greeter}
}

func newWorld(t *testing.T, config *rest.Config, http *http.Client) *world {
	t.Helper()
	models, err := model.NewClient(config, v1alpha1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	greeter, err := client.New("http://greeter.helloworld.svc.cluster.local", client.WithHTTPClient(http))
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		World:     &localtest.World{T: t},
		services:  model.For[*v1alpha1.HelloWorldService](models),
		instances: model.For[*v1alpha1.HelloWorldServiceInstance](models),
		greeter:   greeter,
	}
}

func (w *world) service(name, from string) *v1alpha1.HelloWorldService {
	w.Helper()
	saved, _, err := w.services.CreateOrModify(w.Context(), namespace, name, func(s *v1alpha1.HelloWorldService) error {
		s.Spec = v1alpha1.HelloWorldServiceSpec{HelloFrom: from}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return saved
}

// instance declares an instance; without an owner if that is empty.
func (w *world) instance(name, to, owner string) *v1alpha1.HelloWorldServiceInstance {
	w.Helper()
	saved, _, err := w.instances.CreateOrModify(w.Context(), namespace, name, func(i *v1alpha1.HelloWorldServiceInstance) error {
		i.Spec = v1alpha1.HelloWorldServiceInstanceSpec{HelloTo: to}
		if owner != "" {
			i.Spec.Owner = &v1alpha1.OwnerReference{Name: owner}
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return saved
}

// get reads an instance; nil if there is none.
func (w *world) get(name string) *v1alpha1.HelloWorldServiceInstance {
	i, err := w.instances.Get(w.Context(), namespace, name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.Logf("getting %s: %v", name, err)
		return nil
	}
	return i
}

// sync is the part of an instance's status that sync owns, zero if there is none.
func (w *world) sync(name string) model.StepStatus {
	if i := w.get(name); i != nil && i.Status.Sync != nil {
		return *i.Status.Sync
	}
	return model.StepStatus{}
}

// ready reports whether an instance is, at its current generation.
func ready(i *v1alpha1.HelloWorldServiceInstance) bool {
	return i != nil && i.Status.ObservedGeneration == i.Generation && i.Status.GetCondition(model.ConditionReady).IsTrue()
}

func (w *world) untilReady(name string) {
	w.Helper()
	w.Until(name+" is Ready", func() bool { return ready(w.get(name)) })
}

// greets waits until the greeter says exactly this.
func (w *world) greets(want ...string) {
	w.Helper()
	slices.Sort(want)
	w.Until(fmt.Sprintf("the greeter says %d greetings: %.300q", len(want), want), func() bool { return w.says(want...) })
}

// says reports whether the greeter says exactly this, which is sorted.
func (w *world) says(want ...string) bool {
	var have []string
	for g, err := range w.greeter.All(w.Context(), client.ListOptions{}) {
		if err != nil {
			return false
		}
		have = append(have, g.Message)
	}
	slices.Sort(have)
	return slices.Equal(have, want)
}

// post sends a CloudEvent, or what pretends to be one, to a function of the example.
func (w *world) post(function, body string, header map[string]string) (int, string) {
	w.Helper()
	return w.Post("http://"+function+"."+namespace+".svc.cluster.local/", body, header)
}

// modelEvent is the head of a model event for sync.
func modelEvent() map[string]string {
	h := localtest.Event(model.EventUpdated)
	h["Ce-Step"] = "sync"
	return h
}

func reference(kind, name string) string {
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"namespace":%q,"name":%q}`, v1alpha1.GroupVersion.String(), kind, namespace, name)
}

func message(from, to string) string { return from + " is saying hello to " + to }
