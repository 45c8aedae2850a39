package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/tosca/server"
)

var (
	shelves     = schema.GroupVersionResource{Group: "library.xos-knative.dev", Version: "v1alpha1", Resource: "shelves"}
	books       = schema.GroupVersionResource{Group: "library.xos-knative.dev", Version: "v1alpha1", Resource: "books"}
	constraints = schema.GroupVersionResource{Group: "core.xos-knative.dev", Version: "v1alpha1", Resource: "servicegraphconstraints"}
	widgets     = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
	makers      = schema.GroupVersionResource{Group: "makers.example.com", Version: "v1", Resource: "makers"}
	models      = []schema.GroupVersionResource{shelves, books, constraints, widgets, makers}
)

// Tokens of the users that the API knows, and what these may do.
const (
	alice    = "alice-token"    // everything
	reader   = "reader-token"   // get and list
	resident = "resident-token" // everything in namespaces, nothing outside: no CRDs
)

var api = kubeapi.Options{
	CRDs:       []string{"../../../config/core/crds", "../../testdata/library/config/crds", "../testdata/crds"},
	Tokens:     map[string]string{alice: "alice", reader: "reader", resident: "resident"},
	Authorizer: authorizer.AuthorizerFunc(authorize),
}

func TestMain(m *testing.M) { kubeapitest.Main(m, api) }

func authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	switch name := a.GetUser().GetName(); {
	case name == "alice",
		name == "reader" && a.IsReadOnly(),
		name == "resident" && a.GetNamespace() != "":
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionDeny, "not allowed in this test", nil
}

// world is a TOSCA function in front of the API, with a proxy in between that sees and can disturb
// what it asks.
type world struct {
	t         testing.TB
	api       *kubeapi.Server
	namespace string
	url       string
	handler   http.Handler
	admin     dynamic.Interface
	proxy     *httptest.Server
	// logs are what the function logs as a warning or worse.
	logs *observer.ObservedLogs
	// requests are those that the function is handling.
	requests sync.WaitGroup

	// mu protects following.
	mu sync.Mutex
	// request is the context of the newest request to the function.
	request context.Context
	tokens  map[string]bool
	writes  []string
	// user is who the API says that the caller is: a service account of the namespace. If it is
	// empty, the API does not say, like the one of these tests.
	user string
	// disturb is called for each request before the API gets it; true means that it has answered.
	disturb func(w http.ResponseWriter, r *http.Request) bool
}

func newWorld(t testing.TB, options ...func(*server.Options)) *world {
	t.Helper()
	return newWorldOn(t, kubeapitest.Shared(t), options...)
}

// newWorldOn is newWorld for a test that has an API of its own.
func newWorldOn(t testing.TB, api *kubeapi.Server, options ...func(*server.Options)) *world {
	t.Helper()
	w := &world{t: t, api: api, namespace: kubeapitest.Namespace(t), tokens: map[string]bool{}}
	admin, err := dynamic.NewForConfig(api.Config())
	if err != nil {
		t.Fatal(err)
	}
	w.admin, w.user = admin, "system:serviceaccount:"+w.namespace+":somebody"
	w.proxy = w.startProxy()
	o := server.Options{API: &rest.Config{Host: w.proxy.URL, BearerToken: "the function's own, never to be seen"}}
	for _, f := range options {
		f(&o)
	}
	handler, err := server.New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.handler = handler
	core, logs := observer.New(zap.WarnLevel)
	w.logs = logs
	w.url = functiontest.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.requests.Add(1)
		defer w.requests.Done()
		w.mu.Lock()
		w.request = r.Context()
		w.mu.Unlock()
		handler.ServeHTTP(rw, r.WithContext(logging.WithLogger(r.Context(), zap.New(core).Sugar())))
	}))
	return w
}

func (w *world) startProxy() *httptest.Server {
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(w.api.Config()))
	if err != nil {
		w.t.Fatal(err)
	}
	target, err := url.Parse(w.api.URL())
	if err != nil {
		w.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.tokens[r.Header.Get("Authorization")] = true
		if r.Method != http.MethodGet && r.URL.Path != reviews && !isDryRun(r) {
			w.writes = append(w.writes, r.Method+" "+r.URL.Path)
		}
		disturb, user := w.disturb, w.user
		w.mu.Unlock()
		switch {
		case r.URL.Path == reviews && user != "":
			review(rw, user)
		case disturb == nil || !disturb(rw, r):
			proxy.ServeHTTP(rw, r)
		}
	}))
	w.t.Cleanup(s.Close)
	return s
}

