package steptest

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// Main is what TestMain calls. The tests of the package share one Kubernetes API, which starts with the
// first test that needs it. The definitions are YAML files, or directories of YAML files, with the
// CustomResourceDefinitions of the models.
func Main(m *testing.M, definitions ...string) {
	kubeapitest.Main(m, kubeapi.Options{CRDs: definitions})
}

// World is a function beside a Kubernetes API, with a namespace of its own.
type World struct {
	testing.TB
	// Namespace of the test's objects. No other test uses it.
	Namespace string
	// Models is the test's own client.
	Models *model.Client
	// Clock of the function. It is at [Start] until the test moves it.
	Clock *clocktesting.FakePassiveClock
	// Function under test.
	Function *step.Function
	// URL that the function is served at.
	URL string

	api     *requests
	objects dynamic.Interface
}

// Start is the time at which every world starts.
var Start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// New starts a function, with the arguments of [step.Main]. The test sets the environment variables
// that the steps read before, with t.Setenv and [Namespace].
func New(t testing.TB, steps step.Steps, addToScheme ...func(*runtime.Scheme) error) *World {
	t.Helper()
	return NewWith(t, nil, steps, addToScheme...)
}

// NewWith is [New] with options for the function.
func NewWith(t testing.TB, options []step.Option, steps step.Steps, addToScheme ...func(*runtime.Scheme) error) *World {
	t.Helper()
	w := &World{
		TB:        t,
		Namespace: cmp.Or(os.Getenv(envNamespace), kubeapitest.Namespace(t)),
		Clock:     clocktesting.NewFakePassiveClock(Start),
		api:       &requests{},
	}
	w.Models = client(t, nil, addToScheme)
	all, err := dynamic.NewForConfig(kubeapitest.Shared(t).Config())
	if err != nil {
		t.Fatal(err)
	}
	w.objects = all
	models := client(t, w.api.observe, addToScheme)
	registrations, err := steps(t.Context(), models)
	if err != nil {
		t.Fatalf("making the steps: %v", err)
	}
	if w.Function, err = step.New(t.Context(), models, registrations, append([]step.Option{step.WithClock(w.Clock), step.WithReplies(true)}, options...)...); err != nil {
		t.Fatalf("making the function: %v", err)
	}
	handler, err := w.Function.HTTP()
	if err != nil {
		t.Fatalf("serving the function: %v", err)
	}
	w.URL = functiontest.Serve(t, handler)
	return w
}

func client(t testing.TB, wrap func(http.RoundTripper) http.RoundTripper, addToScheme []func(*runtime.Scheme) error) *model.Client {
	t.Helper()
	config := kubeapitest.Shared(t).Config()
	if wrap != nil {
		config.Wrap(wrap)
	}
	models, err := model.NewClient(config, addToScheme...)
	if err != nil {
		t.Fatal(err)
	}
	return models
}

const envNamespace = "NAMESPACE"

// Namespace sets $NAMESPACE, which pull and event steps read, to a namespace of the test's own, and
// returns it. All worlds of the test then have this namespace. The test cannot run in parallel.
func Namespace(t testing.TB) string {
	namespace := kubeapitest.Namespace(t)
	t.Setenv(envNamespace, namespace)
	return namespace
}

// After moves the clock.
func (w *World) After(d time.Duration) { w.Clock.SetTime(w.Clock.Now().Add(d)) }

// Intercept calls fn before each request of the function to the API. If fn returns an error, the
// function gets that instead of an answer. Intercept(nil) ends it. Requests that write Kubernetes Events
// are left out, here and in [World.Requests]: they come in the background, at any time.
func (w *World) Intercept(fn func(*http.Request) error) {
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	w.api.before = fn
}

// Requests lists the requests of the function about objects in its namespace since the last call of
// Requests, each with the path below the namespace: "GET books/one", "PATCH books/one/status".
func (w *World) Requests() []string {
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	var all []string
	for _, r := range w.api.seen {
		if _, path, ok := strings.Cut(r, "/namespaces/"+w.Namespace+"/"); ok {
			verb, _, _ := strings.Cut(r, " ")
			all = append(all, verb+" "+path)
		}
	}
	w.api.seen = nil
	slices.Sort(all)
	return all
}

// requests records the function's requests to the API.
type requests struct {
	// mu protects following.
	mu     sync.Mutex
	before func(*http.Request) error
	seen   []string
}

func (r *requests) observe(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if isEvent(req) {
			return next.RoundTrip(req)
		}
		r.mu.Lock()
		before := r.before
		r.seen = append(r.seen, req.Method+" "+req.URL.Path)
		r.mu.Unlock()
		if before != nil {
			if err := before(req); err != nil {
				return nil, err
			}
		}
		return next.RoundTrip(req)
	})
}

func isEvent(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/apis/"+eventsv1.GroupName+"/")
}

