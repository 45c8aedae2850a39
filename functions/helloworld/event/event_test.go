package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

func TestMain(m *testing.M) {
	kubeapitest.Main(m, kubeapi.Options{CRDs: []string{"../../config/crds"}})
}

type instance = v1alpha1.HelloWorldServiceInstance

// world is the function over HTTP, in a namespace of its own.
type world struct {
	t         *testing.T
	ns        string
	url       string
	instances model.Models[*instance]
}

func newWorld(t *testing.T) *world {
	t.Helper()
	api := kubeapitest.Shared(t)
	kubeapitest.LeadTo(t, api)
	w := serve(t)
	models, err := model.NewClient(api.Config(), v1alpha1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	w.instances = model.For[*instance](models)
	return w
}

// serve serves the function, whatever API KUBECONFIG leads to.
func serve(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ns: kubeapitest.Namespace(t)}
	t.Setenv("NAMESPACE", w.ns)
	handler, err := build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.url = functiontest.Serve(t, handler)
	return w
}

// answer is what came back; Type is that of a reply.
type answer struct {
	Code       int
	Type, Body string
}

// send sends an event of the greeter.
func (w *world) send(data string) answer {
	w.t.Helper()
	return w.post(map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/greeter", "ce-type": api.TypeRequested, "Content-Type": "application/json"}, data)
}

func (w *world) post(headers map[string]string, body string) answer {
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		w.t.Error(err)
		return answer{}
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Error(err)
		return answer{}
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Error(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("ce-type"), strings.TrimSpace(string(raw))}
}

// handled is the answer to an event that was handled.
func (w *world) handled(op model.Operation, name string) answer {
	return answer{200, step.EventHandled, fmt.Sprintf(`{"operation":%q,"kind":"HelloWorldServiceInstance","namespace":%q,"name":%q}`, op, w.ns, name)}
}

func (w *world) create(name string, spec v1alpha1.HelloWorldServiceInstanceSpec, annotations map[string]string, finalizers ...string) *instance {
	w.t.Helper()
	i, err := w.instances.Create(w.t.Context(), &instance{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name, Annotations: annotations, Finalizers: finalizers}, Spec: spec})
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

// all lists the specs by object name.
func (w *world) all() map[string]v1alpha1.HelloWorldServiceInstanceSpec {
	w.t.Helper()
	list, err := w.instances.List(w.t.Context(), w.ns, model.Filter{})
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]v1alpha1.HelloWorldServiceInstanceSpec{}
	for _, i := range list {
		all[i.Name] = i.Spec
	}
	return all
}

type spec = v1alpha1.HelloWorldServiceInstanceSpec

func TestRequested(t *testing.T) {
	w := newWorld(t)
	want := func(reason string, got, want answer) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", reason, diff)
		}
	}
	want("an event makes an instance", w.send(`{"name":"Event 1","hello_to":"Arya"}`), w.handled(model.Created, "event-1"))
	want("the same again changes nothing", w.send(`{"name":"Event 1","hello_to":"Arya"}`), w.handled(model.Unchanged, "event-1"))
	live, err := w.instances.Get(t.Context(), w.ns, "event-1")
	if err != nil {
		t.Fatal(err)
	}
	live.Spec.Owner = &v1alpha1.OwnerReference{Name: "hello"}
	if _, _, err := w.instances.Update(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	want("also when the policy has given it an owner", w.send(`{"name":"Event 1","hello_to":"Arya"}`), w.handled(model.Unchanged, "event-1"))
	want("somebody else is greeted", w.send(`{"name":"Event 1","hello_to":"Bran"}`), w.handled(model.Updated, "event-1"))
	want("a record of a KafkaSource is the same", w.post(map[string]string{
		"ce-specversion": "1.0", "ce-id": "partition:0/offset:1", "ce-source": "/apis/v1/namespaces/x/kafkasources/y#topic", "ce-type": typeKafka, "ce-key": "k",
	}, `{"name":"Event 1","hello_to":"Bran"}`), w.handled(model.Unchanged, "event-1"))
	want("so is one with its data in base64", w.post(map[string]string{"Content-Type": "application/cloudevents+json"},
		`{"specversion":"1.0","id":"1","source":"/k","type":"dev.knative.kafka.event","data_base64":"eyJuYW1lIjoia2Fma2EiLCJoZWxsb190byI6IlNhbnNhIn0="}`), w.handled(model.Created, "kafka"))
	if diff := cmp.Diff(map[string]spec{
		"event-1": {Name: "Event 1", HelloTo: "Bran", Owner: &v1alpha1.OwnerReference{Name: "hello"}},
		"kafka":   {Name: "kafka", HelloTo: "Sansa"},
	}, w.all()); diff != "" {
		t.Errorf("what others have set stays: -want +got:\n%s", diff)
	}
}

