package step

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
)

type (
	service  = v1alpha1.HelloWorldService
	instance = v1alpha1.HelloWorldServiceInstance
)

func TestMain(m *testing.M) {
	kubeapitest.Main(m, kubeapi.Options{CRDs: []string{"../../config/crds"}})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// fixture is a function under test: its engine behind HTTP, the API, and what
// its steps do.
type fixture struct {
	*testing.T
	models *model.Client // the test's own way to the API
	// namespace of the test's objects.
	namespace string
	clock     *clocktesting.FakePassiveClock
	engine    *Engine
	url       string

	// before, if set, is called before each request of the engine to the API;
	// an error is what the engine gets instead of an answer.
	before func(*http.Request) error
	// sync and clean are the steps, ok by default.
	sync  func(ctx context.Context, obj *instance) (string, error)
	clean func(ctx context.Context, obj *instance) error

	// mu protects following.
	mu    sync.Mutex
	calls []string
}

// Sync implements Syncer for instances.
func (f *fixture) Sync(ctx context.Context, obj *instance) (string, error) {
	f.called("sync " + obj.Spec.HelloTo)
	if f.sync == nil {
		return "", nil
	}
	return f.sync(ctx, obj)
}

// Delete implements Syncer for instances.
func (f *fixture) Delete(ctx context.Context, obj *instance) error {
	f.called("delete " + obj.Spec.HelloTo)
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

// took gives the calls since it was asked last.
func (f *fixture) took() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.calls = nil }()
	return strings.Join(f.calls, ", ")
}

// serviceSyncer syncs HelloWorldServices, whose sync does nothing.
type serviceSyncer struct{ f *fixture }

func (s serviceSyncer) Sync(context.Context, *service) (string, error) {
	s.f.called("sync service")
	return "", nil
}

func (s serviceSyncer) Delete(context.Context, *service) error {
	s.f.called("delete service")
	return nil
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	models, err := model.NewClient(kubeapitest.Shared(t).Config(), v1alpha1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{T: t, models: models, namespace: kubeapitest.Namespace(t), clock: clocktesting.NewFakePassiveClock(now)}
}

// client is the engine's way to the API.
func (f *fixture) client() *model.Client {
	f.Helper()
	config := kubeapitest.Shared(f).Config()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if f.before != nil {
				if err := f.before(r); err != nil {
					return nil, err
				}
			}
			return next.RoundTrip(r)
		})
	})
	models, err := model.NewClient(config, v1alpha1.AddToScheme)
	if err != nil {
		f.Fatal(err)
	}
	return models
}