// Events lists the Kubernetes Events in the world's namespace, oldest first, each as "Warning Failed
// Book/a: note", with " (x2)" after one that has come twice. It waits until those are written that the
// function has recorded.
func (w *World) Events() []string {
	w.Helper()
	w.Function.Drain(w.Context())
	var events eventsv1.EventList
	u, err := w.objects.Resource(eventsv1.SchemeGroupVersion.WithResource("events")).Namespace(w.Namespace).List(w.Context(), metav1.ListOptions{})
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(u.UnstructuredContent(), &events)
	}
	if err != nil {
		w.Fatal(err)
	}
	slices.SortFunc(events.Items, func(a, b eventsv1.Event) int { return a.EventTime.Compare(b.EventTime.Time) })
	var lines []string
	for _, e := range events.Items {
		line := fmt.Sprintf("%s %s %s/%s: %s", e.Type, e.Reason, e.Regarding.Kind, e.Regarding.Name, e.Note)
		if e.Series != nil {
			line += fmt.Sprintf(" (x%d)", e.Series.Count)
		}
		lines = append(lines, line)
	}
	return lines
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Given creates an object in the world's namespace, as a user does.
func Given[T model.Object](w *World, obj T) T {
	w.Helper()
	obj.SetNamespace(w.Namespace)
	created, err := model.For[T](w.Models).Create(w.Context(), obj)
	if err != nil {
		w.Fatal(err)
	}
	return created
}

// Change changes an object as a user does.
func Change[T model.Object](w *World, name string, change func(T)) T {
	w.Helper()
	changed, _, err := model.For[T](w.Models).Modify(w.Context(), w.Namespace, name, func(obj T) error {
		change(obj)
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return changed
}

// Delete deletes an object as a user does.
func Delete[T model.Object](w *World, name string) {
	w.Helper()
	obj := model.New[T]()
	obj.SetNamespace(w.Namespace)
	obj.SetName(name)
	if err := model.For[T](w.Models).Delete(w.Context(), obj); err != nil {
		w.Fatal(err)
	}
}

// Get reads an object as it is now; ok is false if it is gone.
func Get[T model.Object](w *World, name string) (obj T, ok bool) {
	w.Helper()
	obj, err := model.For[T](w.Models).Get(w.Context(), w.Namespace, name)
	if model.IsGone(err) {
		return obj, false
	}
	if err != nil {
		w.Fatal(err)
	}
	return obj, true
}

// List reads all objects of a kind, sorted by name.
func List[T model.Object](w *World) []T {
	w.Helper()
	all, err := model.For[T](w.Models).List(w.Context(), w.Namespace, model.Filter{})
	if err != nil {
		w.Fatal(err)
	}
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all
}

// Snapshot reads what [model.Due] looks at.
func Snapshot[T model.Object](w *World, name string) *model.Snapshot {
	w.Helper()
	k, err := model.For[T](w.Models).Kind(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	u, err := w.Models.Live(w.Context(), k, w.Namespace, name)
	if err != nil {
		w.Fatal(err)
	}
	s, err := k.SnapshotOf(u)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// Meta is the metadata of an object with this name.
func Meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

// maxEvents is how many events [World.Settle] sends. More mean that steps wake each other forever.
const maxEvents = 1000

// Settle does what the model source does at the time of the world's clock: it sends an event for each
// object for which a step of the function is due, until there is none. It returns the number of events.
// Steps of other functions, such as the policy in a test of function sync, are not called.
func (w *World) Settle() (sent int) {
	w.Helper()
	for {
		due := w.due()
		for _, d := range due {
			if a := w.Send(d.object.WakeEvent(d.step, 1, w.Clock.Now(), d.dependencies...)); a.Code != http.StatusOK {
				w.Fatalf("%s of %s %s: the function answered %d: %s", d.step, d.object.Kind.GVK.Kind, d.object.Name, a.Code, a.Body)
			}
			if sent++; sent > maxEvents {
				w.Fatalf("still due after %d events: %s of %s %s", maxEvents, d.step, d.object.Kind.GVK.Kind, d.object.Name)
			}
		}
		if len(due) == 0 {
			return sent
		}
	}
}

type dueStep struct {
	object       *model.Snapshot
	step         model.Step
	dependencies []model.Dependency
}

// snapshots are those of all objects of a kind.
func (w *World) snapshots(ctx context.Context, gk schema.GroupKind) []*model.Snapshot {
	w.Helper()
	k, err := w.Models.Kind(ctx, gk)
	if err != nil {
		w.Fatal(err)
	}
	objects, err := w.Models.Snapshots(ctx, k, w.Namespace)
	if err != nil {
		w.Fatal(err)
	}
	return objects
}

// due lists what is due now.
func (w *World) due() (due []dueStep) {
	w.Helper()
	ctx := context.WithoutCancel(w.Context())
	for _, work := range w.Function.Work() {
		if work.GroupKind.Empty() {
			continue
		}
		for _, obj := range w.snapshots(ctx, work.GroupKind) {
			n, err := w.Models.Neighbours(ctx, model.Step(work.Step), obj)
			if err != nil {
				w.Fatal(err)
			}
			if model.Due(model.Step(work.Step), obj, n, w.Clock.Now()).Due() {
				due = append(due, dueStep{obj, model.Step(work.Step), n.Dependencies})
			}
		}
	}
	return due
}
