package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/xos-knative/synchronizer/functions/deadletter/envelope"
	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
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

// token is the function's. It has the rights that config/core gives to the function's account, in
// all namespaces but those that begin with unbound.
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

// world is the function, with both of its doors, in front of a namespace of its own, and a
// subscriber that dead letters can be replayed to.
type world struct {
	*steptest.World
	// subscriber is Service event of the namespace, and every other host of the cluster.
	subscriber *subscriber
	// requests has the context of the newest request to the function.
	requests chan context.Context
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
	models, err := model.NewClient(kubeapitest.Shared(t).Config(), v1alpha1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	requests := make(chan context.Context, 1)
	url := functiontest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-requests:
		default:
		}
		requests <- r.Context()
		handler.ServeHTTP(w, r)
	}))
	w := &world{
		World:      &steptest.World{TB: t, Namespace: kubeapitest.Namespace(t), Models: models, Clock: clocktesting.NewFakePassiveClock(time.Now()), URL: url},
		subscriber: newSubscriber(t),
		requests:   requests,
	}
	w.proxied()
	return w
}

// proxied leads all names of a cluster to the subscriber.
func (w *world) proxied() {
	transport := http.DefaultTransport.(*http.Transport)
	before := transport.Proxy
	w.Cleanup(func() { transport.Proxy = before })
	transport.Proxy = func(r *http.Request) (*url.URL, error) {
		if r.URL.Hostname() == "127.0.0.1" {
			return nil, nil
		}
		return url.Parse(w.subscriber.url)
	}
}

// destination is the URL of Service event of the namespace.
func (w *world) destination() string { return "http://event." + w.Namespace + ".svc.cluster.local" }

// subscriber answers what it is told to and remembers what it got.
type subscriber struct {
	url string

	// mu protects following.
	mu     sync.Mutex
	code   int
	reason string
	// during is called while it has an event and has not answered. Default (nil): nothing.
	during func(cloudevents.Event)
	got    []cloudevents.Event
	// paths and tokens are those of the requests.
	paths, tokens []string
	headers       []http.Header
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
		if s.during != nil {
			s.during(*event)
		}
		s.got = append(s.got, *event)
		s.headers = append(s.headers, r.Header)
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
	e.SetExtension(envelope.ExtensionCode, 422)
	e.SetExtension(envelope.ExtensionReason, "bm8=") // no
	e.SetExtension(envelope.ExtensionDestination, w.destination())
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

// give delivers an event to the door for letters of the namespace.
func (w *world) give(event cloudevents.Event) steptest.Answer {
	w.Helper()
	return steptest.Post(w, w.URL+"/letters/"+w.Namespace, event)
}

// giveStructured is give in structured mode, and returns the status of the answer.
func (w *world) giveStructured(event cloudevents.Event) int {
	w.Helper()
	raw, err := json.Marshal(event)
	if err != nil {
		w.Fatal(err)
	}
	resp, err := http.Post(w.URL+"/letters/"+w.Namespace, cloudevents.ApplicationCloudEventsJSON, bytes.NewReader(raw))
	if err != nil {
		w.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// stored delivers an event that is to be stored, and returns what is then there of it. Like a Broker
// it tries again after a 503: on a slow machine a large event can take too long.
func (w *world) stored(event cloudevents.Event) *v1alpha1.DeadLetter {
	w.Helper()
	a := w.give(event)
	for range 4 {
		if a.Code == http.StatusServiceUnavailable {
			a = w.give(event)
		}
	}
	if a.Code != http.StatusOK || a.Reply != nil {
		w.Fatalf("a dead letter is taken: got %+v", a)
	}
	letter := w.get(envelope.Of(event).Name)
	if letter == nil {
		w.Fatal("the letter is not there")
	}
	return letter
}

// get returns nil if there is no such letter.
func (w *world) get(name string) *v1alpha1.DeadLetter {
	w.Helper()
	letter, ok := steptest.Get[*v1alpha1.DeadLetter](w.World, name)
	if !ok {
		return nil
	}
	return letter
}

// change changes a letter as a user does.
func (w *world) change(name string, fn func(*v1alpha1.DeadLetter)) {
	w.Helper()
	steptest.Change(w.World, name, fn)
}

// sync lets the sync step have an event about the letter, as the model source sends it, and returns
// what is then there.
func (w *world) sync(name string) *v1alpha1.DeadLetter {
	w.Helper()
	if a := steptest.Wake[*v1alpha1.DeadLetter](w.World, model.StepSync, name); a.Code != 200 {
		w.Fatalf("sync of %s: %+v", name, a)
	}
	return w.get(name)
}

// until waits for a condition.
func (w *world) until(what string, done func() bool) {
	w.Helper()
	err := wait.PollUntilContextTimeout(w.Context(), 10*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		w.Fatalf("%s: %v", what, err)
	}
}

// touch changes a letter, without a wish to replay it, and lets the sync step run.
func (w *world) touch(name string) *v1alpha1.DeadLetter {
	w.Helper()
	w.change(name, func(l *v1alpha1.DeadLetter) { l.Spec.Event.Subject = "touched" })
	return w.sync(name)
}

// replay asks for a replay and lets the sync step run.
func (w *world) replay(name string) *v1alpha1.DeadLetter {
	w.Helper()
	w.change(name, func(l *v1alpha1.DeadLetter) { l.Spec.Replay = true })
	return w.sync(name)
}