// reviews is where a client asks the API who it is.
const reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

func review(w http.ResponseWriter, user string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "status": {"userInfo": {"username": %q}}}`, user)
}

func isDryRun(r *http.Request) bool {
	if r.URL.Query().Get("dryRun") == metav1.DryRunAll {
		return true
	}
	// A deletion carries its options in its body.
	if r.Method != http.MethodDelete {
		return false
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return bytes.Contains(body, []byte(`"dryRun":["All"]`))
}

func (w *world) disturbBy(f func(rw http.ResponseWriter, r *http.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disturb = f
}

// hungUp is closed when the function has noticed that its newest caller is gone.
func (w *world) hungUp() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.request.Done()
}

func (w *world) calledBy(user string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.user = user
}

func (w *world) writesSoFar() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.writes...)
}

// answer is what came back.
type answer struct {
	code   int
	body   string
	header http.Header
}

// send makes a request as alice, unless the headers (name, value, ...) say who else.
func (w *world) send(method, path, body string, headers ...string) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+alice)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{code: resp.StatusCode, body: string(raw), header: resp.Header}
}

func (w *world) run(recipe string) answer    { w.t.Helper(); return w.send("POST", "/run", recipe) }
func (w *world) delete(recipe string) answer { w.t.Helper(); return w.send("POST", "/delete", recipe) }

// want checks an answer: its status, and what its text is or begins with (a trailing "...").
func (a answer) want(t testing.TB, reason string, code int, body string) {
	t.Helper()
	if a.code != code {
		t.Errorf("%s: want status %d, got %d: %s", reason, code, a.code, a.body)
		return
	}
	if start, open := strings.CutSuffix(body, "..."); open && strings.HasPrefix(a.body, start) {
		return
	}
	if diff := cmp.Diff(body, a.body); diff != "" {
		t.Errorf("%s: -want +got:\n%s", reason, diff)
	}
}

// state is every object of the namespace with its resource version: two equal states mean that
// nothing was written.
func (w *world) state() map[string]string {
	w.t.Helper()
	state := map[string]string{}
	for _, gvr := range models {
		list, err := w.admin.Resource(gvr).Namespace(w.namespace).List(context.Background(), metav1.ListOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, o := range list.Items {
			state[gvr.Resource+"/"+o.GetName()] = o.GetResourceVersion()
		}
	}
	return state
}

func (w *world) objects() []string {
	w.t.Helper()
	names := []string{}
	for name := range w.state() {
		names = append(names, name)
	}
	return names
}

func (w *world) get(gvr schema.GroupVersionResource, name string) *unstructured.Unstructured {
	w.t.Helper()
	o, err := w.admin.Resource(gvr).Namespace(w.namespace).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) spec(gvr schema.GroupVersionResource, name string) map[string]any {
	w.t.Helper()
	spec, _, _ := unstructured.NestedMap(w.get(gvr, name).Object, "spec")
	return spec
}

// create makes an object as somebody with kubectl would.
func (w *world) create(gvr schema.GroupVersionResource, kind, name string, spec map[string]any) *unstructured.Unstructured {
	w.t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(gvr.GroupVersion().WithKind(kind))
	o.SetName(name)
	made, err := w.admin.Resource(gvr).Namespace(w.namespace).Create(context.Background(), o, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

// change writes to an object, its status included, as a step or another user would. It is called
// from other goroutines, too, and so does not end the test.
func (w *world) change(gvr schema.GroupVersionResource, name string, f func(o map[string]any)) {
	r := w.admin.Resource(gvr).Namespace(w.namespace)
	o, err := r.Get(context.Background(), name, metav1.GetOptions{})
	if err == nil {
		f(o.Object)
		status := o.DeepCopy()
		if o, err = r.Update(context.Background(), o, metav1.UpdateOptions{}); err == nil && status.Object["status"] != nil {
			status.SetResourceVersion(o.GetResourceVersion())
			_, err = r.UpdateStatus(context.Background(), status, metav1.UpdateOptions{})
		}
	}
	if err != nil {
		w.t.Errorf("cannot change %s: %v", name, err)
	}
}

// ready is a status as the engine writes it.
func ready(generation int64, status, reason, message string) map[string]any {
	return map[string]any{"observedGeneration": generation, "conditions": []any{
		map[string]any{"type": "Ready", "status": status, "reason": reason, "message": message},
	}}
}
