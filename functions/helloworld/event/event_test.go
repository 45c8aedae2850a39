package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

func TestMain(m *testing.M) { steptest.Main(m, "../../../config/helloworld/crds") }

// world is the function in a namespace of its own.
type world struct {
	*steptest.World
	instances model.Models[*instance]
}

func newWorld(t *testing.T) *world {
	t.Helper()
	steptest.Namespace(t)
	w := &world{World: steptest.New(t, steps, v1alpha1.AddToScheme)}
	w.instances = model.For[*instance](w.Models)
	return w
}

// answer is what came back: of a reply its type and data.
type answer struct {
	Code       int
	Type, Body string
}

func (w *world) post(event cloudevents.Event) answer {
	w.Helper()
	a := w.Send(event)
	if a.Reply != nil {
		return answer{a.Code, a.Reply.Type(), string(a.Reply.Data())}
	}
	return answer{a.Code, "", a.Body}
}

// send sends an event of the greeter.
func (w *world) send(data string) answer {
	w.Helper()
	return w.post(steptest.Event(api.TypeRequested, data))
}

// handled is the answer to an event that was handled.
func (w *world) handled(op model.Operation, name string) answer {
	return answer{200, step.EventHandled, fmt.Sprintf(`{"operation":%q,"kind":"HelloWorldServiceInstance","namespace":%q,"name":%q}`, op, w.Namespace, name)}
}

func (w *world) create(name string, spec v1alpha1.HelloWorldServiceInstanceSpec, annotations map[string]string, finalizers ...string) *instance {
	w.Helper()
	return steptest.Given(w.World, &instance{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations, Finalizers: finalizers}, Spec: spec})
}

// all lists the specs by object name.
func (w *world) all() map[string]v1alpha1.HelloWorldServiceInstanceSpec {
	w.Helper()
	all := map[string]v1alpha1.HelloWorldServiceInstanceSpec{}
	for _, i := range steptest.List[*instance](w.World) {
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
	steptest.Change(w.World, "event-1", func(i *instance) { i.Spec.Owner = &v1alpha1.OwnerReference{Name: "hello"} })
	want("also when the policy has given it an owner", w.send(`{"name":"Event 1","hello_to":"Arya"}`), w.handled(model.Unchanged, "event-1"))
	want("somebody else is greeted", w.send(`{"name":"Event 1","hello_to":"Bran"}`), w.handled(model.Updated, "event-1"))
	record := steptest.Event(typeKafka, `{"name":"Event 1","hello_to":"Bran"}`)
	record.SetDataContentType("") // A KafkaSource says nothing of it.
	record.SetExtension("key", "k")
	want("a record of a KafkaSource is the same", w.post(record), w.handled(model.Unchanged, "event-1"))
	resp, err := http.Post(w.URL, "application/cloudevents+json", strings.NewReader(
		`{"specversion":"1.0","id":"1","source":"/k","type":"dev.knative.kafka.event","data_base64":"eyJuYW1lIjoia2Fma2EiLCJoZWxsb190byI6IlNhbnNhIn0="}`))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("so is one with its data in base64: got %v, %v", resp, err)
	}
	_ = resp.Body.Close()
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
			if err := w.instances.Delete(w.Context(), i); err != nil {
				w.Fatal(err)
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
	w := newWorld(t)
	w.Intercept(func(*http.Request) error { return errors.New("connection refused") })
	if got := w.send(`{"name":"a","hello_to":"b"}`); got.Code != 503 || !strings.Contains(got.Body, "connection refused") {
		t.Errorf("an API that is away comes back: want 503, got %+v", got)
	}
	if got := w.send(`{"name":"a"}`); got.Code != 422 {
		t.Errorf("a bad event needs no API to be refused: got %+v", got)
	}
}

func TestWires(t *testing.T) {
	newWorld(t).CheckWires("helloworld", "event", "../../../config", "../../../eventing")
}
