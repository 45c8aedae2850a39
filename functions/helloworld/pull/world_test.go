package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/greetertest"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// instance is short for what these tests are full of.
type instance = v1alpha1.HelloWorldServiceInstance

// world is the function beside a real greeter and a real API, in a namespace of
// its own.
type world struct {
	t         *testing.T
	ns        string
	greeter   *greetertest.Greeter
	models    *model.Client
	instances model.Models[*instance]
	sync      *step.Engine
	url       string
}

func TestMain(m *testing.M) {
	kubeapitest.Main(m, kubeapi.Options{CRDs: []string{"../../config/crds"}})
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ns: kubeapitest.Namespace(t), greeter: greetertest.Start(t)}
	var err error
	if w.models, err = model.NewClient(kubeapitest.Shared(t).Config(), v1alpha1.AddToScheme); err != nil {
		t.Fatal(err)
	}
	w.instances = model.For[*instance](w.models)
	if w.sync, err = step.NewSyncEngine(t.Context(), w.models, []step.SyncStep{step.Sync(serviceSync{}), step.Sync(instanceSync{w})}); err != nil {
		t.Fatal(err)
	}
	w.url = w.serve(time.Minute)
	return w
}

// serve serves the function, with a limit for each answer of the greeter.
func (w *world) serve(timeout time.Duration) string {
	w.t.Helper()
	c, err := client.New(w.greeter.URL, client.WithHTTPClient(&http.Client{Timeout: timeout}))
	if err != nil {
		w.t.Fatal(err)
	}
	handler, err := step.NewPullEngine(Greetings{Models: w.models, Greeter: c, Namespace: w.ns}).HTTP()
	if err != nil {
		w.t.Fatal(err)
	}
	return functiontest.Serve(w.t, handler)
}

// serviceSync and instanceSync stand for function sync.
type serviceSync struct{}

func (serviceSync) Sync(context.Context, *v1alpha1.HelloWorldService) (string, error) { return "", nil }
func (serviceSync) Delete(context.Context, *v1alpha1.HelloWorldService) error         { return nil }

type instanceSync struct{ *world }

func (s instanceSync) Sync(ctx context.Context, i *instance) (string, error) {
	service, err := model.For[*v1alpha1.HelloWorldService](s.models).Get(ctx, i.Namespace, i.OwnerName())
	if err != nil {
		return "", err
	}
	_, err = s.greeter.Client.Put(ctx, hello.GreetingID(i), hello.GreetingOf(i, service))
	return "", err
}

func (s instanceSync) Delete(ctx context.Context, i *instance) error {
	return s.greeter.Client.Delete(ctx, hello.GreetingID(i), i.Generation)
}

// tick answers a tick with the status and, of a complete round, the counts.
func (w *world) tick() (int, step.PullCounts, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	for name, value := range map[string]string{"specversion": "1.0", "id": "1", "source": "/test", "type": step.EventPing} {
		req.Header.Set("ce-"+name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var counts step.PullCounts
	if resp.StatusCode == 200 {
		if err := json.Unmarshal(raw, &counts); err != nil {
			w.t.Fatalf("the reply of a complete round: %v: %s", err, raw)
		}
	}
	return resp.StatusCode, counts, strings.TrimSpace(string(raw))
}

// pull ticks and wants these counts.
func (w *world) pull(reason string, want step.PullCounts) {
	w.t.Helper()
	code, got, body := w.tick()
	if code != 200 {
		w.t.Fatalf("%s: want a complete round, got %d %s", reason, code, body)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(step.PullCounts{}, "Seconds")); diff != "" {
		w.t.Errorf("%s: -want +got:\n%s", reason, diff)
	}
}

// run lets the sync function have an event about the object.
func (w *world) run(kind, name string) {
	w.t.Helper()
	k, err := w.kind(kind)
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := w.models.Live(w.t.Context(), k, w.ns, name)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := k.SnapshotOf(u)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx := logging.WithLogger(w.t.Context(), zap.NewNop().Sugar())
	if _, result := w.sync.Handle(ctx, s.WakeEvent(model.StepSync, 1, time.Now())); result != nil {
		w.t.Fatalf("sync of %s %s: %v", kind, name, result)
	}
}

func (w *world) kind(name string) (*model.Kind, error) {
	return w.models.Kind(w.t.Context(), v1alpha1.GroupVersion.WithKind(name).GroupKind())
}

// service makes a synced service, or changes the one that is there.
func (w *world) service(name, from string) {
	w.t.Helper()
	services := model.For[*v1alpha1.HelloWorldService](w.models)
	_, _, err := services.CreateOrModify(w.t.Context(), w.ns, name, func(s *v1alpha1.HelloWorldService) error {
		s.Spec.HelloFrom = from
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.run("HelloWorldService", name)
}

// synced makes a synced instance of the service "hello".
func (w *world) synced(name, to string) *instance {
	w.t.Helper()
	i := w.create(&instance{ObjectMeta: w.meta(name), Spec: v1alpha1.HelloWorldServiceInstanceSpec{HelloTo: to, Owner: &v1alpha1.OwnerReference{Name: "hello"}}})
	w.run("HelloWorldServiceInstance", name)
	return i
}

func (w *world) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.ns, Name: name}
}

func (w *world) create(i *instance) *instance {
	w.t.Helper()
	i, err := w.instances.Create(w.t.Context(), i)
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

// change changes an instance as a user does.
func (w *world) change(name string, fn func(*instance)) {
	w.t.Helper()
	i := w.get(name)
	fn(i)
	if _, _, err := w.instances.Update(w.t.Context(), i); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) get(name string) *instance {
	w.t.Helper()
	i, err := w.instances.Get(w.t.Context(), w.ns, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

// all lists the instances with their versions: nothing was written if it is as before.
func (w *world) all() map[string]string {
	w.t.Helper()
	list, err := w.instances.List(w.t.Context(), w.ns, model.Filter{})
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]string{}
	for _, i := range list {
		all[i.Name] = i.ResourceVersion
	}
	return all
}

// put writes a greeting as somebody who knows nothing of models.
func (w *world) put(id string, r api.PutRequest) {
	w.t.Helper()
	if _, err := w.greeter.Client.Put(w.t.Context(), id, r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(id string) {
	w.t.Helper()
	if err := w.greeter.Client.Delete(w.t.Context(), id, 0); err != nil {
		w.t.Fatal(err)
	}
}

// greetings lists what the greeter has, as "name: message".
func (w *world) greetings() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for g, err := range w.greeter.Client.All(w.t.Context(), client.ListOptions{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		all[g.ID] = fmt.Sprintf("%s: %s", g.Name, g.Message)
	}
	return all
}
