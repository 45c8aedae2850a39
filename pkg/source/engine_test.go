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
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
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

// libraryOnly hides the definitions of other tests from the source and the engines.
type libraryOnly struct {
	http.RoundTripper
	// definitions is a label selector.
	definitions string
}

func (l libraryOnly) RoundTrip(q *http.Request) (*http.Response, error) {
	if strings.HasSuffix(q.URL.Path, "/customresourcedefinitions") {
		q = q.Clone(q.Context())
		query := q.URL.Query()
		query.Set("labelSelector", strings.TrimPrefix(query.Get("labelSelector")+","+l.definitions, ","))
		q.URL.RawQuery = query.Encode()
	}
	return l.RoundTripper.RoundTrip(q)
}

// library is a source and the real engines behind HTTP, with the models of the library: shelves, and
// books that a policy gives their shelf.
type library struct {
	*testing.T
	*backend
	config    *rest.Config
	schemes   func(*runtime.Scheme) error
	namespace string
	shelves   model.Models[*v1alpha1.Shelf]
	books     model.Models[*v1alpha1.Book]
	// url of the function.
	url string
	// visibility timeout of the source.
	visibility time.Duration
	// stop ends the source and waits until Run has returned.
	stop func()
}

// newLibrary runs everything until the test ends, with the definitions that the label selector selects.
func newLibrary(t *testing.T, definitions string, addToScheme func(*runtime.Scheme) error) *library {
	t.Helper()
	config := kubeapitest.Shared(t).Config()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return libraryOnly{next, definitions} })
	l := &library{T: t, backend: &backend{t: t, running: map[string]bool{}, calls: map[string]int{}}, config: config, schemes: addToScheme,
		namespace: kubeapitest.Namespace(t), stop: func() {}}
	l.startFunction()
	l.startSource()
	t.Cleanup(func() { l.stop() })
	return l
}

// startFunction runs a new function, in place of the one before.
func (l *library) startFunction() {
	l.Helper()
	models, err := model.NewClient(l.config, l.schemes)
	if err != nil {
		l.Fatal(err)
	}
	l.shelves, l.books = model.For[*v1alpha1.Shelf](models), model.For[*v1alpha1.Book](models)
	adopt := func(ctx context.Context, o *v1alpha1.Book) error {
		o.Spec.Shelf = &v1alpha1.ShelfReference{Name: "fiction"}
		_, _, err := l.books.Update(ctx, o)
		return err
	}
	ctx := logging.WithLogger(l.Context(), zap.NewNop().Sugar())
	steps, err := step.New(ctx, models, []step.Registration{
		step.Sync(syncer[*v1alpha1.Shelf]{l.backend}), step.Sync(syncer[*v1alpha1.Book]{l.backend}),
		step.Policies(step.PolicyFuncs[*v1alpha1.Book]{OnCreate: adopt})})
	if err != nil {
		l.Fatal(err)
	}
	handler, err := steps.HTTP()
	if err != nil {
		l.Fatal(err)
	}
	l.url = functiontest.Serve(l.T, handler)
}

// startSource runs a new source, in place of the one before.
func (l *library) startSource() {
	l.Helper()
	l.stop()
	sink, err := function.NewSink(function.SinkSettings{URL: l.url}, 8)
	if err != nil {
		l.Fatal(err)
	}
	var sent sync.Map
	send := func(ctx context.Context, e cloudevents.Event) error {
		if _, again := sent.LoadOrStore(e.ID(), true); again {
			l.Errorf("event %s was sent twice", e.ID())
		}
		return sink.Send(ctx, e)
	}
	s, err := source.New(l.config, send, source.Options{Namespace: l.namespace, Window: 8, Visibility: l.visibility})
	if err != nil {
		l.Fatal(err)
	}
	running, stop := context.WithCancel(logging.WithLogger(l.Context(), zap.NewNop().Sugar()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	l.stop = func() {
		l.stop = func() {}
		stop()
		if err := <-ended; err != nil {
			l.Error(err)
		}
	}
}

func (l *library) await(what string, condition func(ctx context.Context) (bool, error)) {
	l.Helper()
	if err := wait.PollUntilContextTimeout(l.Context(), 20*time.Millisecond, 2*time.Minute, true, condition); err != nil {
		l.Fatalf("waiting until %s: %v", what, err)
	}
}

func TestWithEngines(t *testing.T) {
	t.Parallel()
	const books = 8
	l := newLibrary(t, "!rig", v1alpha1.AddToScheme)
	ctx := t.Context()
	shelf := l.fill(books)
	l.calledTwice(books + 1)

	if err := l.shelves.Delete(ctx, shelf); err != nil {
		t.Fatal(err)
	}
	found, err := l.books.List(ctx, l.namespace, model.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range found {
		if err := l.books.Delete(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	l.await("all are gone", func(ctx context.Context) (bool, error) {
		left, err := l.shelves.List(ctx, l.namespace, model.Filter{})
		return len(left) == 0, err
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.order); n != books+1 || l.order[n-1] != "delete fiction" {
		t.Errorf("expected the shelf to be deleted after its %d books, got %v", books, l.order)
	}
}

// fill makes so many books and then their shelf, and waits until all are ready.
func (l *library) fill(books int) *v1alpha1.Shelf {
	l.Helper()
	for i := range books {
		o := &v1alpha1.Book{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: fmt.Sprintf("i-%02d", i)}}
		o.Spec.Title = "world"
		if _, err := l.books.Create(l.Context(), o); err != nil {
			l.Fatal(err)
		}
	}
	shelf := &v1alpha1.Shelf{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: "fiction"}}
	shelf.Spec.Label = "me"
	if _, err := l.shelves.Create(l.Context(), shelf); err != nil {
		l.Fatal(err)
	}
	l.awaitReady(books)
	return shelf
}

// awaitReady waits until so many books are ready at their generation.
func (l *library) awaitReady(books int) {
	l.Helper()
	l.await("all are ready", func(ctx context.Context) (bool, error) {
		found, err := l.books.List(ctx, l.namespace, model.Filter{})
		ready := 0
		for _, o := range found {
			if c := o.Status.GetCondition(model.ConditionReady); c.IsTrue() && o.Status.ObservedGeneration == o.Generation {
				ready++
			}
		}
		return ready == books, err
	})
}

// calledTwice checks that so many objects were synced with two calls each, of which the first failed.
func (l *library) calledTwice(objects int) {
	l.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, n := range l.calls {
		if n != 2 {
			l.Errorf("%s: expected two calls, of which one fails, got %d", id, n)
		}
	}
	if len(l.calls) != objects {
		l.Errorf("expected calls for %d objects, got %v", objects, l.calls)
	}
	l.order = nil
}
