package step_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/librarytest"
)

type (
	shelf = v1alpha1.Shelf
	book  = v1alpha1.Book
)

var now = steptest.Start

func TestMain(m *testing.M) {
	if os.Getenv(childMode) != "" {
		step.Main("child", child, v1alpha1.AddToScheme)
		return
	}
	steptest.Main(m, "../../config/core/crds", "../testdata/library/config/crds")
}

// fixture is a function under test, and its steps.
type fixture struct {
	*steptest.World
	step model.Step

	// before, if set, is called before each request of the engine to the API. The engine gets its error
	// instead of an answer.
	before func(*http.Request) error
	// sync and clean are the steps. Default: they succeed.
	sync  func(ctx context.Context, obj *book) (string, error)
	clean func(ctx context.Context, obj *book) error
	// shelfErr, policyErr and sweepErr are what the sync of shelves, the policy of books, and its clean-up
	// return.
	shelfErr, policyErr, sweepErr error

	// addToScheme registers the models.
	addToScheme func(*runtime.Scheme) error
	// versions are the definitions if they are the test's own, and shown is the version that kubectl reads.
	versions *librarytest.Versions
	shown    string

	// mu protects following.
	mu    sync.Mutex
	calls []string
}

// Sync implements Syncer for books.
func (f *fixture) Sync(ctx context.Context, obj *book) (string, error) {
	f.called("sync " + obj.Spec.Title)
	if f.sync == nil {
		return "", nil
	}
	return f.sync(ctx, obj)
}

// Delete implements Deleter for books.
func (f *fixture) Delete(ctx context.Context, obj *book) error {
	f.called("delete " + obj.Spec.Title)
	if f.clean == nil {
		return nil
	}
	return f.clean(ctx, obj)
}

func (f *fixture) called(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, what)
}

// takeCalls returns the calls since it was called last.
func (f *fixture) takeCalls() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.calls = nil }()
	return strings.Join(f.calls, ", ")
}

// shelfSyncer syncs shelves, and does nothing but record its calls.
type shelfSyncer struct{ f *fixture }

func (s shelfSyncer) Sync(context.Context, *shelf) (string, error) {
	s.f.called("sync shelf")
	return "", s.f.shelfErr
}

func (s shelfSyncer) Delete(context.Context, *shelf) error {
	s.f.called("delete shelf")
	return nil
}

// deleting is a policy with a Delete.
type deleting struct {
	step.PolicyFuncs[*book]
	onDelete func(context.Context, *book) error
}

func (d deleting) Delete(ctx context.Context, obj *book) error {
	if d.onDelete == nil {
		return nil
	}
	return d.onDelete(ctx, obj)
}

// newFixture makes a fixture without a function.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{step: model.StepSync, addToScheme: v1alpha1.AddToScheme}
	f.World = steptest.New(t, func(context.Context, *model.Client) ([]step.Registration, error) {
		return []step.Registration{step.Sync(shelfSyncer{f})}, nil
	}, v1alpha1.AddToScheme)
	return f
}

// start starts a function of these steps.
func (f *fixture) start(registrations ...step.Registration) {
	f.Helper()
	f.startWith(nil, registrations...)
}

func (f *fixture) startWith(options []step.Option, registrations ...step.Registration) {
	f.Helper()
	namespace := f.Namespace
	f.World = steptest.NewWith(f.TB, options, func(context.Context, *model.Client) ([]step.Registration, error) { return registrations, nil }, f.addToScheme)
	f.Namespace = namespace
	f.Intercept(func(r *http.Request) error {
		if f.before == nil {
			return nil
		}
		return f.before(r)
	})
}

// newSync makes a function with sync steps for both models.
func newSync(t *testing.T, options ...step.Option) *fixture {
	t.Helper()
	f := newFixture(t)
	f.startWith(options, step.Sync(f), step.Sync(shelfSyncer{f}))
	return f
}

// newBook makes a function with sync steps for both models, a synced shelf, and a book on it.
func newBook(t *testing.T, options ...step.Option) (*fixture, *book) {
	t.Helper()
	f := newSync(t, options...)
	f.synced("fiction")
	return f, save(f, f.book("a"))
}

// newPolicy makes a function with policies for books.
func newPolicy(t *testing.T, policies ...step.Policy[*book]) *fixture {
	t.Helper()
	f := newFixture(t)
	f.step = model.StepPolicy
	f.start(step.Policies(policies...))
	return f
}

func (f *fixture) shelf(name string) *shelf {
	s := &shelf{Spec: v1alpha1.ShelfSpec{Label: "Fiction"}}
	s.Namespace, s.Name = f.Namespace, name
	return s
}

