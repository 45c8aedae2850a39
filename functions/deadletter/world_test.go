package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
)

func TestMain(m *testing.M) {
	if err := rights.Grant("../../config/core/deadletter.yaml", "../../config/core/model-definitions.yaml"); err != nil {
		log.Fatal(err)
	}
	kubeapitest.Main(m, kubeapi.Options{
		CRDs:       []string{"../../config/core/crds"},
		Tokens:     map[string]string{token: "deadletter"},
		Authorizer: authorizer.AuthorizerFunc(authorize),
	})
}

// token is the function's. It has the rights that config/core gives to the
// function's account, in all namespaces but those that begin with unbound.
const (
	token   = "deadletter-token"
	unbound = "unbound"
)

var rights kubeapitest.Rights

func authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if strings.HasPrefix(a.GetNamespace(), unbound) {
		return authorizer.DecisionNoOpinion, "no RoleBinding", nil
	}
	return rights.Authorize(ctx, a)
}

// world is the function over HTTP, in front of a namespace of its own, with a
// subscriber that dead letters can be replayed to.
type world struct {
	t          *testing.T
	ns         string
	url        string
	models     *model.Client
	letters    model.Models[*v1alpha1.DeadLetter]
	subscriber *subscriber
}

func newWorld(t *testing.T, env ...string) *world {
	t.Helper()
	return newWorldOn(t, functionConfig(t), env...)
}

// functionConfig is the function's way to the API.
func functionConfig(t *testing.T) *rest.Config {
	config := kubeapitest.Shared(t).Config()
	config.BearerToken = token
	return config
}

func newWorldOn(t *testing.T, config *rest.Config, env ...string) *world {
	t.Helper()
	w := &world{t: t, ns: kubeapitest.Namespace(t), subscriber: newSubscriber(t)}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
	settings, err := function.Env[settings]()
	if err != nil {
		t.Fatal(err)
	}
	handler, err := newFunction(t.Context(), config, settings)
	if err != nil {
		t.Fatal(err)
	}
	w.url = functiontest.Serve(t, handler)
	if w.models, err = model.NewClient(kubeapitest.Shared(t).Config(), v1alpha1.AddToScheme); err != nil {
		t.Fatal(err)
	}
	w.letters = model.For[*v1alpha1.DeadLetter](w.models)
	return w
}

// subscriber answers what it is told to and remembers what it got.
type subscriber struct {
	url string

	// mu protects following.
	mu     sync.Mutex
	code   int
	reason string
	got    []cloudevents.Event
	// paths and tokens are those of the requests.
	paths, tokens []string
}

func newSubscriber(t *testing.T) *subscriber {
	s := &subscriber{code: 200}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event, err := cloudevents.NewEventFromHTTPRequest(r)
		if err != nil {
			t.Error(err)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.got = append(s.got, *event)
		s.paths = append(s.paths, r.URL.Path)
		s.tokens = append(s.tokens, r.Header.Get("Authorization"))
		if s.code == 0 {
			panic(http.ErrAbortHandler)
		}
		http.Error(w, s.reason, s.code)
	}))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func (s *subscriber) answer(code int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code, s.reason = code, reason
}

// last is the last event it got, and how many there were.
func (s *subscriber) last() (*cloudevents.Event, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.got) == 0 {
		return nil, 0
	}
	return &s.got[len(s.got)-1], len(s.got)
}

// event is one that could not be delivered to the subscriber.
func (w *world) event(change ...func(*cloudevents.Event)) cloudevents.Event {
	e := cloudevents.NewEvent()
	e.SetID("1")
	e.SetSource("/greeter")
	e.SetType("greeting")
	e.SetExtension(extensionCode, 422)
	e.SetExtension(extensionReason, "bm8=") // no
	e.SetExtension(extensionDestination, w.subscriber.url)
	for _, c := range change {
		c(&e)
	}
	return e
}

func data(contentType string, raw []byte) func(*cloudevents.Event) {
	return func(e *cloudevents.Event) {
		if contentType != "" {
			e.SetDataContentType(contentType)
		}
		e.DataEncoded = raw
	}
}

// give delivers an event to the door for letters, in binary mode, and returns the answer.
func (w *world) give(event cloudevents.Event) (int, string) {
	w.t.Helper()
	return w.post(binding.WithForceBinary(w.t.Context()), "/letters/"+w.ns, event)
}

func (w *world) post(ctx context.Context, path string, event cloudevents.Event) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cehttp.WriteRequest(ctx, binding.ToMessage(&event), req); err != nil {
		w.t.Fatal(err)
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
	return resp.StatusCode, strings.TrimSpace(string(raw))
}

// stored delivers an event that is to be stored, and returns what is then there of it.
func (w *world) stored(event cloudevents.Event) *v1alpha1.DeadLetter {
	w.t.Helper()
	if code, body := w.give(event); code != 200 || body != "" {
		w.t.Fatalf("a dead letter is taken: got %d %s", code, body)
	}
	letter := w.get(letterOf(event).Name)
	if letter == nil {
		w.t.Fatal("the letter is not there")
	}
	return letter
}

// get returns nil if there is no such letter.
func (w *world) get(name string) *v1alpha1.DeadLetter {
	w.t.Helper()
	letter, err := w.letters.Get(w.t.Context(), w.ns, name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return letter
}

// change changes a letter as a user does.
func (w *world) change(name string, fn func(*v1alpha1.DeadLetter)) {
	w.t.Helper()
	_, _, err := w.letters.Modify(w.t.Context(), w.ns, name, func(l *v1alpha1.DeadLetter) error {
		fn(l)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// sync lets the sync step have an event about the letter, as the model source
// sends it, and returns what is then there.
func (w *world) sync(name string) *v1alpha1.DeadLetter {
	w.t.Helper()
	k, err := w.models.Kind(w.t.Context(), v1alpha1.GroupVersion.WithKind("DeadLetter").GroupKind())
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
	if code, body := w.post(binding.WithForceBinary(w.t.Context()), "/", s.WakeEvent(model.StepSync, 1, time.Now())); code != 200 {
		w.t.Fatalf("sync of %s: %d %s", name, code, body)
	}
	return w.get(name)
}

// replay asks for a replay and lets the sync step run.
func (w *world) replay(name string) *v1alpha1.DeadLetter {
	w.t.Helper()
	w.change(name, func(l *v1alpha1.DeadLetter) { l.Spec.Replay = true })
	return w.sync(name)
}
