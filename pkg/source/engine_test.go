package source_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/source"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// backend is a micro-shelf that fails once for each object, and notes what
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

// libraryOnly hides the definitions of other tests.
type libraryOnly struct{ http.RoundTripper }

func (l libraryOnly) RoundTrip(q *http.Request) (*http.Response, error) {
	if strings.HasSuffix(q.URL.Path, "/customresourcedefinitions") {
		q = q.Clone(q.Context())
		query := q.URL.Query()
		query.Set("labelSelector", query.Get("labelSelector")+",!rig")
		q.URL.RawQuery = query.Encode()
	}
	return l.RoundTripper.RoundTrip(q)
}

// TestWithEngines has the real engines behind HTTP, and the models of the library: shelves, and books
// that a policy gives their shelf.
func TestWithEngines(t *testing.T) {
	t.Parallel()
	const books = 8
	namespace := kubeapitest.Namespace(t)
	config := kubeapitest.Shared(t).Config()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return libraryOnly{next} })
	models, err := model.NewClient(config, v1alpha1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	ctx := logging.WithLogger(t.Context(), zap.NewNop().Sugar())
	b := &backend{t: t, running: map[string]bool{}, calls: map[string]int{}}
	shelves, all := model.For[*v1alpha1.Shelf](models), model.For[*v1alpha1.Book](models)
	adopt := func(ctx context.Context, o *v1alpha1.Book) error {
		o.Spec.Shelf = &v1alpha1.ShelfReference{Name: "fiction"}
		_, _, err := all.Update(ctx, o)
		return err
	}
	steps, err := step.New(ctx, models, []step.Registration{
		step.Sync(syncer[*v1alpha1.Shelf]{b}), step.Sync(syncer[*v1alpha1.Book]{b}),
		step.Policies(step.PolicyFuncs[*v1alpha1.Book]{OnCreate: adopt})})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := steps.HTTP()
	if err != nil {
		t.Fatal(err)
	}
	sink, err := function.NewSink(function.SinkSettings{URL: functiontest.Serve(t, handler)}, 8)
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
	s, err := source.New(config, send, source.Options{Namespace: namespace, Window: 8})
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

	for i := range books {
		o := &v1alpha1.Book{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("i-%02d", i)}}
		o.Spec.Title = "world"
		if _, err := all.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	shelf := &v1alpha1.Shelf{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "fiction"}}
	shelf.Spec.Label = "me"
	if _, err := shelves.Create(ctx, shelf); err != nil {
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
		return ready == books, err
	})
	b.mu.Lock()
	for id, n := range b.calls {
		if n != 2 {
			t.Errorf("%s: expected two calls, of which one fails, got %d", id, n)
		}
	}
	if len(b.calls) != books+1 {
		t.Errorf("expected calls for %d objects, got %v", books+1, b.calls)
	}
	b.order = nil
	b.mu.Unlock()

	if err := shelves.Delete(ctx, shelf); err != nil {
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
		left, err := shelves.List(ctx, namespace, model.Filter{})
		return len(left) == 0, err
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.order); n != books+1 || b.order[n-1] != "delete fiction" {
		t.Errorf("expected the shelf to be deleted after its %d books, got %v", books, b.order)
	}
}