// newSync makes a function with sync steps for both models.
func newSync(t *testing.T, options ...Option) *fixture {
	f := newFixture(t)
	e, err := NewSyncEngine(t.Context(), f.client(), []SyncStep{Sync(f), Sync(serviceSyncer{f})}, append([]Option{WithClock(f.clock)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	f.serve(e)
	return f
}

// newPolicy makes a function with policies for instances.
func newPolicy(t *testing.T, policies ...Policy[*instance]) *fixture {
	f := newFixture(t)
	e, err := NewPolicyEngine(t.Context(), f.client(), []PolicyStep{Policies(policies...)}, WithClock(f.clock))
	if err != nil {
		t.Fatal(err)
	}
	f.serve(e)
	return f
}

func (f *fixture) serve(e *Engine) {
	handler, err := e.HTTP()
	if err != nil {
		f.Fatal(err)
	}
	f.engine, f.url = e, functiontest.Serve(f, handler)
}

func (f *fixture) service(name string) *service {
	s := &service{Spec: v1alpha1.HelloWorldServiceSpec{HelloFrom: "Jhon Snow"}}
	s.Namespace, s.Name = f.namespace, name
	return s
}

func (f *fixture) instance(name string) *instance {
	i := &instance{Spec: v1alpha1.HelloWorldServiceInstanceSpec{HelloTo: "Dany", Owner: &v1alpha1.OwnerReference{Name: "hello"}}}
	i.Namespace, i.Name = f.namespace, name
	return i
}

func save[T model.Object](f *fixture, obj T) T {
	f.Helper()
	models := model.For[T](f.models)
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
	if err := model.For[T](f.models).Delete(f.Context(), obj); err != nil {
		f.Fatal(err)
	}
}

// live takes a snapshot of an object as it is now.
func live[T model.Object](f *fixture, obj T) *model.Snapshot {
	f.Helper()
	k, err := model.For[T](f.models).Kind(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	u, err := f.models.Live(f.Context(), k, obj.GetNamespace(), obj.GetName())
	if err != nil {
		f.Fatal(err)
	}
	s, err := k.SnapshotOf(u)
	if err != nil {
		f.Fatal(err)
	}
	return s
}

// synced makes a HelloWorldService that is synced.
func (f *fixture) synced(name string) *service {
	f.Helper()
	s := save(f, f.service(name))
	f.acknowledge(live(f, s), model.StepSync, model.StateOK)
	return s
}

// acknowledge stores an outcome as another run would.
func (f *fixture) acknowledge(s *model.Snapshot, step model.Step, state model.State) {
	f.Helper()
	part := &model.StepStatus{Generation: s.Generation, State: state, Message: "by another run"}
	n, err := f.models.Neighbours(f.Context(), step, s)
	if err != nil {
		f.Fatal(err)
	}
	for _, d := range n.Dependencies {
		part.Dependencies = append(part.Dependencies, model.DependencyStatus{
			Kind: d.Kind.Kind, Name: d.Name, UID: string(d.Object.UID), Generation: d.Object.Generation})
	}
	if err := f.models.SetStep(f.Context(), s, step, part); err != nil {
		f.Fatal(err)
	}
}

// answer is what came back for an event.
type answer struct {
	code  int
	body  string
	reply *cloudevents.Event
}

// wake sends the model event for an object as the source does.
func wake[T model.Object](f *fixture, obj T) answer {
	f.Helper()
	return f.post(live(f, obj).WakeEvent(f.engine.step, 1, now))
}

func (f *fixture) post(event cloudevents.Event) answer {
	f.Helper()
	req, err := cloudevents.NewHTTPRequestFromEvent(f.Context(), f.url, event)
	if err != nil {
		f.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Fatal(err)
	}
	a := answer{code: resp.StatusCode, body: strings.TrimSpace(string(body))}
	if resp.StatusCode == http.StatusOK && len(body) > 0 {
		// A body with 200 must be a CloudEvent, or a broker delivers again.
		resp.Body = io.NopCloser(bytes.NewReader(body))
		if a.reply, err = cloudevents.NewEventFromHTTPResponse(resp); err != nil {
			f.Fatalf("200 with a body that is no CloudEvent: %s", body)
		}
		if err := a.reply.Validate(); err != nil || a.reply.ID() == "" || a.reply.Time().IsZero() {
			f.Fatalf("the reply needs an id and a time: %s, %v", a.reply, err)
		}
		if _, ok := a.reply.Extensions()[model.ExtensionStep]; ok {
			f.Fatalf("a reply with a step would wake a function: %s", a.reply)
		}
		a.body = ""
	}
	return a
}

// wants checks the answer: its code, the type of its reply ("" for none), and
// what its body says.
func (f *fixture) wants(a answer, code int, replyType string, says ...string) {
	f.Helper()
	got := ""
	if a.reply != nil {
		got = a.reply.Type()
	}
	if a.code != code || got != replyType {
		f.Errorf("want %d with reply %q, got %d with %q, body %q", code, replyType, a.code, got, a.body)
	}
	for _, text := range says {
		if !strings.Contains(a.body, text) {
			f.Errorf("the body must say %q, got %q", text, a.body)
		}
	}
	if len(says) == 0 && a.body != "" {
		f.Errorf("want an empty body, got %q", a.body)
	}
}

// wantCalls checks the calls of the steps since it was asked last.
func (f *fixture) wantCalls(want string) {
	f.Helper()
	if got := f.took(); got != want {
		f.Errorf("want calls %q, got %q", want, got)
	}
}

// wantStatus checks the step's part of an object's status.
func wantStatus[T model.Object](f *fixture, obj T, state model.State, says ...string) *model.StepStatus {
	f.Helper()
	s := live(f, obj).Status.Step(f.engine.step)
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