func TestWhichInstance(t *testing.T) {
	mirror := hello.MirrorName("g")
	mirrors := map[string]string{hello.AnnotationGreetingID: "g", model.AnnotationNoSync: "true"}
	cases := map[string]struct {
		reason string
		there  func(w *world)
		name   string
		op     model.Operation
		object string // That the event leads to; empty if it is refused.
		code   int
		want   string // What the refusal says.
	}{
		"ByName":        {reason: "An instance is found by its name for humans", there: func(w *world) { w.create("other", spec{Name: "Event", HelloTo: "A"}, nil) }, name: "Event", op: model.Updated, object: "other"},
		"BySpecials":    {reason: "Whatever it is made of", there: func(w *world) { w.create("other", spec{Name: `a=b,c!\ 日本`, HelloTo: "A"}, nil) }, name: `a=b,c!\ 日本`, op: model.Updated, object: "other"},
		"ByObject":      {reason: "Or by that of the object, if it has no other", there: func(w *world) { w.create("event", spec{HelloTo: "A"}, nil) }, name: "event", op: model.Updated, object: "event"},
		"NotByObject":   {reason: "But not if it has", there: func(w *world) { w.create("event", spec{Name: "Other", HelloTo: "A"}, nil) }, name: "event", code: 422, want: `data.name: "event" would become the object event, which is there already and is called "Other"`},
		"Collision":     {reason: "Two names that become one object name", there: func(w *world) { w.create("a-b", spec{Name: "a b", HelloTo: "A"}, nil) }, name: "a/b", code: 422, want: `data.name: "a/b" would become the object a-b, which is there already and is called "a b"`},
		"CollisionBare": {reason: "Also with the name of the object", there: func(w *world) { w.create("a-b", spec{HelloTo: "A"}, nil) }, name: "A b", code: 422, want: `"A b" would become the object a-b, which is there already and is called "a-b"`},
		"Ambiguous": {reason: "One name of two", there: func(w *world) {
			w.create("a", spec{Name: "E", HelloTo: "A"}, nil)
			w.create("b", spec{Name: "E", HelloTo: "A"}, nil)
		}, name: "E", code: 422, want: `2 are called "E", a and b among them`},
		"AmbiguousBare": {reason: "One name of two, in different places", there: func(w *world) {
			w.create("e", spec{HelloTo: "A"}, nil)
			w.create("b", spec{Name: "e", HelloTo: "A"}, nil)
		}, name: "e", code: 422, want: "2 are called"},
		"Mirror":         {reason: "A mirror is pull's, and not changed", there: func(w *world) { w.create(mirror, spec{Name: "Event", HelloTo: "A"}, mirrors) }, name: "Event", op: model.Created, object: "event"},
		"MirrorByObject": {reason: "Also when its object name is used", there: func(w *world) { w.create(mirror, spec{HelloTo: "A"}, mirrors) }, name: mirror, code: 422, want: "which is there already"},
		"Deleting": {reason: "One that is going is waited for", there: func(w *world) {
			i := w.create("event", spec{HelloTo: "A"}, nil, "test/hold")
			if err := w.instances.Delete(w.t.Context(), i); err != nil {
				w.t.Fatal(err)
			}
		}, name: "event", code: 503, want: "is being deleted"},
		"Unspeakable": {reason: "A name without a letter has an object name all the same", there: func(*world) {}, name: "日本", op: model.Created, object: "helloworldserviceinstance-cf2abf0c5b"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tc.there(w)
			before := w.all()
			got := w.send(fmt.Sprintf(`{"name":%q,"hello_to":"B"}`, tc.name))
			if tc.object != "" {
				if diff := cmp.Diff(w.handled(tc.op, tc.object), got); diff != "" {
					t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
				}
				if got := w.all()[tc.object].HelloTo; got != "B" {
					t.Errorf("%s: want B to be greeted, got %q", tc.reason, got)
				}
				return
			}
			if got.Code != tc.code || !strings.Contains(got.Body, tc.want) {
				t.Errorf("%s: want %d about %q, got %+v", tc.reason, tc.code, tc.want, got)
			}
			if diff := cmp.Diff(before, w.all()); diff != "" {
				t.Errorf("%s: nothing is written: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("ä", 254)
	for name, tc := range map[string]struct{ reason, data, want string }{
		"Unknown":   {"A field that nobody knows", `{"name":"a","hello_to":"b","owner":"c"}`, `data: unknown field "owner"`},
		"NoName":    {"No name", `{"hello_to":"b"}`, "data.name: required"},
		"NoTo":      {"Nobody to greet", `{"name":"a"}`, "data.hello_to: required"},
		"Neither":   {"Both are named in one line", `{}`, "characters; data.hello_to: required"},
		"BlankName": {"A blank name", `{"name":" ","hello_to":"b"}`, "data.name: required"},
		"BlankTo":   {"A blank guest, which the model would refuse", `{"name":"a","hello_to":"\t"}`, "data.hello_to: required"},
		"LongName":  {"A name that is too long", `{"name":"` + long + `","hello_to":"b"}`, "data.name: expected at most 253 characters, got 254"},
		"LongTo":    {"A guest that is too long", `{"name":"a","hello_to":"` + long + `"}`, "data.hello_to: expected at most 253 characters, got 254"},
		"Type":      {"A number", `{"name":1,"hello_to":"b"}`, "data.name: expected a string, got number"},
		"Text":      {"No JSON", `hello`, "data: expected a JSON object"},
		"Empty":     {"Nothing", ``, "data: expected a JSON object, got nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.send(tc.data)
			if got.Code != 422 || !strings.Contains(got.Body, tc.want) || strings.Contains(got.Body, "\n") {
				t.Errorf("%s: want 422 with one line about %q, got %+v", tc.reason, tc.want, got)
			}
		})
	}
	if got := w.all(); len(got) != 0 {
		t.Errorf("nothing is made of bad events: got %v", got)
	}
	longest := strings.Repeat("ä", 253)
	if got := w.send(`{"name":"` + longest + `","hello_to":"` + longest + `"}`); got.Code != 200 {
		t.Errorf("the longest names are taken: got %+v", got)
	}
}

// TestAtTheSameTime sends the same event many times at once.
func TestAtTheSameTime(t *testing.T) {
	w := newWorld(t)
	const n = 12
	answers := make([]answer, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { answers[i] = w.send(`{"name":"Event","hello_to":"Arya"}`) })
	}
	all.Wait()
	created := 0
	for _, a := range answers {
		switch a {
		case w.handled(model.Created, "event"):
			created++
		case w.handled(model.Unchanged, "event"):
		default:
			t.Errorf("want created or unchanged, got %+v", a)
		}
	}
	if got := w.all(); created != 1 || len(got) != 1 {
		t.Errorf("want one instance, made once: made %d times, got %v", created, got)
	}
}

func TestAPIAway(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte("{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: x}}], clusters: [{name: x, cluster: {server: 'http://127.0.0.1:1'}}]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", kubeconfig)
	w := serve(t)
	if got := w.send(`{"name":"a","hello_to":"b"}`); got.Code != 503 || !strings.Contains(got.Body, "connection refused") {
		t.Errorf("an API that is away comes back: want 503, got %+v", got)
	}
	if got := w.send(`{"name":"a"}`); got.Code != 422 {
		t.Errorf("a bad event needs no API to be refused: got %+v", got)
	}
}
