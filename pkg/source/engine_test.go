package source_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/source"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// backend is a micro-service that fails once for each object, and notes what
// was asked of it.
type backend struct {
	t *testing.T

	mu      sync.Mutex
	running map[string]bool
	calls   map[string]int
	order   []string
}

// call notes a call for an object; it returns how often it has been made.
func (b *backend) call(what string, o model.Object) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running[string(o.GetUID())] {
		b.t.Errorf("%s %s: another call for that object is under way", what, o.GetName())
	}
	b.running[string(o.GetUID())] = true
	id := fmt.Sprintf("%s %s generation %d", what, o.GetName(), o.GetGeneration())
	b.calls[id]++
	b.order = append(b.order, what+" "+o.GetName())
	return b.calls[id]
}

func (b *backend) done(o model.Object) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running[string(o.GetUID())] = false
}

type syncer[T model.Object] struct{ *backend }

func (s syncer[T]) Sync(_ context.Context, o T) (string, error) {
	n := s.call("sync", o)
	defer s.done(o)
	if n == 1 {
		return "", errors.New("not at the first time")
	}
	return "handle-of-" + o.GetName(), nil
}

func (s syncer[T]) Delete(_ context.Context, o T) error {
	s.call("delete", o)
	s.done(o)
	return nil
}

// TestWithEngines has the real engines behind HTTP, and the models of the
// example: services, and instances that a policy gives their owner.
func TestWithEngines(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a Kubernetes API")
	}
	t.Parallel()
	const instances, namespace = 8, "default"
	config := kubeapitest.Start(t, "../../config/crds")
	models, err := model.NewClient(config, v1alpha1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	ctx := logging.WithLogger(t.Context(), zap.NewNop().Sugar())
	b := &backend{t: t, running: map[string]bool{}, calls: map[string]int{}}
	syncs, err := step.NewSyncEngine(ctx, models, []step.SyncStep{
		step.Sync(syncer[*v1alpha1.HelloWorldService]{b}), step.Sync(syncer[*v1alpha1.HelloWorldServiceInstance]{b})})
	if err != nil {
		t.Fatal(err)
	}
	services, all := model.For[*v1alpha1.HelloWorldService](models), model.For[*v1alpha1.HelloWorldServiceInstance](models)
	adopt := func(ctx context.Context, o *v1alpha1.HelloWorldServiceInstance) error {
		o.Spec.Owner = &v1alpha1.OwnerReference{Name: "hello"}
		_, _, err := all.Update(ctx, o)
		return err
	}
	policies, err := step.NewPolicyEngine(ctx, models, []step.PolicyStep{
		step.Policies(step.PolicyFuncs[*v1alpha1.HelloWorldServiceInstance]{OnCreate: adopt})})
	if err != nil {
		t.Fatal(err)
	}
	mux := map[string]http.Handler{}
	for name, engine := range map[string]*step.Engine{"sync": syncs, "policy": policies} {
		if mux[name], err = engine.HTTP(); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mux[q.Header.Get("ce-step")].ServeHTTP(w, q.WithContext(logging.WithLogger(q.Context(), zap.NewNop().Sugar())))
	}))
	defer server.Close()
	sink, err := function.NewSink(function.SinkSettings{URL: server.URL}, 8)
	if err != nil {
		t.Fatal(err)
	}
	var sent sync.Map
	send := func(ctx context.Context, e cloudevents.Event) error {
		if _, again := sent.LoadOrStore(e.ID(), true); again {
			t.Errorf("event %s was sent twice", e.ID())
		}
		return sink.Send(ctx, e)
	}
	s, err := source.New(config, send, source.Options{Window: 8})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	for i := range instances {
		o := &v1alpha1.HelloWorldServiceInstance{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("i-%02d", i)}}
		o.Spec.HelloTo = "world"
		if _, err := all.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	service := &v1alpha1.HelloWorldService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "hello"}}
	service.Spec.HelloFrom = "me"
	if _, err := services.Create(ctx, service); err != nil {
		t.Fatal(err)
	}
	await := func(what string, condition func(ctx context.Context) (bool, error)) {
		t.Helper()
		if err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, condition); err != nil {
			t.Fatalf("waiting until %s: %v", what, err)
		}
	}
	await("all are ready", func(ctx context.Context) (bool, error) {
		found, err := all.List(ctx, namespace, model.Filter{})
		ready := 0
		for _, o := range found {
			if c := o.Status.GetCondition(model.ConditionReady); c.IsTrue() && o.Status.ObservedGeneration == o.Generation {
				ready++
			}
		}
		return ready == instances, err
	})
	b.mu.Lock()
	for id, n := range b.calls {
		if n != 2 {
			t.Errorf("%s: expected two calls, of which one fails, got %d", id, n)
		}
	}
	if len(b.calls) != instances+1 {
		t.Errorf("expected calls for %d objects, got %v", instances+1, b.calls)
	}
	b.order = nil
	b.mu.Unlock()

	if err := services.Delete(ctx, service); err != nil {
		t.Fatal(err)
	}
	found, err := all.List(ctx, namespace, model.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range found {
		if err := all.Delete(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	await("all are gone", func(ctx context.Context) (bool, error) {
		left, err := services.List(ctx, namespace, model.Filter{})
		return len(left) == 0, err
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.order); n != instances+1 || b.order[n-1] != "delete hello" {
		t.Errorf("expected the service to be deleted after its %d instances, got %v", instances, b.order)
	}
}