func (f *fixture) book(name string) *book {
	b := &book{Spec: v1alpha1.BookSpec{Title: "Dune", Shelf: &v1alpha1.ShelfReference{Name: "fiction"}}}
	b.Namespace, b.Name = f.Namespace, name
	return b
}

func save[T model.Object](f *fixture, obj T) T {
	f.Helper()
	models := model.For[T](f.Models)
	if obj.GetResourceVersion() == "" {
		saved, err := models.Create(f.Context(), obj)
		if err == nil {
			return saved
		}
		there, err := models.Get(f.Context(), obj.GetNamespace(), obj.GetName())
		if err != nil {
			f.Fatal(err)
		}
		obj.SetResourceVersion(there.GetResourceVersion())
		obj.SetFinalizers(there.GetFinalizers())
	}
	saved, _, err := models.Update(f.Context(), obj)
	if err != nil {
		f.Fatal(err)
	}
	return saved
}

func remove[T model.Object](f *fixture, obj T) {
	f.Helper()
	if err := model.For[T](f.Models).Delete(f.Context(), obj); err != nil {
		f.Fatal(err)
	}
}

// live reads a snapshot of an object.
func live[T model.Object](f *fixture, obj T) *model.Snapshot {
	f.Helper()
	return steptest.Snapshot[T](f.World, obj.GetName())
}

func liveObject[T model.Object](f *fixture, obj T) *unstructured.Unstructured {
	f.Helper()
	u, err := f.Models.Live(f.Context(), live(f, obj).Kind, f.Namespace, obj.GetName())
	if err != nil {
		f.Fatal(err)
	}
	return u
}

// synced makes a shelf that is synced.
func (f *fixture) synced(name string) *shelf {
	f.Helper()
	s := save(f, f.shelf(name))
	acknowledge(f, s, model.StateOK)
	return s
}

// acknowledge stores an outcome of sync, like another run.
func acknowledge[T model.Object](f *fixture, obj T, state model.State) {
	f.Helper()
	s := live(f, obj)
	part := &model.StepStatus{Generation: s.Generation, State: state, Message: "by another run"}
	dependencies, err := f.Models.Dependencies(f.Context(), s)
	if err != nil {
		f.Fatal(err)
	}
	for _, d := range dependencies {
		part.Dependencies = append(part.Dependencies, model.DependencyStatus{
			Kind: d.GroupKind.Kind, Name: d.Name, UID: string(d.Object.UID), Generation: d.Object.Generation})
	}
	if err := f.Models.SetStep(f.Context(), s.Kind, liveObject(f, obj), model.StepSync, part); err != nil {
		f.Fatal(err)
	}
}

// wake sends the event that the model source sends for an object.
func wake[T model.Object](f *fixture, obj T) steptest.Answer {
	f.Helper()
	return f.post(live(f, obj).WakeEvent(f.step, 1, now))
}

func (f *fixture) post(event cloudevents.Event) steptest.Answer {
	f.Helper()
	return f.Send(event)
}

// wants checks an answer: its code, the type of its reply ("" for none), and texts in its body.
func (f *fixture) wants(a steptest.Answer, code int, replyType string, says ...string) {
	f.Helper()
	got := ""
	if a.Reply != nil {
		got = a.Reply.Type()
	}
	if a.Code != code || got != replyType {
		f.Errorf("want %d with reply %q, got %d with %q, body %q", code, replyType, a.Code, got, a.Body)
	}
	for _, text := range says {
		if !strings.Contains(a.Body, text) {
			f.Errorf("the body must say %q, got %q", text, a.Body)
		}
	}
	if len(says) == 0 && a.Body != "" {
		f.Errorf("want an empty body, got %q", a.Body)
	}
}

// wantCalls checks the calls of the steps since they were checked last.
func (f *fixture) wantCalls(want string) {
	f.Helper()
	if got := f.takeCalls(); got != want {
		f.Errorf("want calls %q, got %q", want, got)
	}
}

// wantStatus checks the step's part of an object's status.
func wantStatus[T model.Object](f *fixture, obj T, state model.State, says ...string) *model.StepStatus {
	f.Helper()
	s := live(f, obj).Status.Step(f.step)
	if s == nil {
		f.Fatalf("want state %s, got no status", state)
	}
	if s.State != state {
		f.Errorf("want state %s, got %s: %s", state, s.State, s.Message)
	}
	for _, text := range says {
		if !strings.Contains(s.Message, text) {
			f.Errorf("the message must say %q, got %q", text, s.Message)
		}
	}
	return s
}
