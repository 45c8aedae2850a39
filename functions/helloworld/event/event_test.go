package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

func TestMain(m *testing.M) { steptest.Main(m, "../../../config/helloworld/crds") }

const kind = "HelloWorldServiceInstance"

type spec = v1alpha1.HelloWorldServiceInstanceSpec

// world is the function in a namespace of its own.
type world struct{ *steptest.World }

func newWorld(t *testing.T) *world {
	t.Helper()
	steptest.Namespace(t)
	return &world{steptest.New(t, steps, v1alpha1.AddToScheme)}
}

// answer is an answer of the function. A reply has a type, and its data as the body.
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

// names are the display names of instances by the names of their objects.
type names map[string]string

// given makes the instances. Each greets A, and is edited before.
func (w *world) given(there names, edit func(*instance)) {
	w.Helper()
	for object, name := range there {
		i := &instance{ObjectMeta: steptest.Meta(object), Spec: spec{Name: name, HelloTo: "A"}}
		if edit != nil {
			edit(i)
		}
		steptest.Given(w.World, i)
	}
}

// all lists the specs by object name.
func (w *world) all() map[string]spec {
	w.Helper()
	all := map[string]spec{}
	for _, i := range steptest.List[*instance](w.World) {
		all[i.Name] = i.Spec
	}
	return all
}

func TestRequested(t *testing.T) {
	w := newWorld(t)
	want := func(reason string, got, want answer) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", reason, diff)
		}
	}
	want("an event makes an instance", w.send(`{"name":"Event 1","hello_to":"Arya"}`), w.handled(model.Created, "event-1"))
	want("the same event again changes nothing", w.send(`{"name":"Event 1","hello_to":"Arya"}`), w.handled(model.Unchanged, "event-1"))
	steptest.Change(w.World, "event-1", func(i *instance) { i.Spec.Owner = &v1alpha1.OwnerReference{Name: "hello"} })
	want("also after the policy has set an owner", w.send(`{"name":"Event 1","hello_to":"Arya"}`), w.handled(model.Unchanged, "event-1"))
	want("another guest changes the instance", w.send(`{"name":"Event 1","hello_to":"Bran"}`), w.handled(model.Updated, "event-1"))
	record := steptest.Event(typeKafka, `{"name":"Event 1","hello_to":"Bran"}`)
	record.SetDataContentType("") // A KafkaSource sets none.
	record.SetExtension("key", "k")
	want("the record of a KafkaSource is the same", w.post(record), w.handled(model.Unchanged, "event-1"))
	resp, err := http.Post(w.URL, "application/cloudevents+json", strings.NewReader(
		`{"specversion":"1.0","id":"1","source":"/k","type":"dev.knative.kafka.event","data_base64":"eyJuYW1lIjoia2Fma2EiLCJoZWxsb190byI6IlNhbnNhIn0="}`))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("also with its data in base64: got %v, %v", resp, err)
	}
	_ = resp.Body.Close()
	if diff := cmp.Diff(map[string]spec{
		"event-1": {Name: "Event 1", HelloTo: "Bran", Owner: &v1alpha1.OwnerReference{Name: "hello"}},
		"kafka":   {Name: "kafka", HelloTo: "Sansa"},
	}, w.all()); diff != "" {
		t.Errorf("other fields stay as they are: -want +got:\n%s", diff)
	}
}

func mirrors(i *instance) {
	i.Annotations = map[string]string{model.AnnotationMirrors: "g", model.AnnotationNoSync: "true"}
}

func TestWhichInstance(t *testing.T) {
	cases := map[string]struct {
		reason string
		there  names
		edit   func(*instance) // What is special about it.
		name   string
		object string // The object that the event creates or changes.
	}{
		"ByName":         {"An instance is found by its display name", names{"other": "Event"}, nil, "Event", "other"},
		"BySpecials":     {"A display name can have any characters", names{"other": `a=b,c!\ 日本`}, nil, `a=b,c!\ 日本`, "other"},
		"ByObject":       {"Without one the name of the object counts", names{"event": ""}, nil, "event", "event"},
		"Mirror":         {"A mirror is not changed", names{model.MirrorName("g"): "Event"}, mirrors, "Event", "event"},
		"OtherForm":      {"The normal form of a name does not matter", names{"other": "Jo\u0308rg"}, nil, "Jörg", "other"},
		"OldObject":      {"An object keeps the name that it was made with", names{"j-rg": "Jörg"}, nil, "Jo\u0308rg", "j-rg"},
		"NotByObject":    {"The name of an object with another display name", names{"event": "Other"}, nil, "event", model.DistinctName(kind, "event")},
		"MirrorByObject": {"The name of a mirror's object", names{model.MirrorName("g"): ""}, mirrors, model.MirrorName("g"), model.DistinctName(kind, model.MirrorName("g"))},
		"NoName":         {"The object name of an instance without a display name", names{"a-b": ""}, nil, "A b", model.DistinctName(kind, "A b")},
		"NoASCIILetters": {"Every name has an object name", nil, nil, "日本", "helloworldserviceinstance-cf2abf0c5b"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.given(tc.there, tc.edit)
			op := model.Created
			if _, ok := tc.there[tc.object]; ok {
				op = model.Updated
			}
			got := w.send(fmt.Sprintf(`{"name":%q,"hello_to":"B"}`, tc.name))
			if diff := cmp.Diff(w.handled(op, tc.object), got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
			if got := w.all()[tc.object].HelloTo; got != "B" {
				t.Errorf("%s: want B to be greeted, got %q", tc.reason, got)
			}
		})
	}
}

func reversed(names []string) []string {
	names = slices.Clone(names)
	slices.Reverse(names)
	return names
}

// TestDistinctNames sends events whose names look alike, in either order.
func TestDistinctNames(t *testing.T) {
	long := strings.Repeat("a ", 100)
	cases := map[string]struct {
		reason string
		names  []string
	}{
		"Cyrillic":    {"Names in another alphabet", []string{"Иван 1", "Пётр 1"}},
		"Umlauts":     {"Names that differ in an umlaut", []string{"Jörg", "Jürg", "J rg"}},
		"Case":        {"Names that differ in case", []string{"Ann", "ann", "ANN"}},
		"Punctuation": {"Names that differ in spaces and punctuation", []string{"a b", "a-b", "a/b", " a b"}},
		"Long":        {"Long names that differ at the end", []string{long + "b", long + "c", long + "C"}},
		"Nothing":     {"Names without letters", []string{"!", "?", "日本"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for _, ordered := range [][]string{tc.names, reversed(tc.names)} {
				w := newWorld(t)
				for range 2 { // The second time each event finds its instance.
					for _, name := range ordered {
						if got := w.send(fmt.Sprintf(`{"name":%q,"hello_to":%q}`, name, name)); got.Code != 200 {
							t.Errorf("%s: %q: want an instance, got %+v", tc.reason, name, got)
						}
					}
				}
				got := map[string]string{}
				for _, s := range w.all() {
					got[s.Name] = s.HelloTo
				}
				want := map[string]string{}
				for _, name := range tc.names {
					want[name] = name
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s have an instance each: -want +got:\n%s", tc.reason, diff)
				}
			}
		})
	}
}

func TestNoInstance(t *testing.T) {
	hold := func(i *instance) { i.Finalizers = []string{"test/hold"} }
	cases := map[string]struct {
		reason  string
		there   names
		edit    func(*instance)
		deleted string // The object that is being deleted.
		name    string
		code    int
		want    string // The reason of the refusal.
	}{
		"Collision": {"A display name whose object names are both taken", names{"a-b": "a b", model.DistinctName(kind, "a/b"): "x"}, nil, "", "a/b",
			422, `spec.name: "a/b" would be the HelloWorldServiceInstance ` + model.DistinctName(kind, "a/b") + `, which is there already and is "x"`},
		"Ambiguous":     {"A display name that two instances have", names{"a": "E", "b": "E"}, nil, "", "E", 422, `expected one HelloWorldServiceInstance with "E", got 2, a and b among them`},
		"AmbiguousBare": {"A display name that is also the name of an object", names{"e": "", "b": "e"}, nil, "", "e", 422, "got 2"},
		"Deleting":      {"An instance that is being deleted", names{"event": ""}, hold, "event", "event", 503, "is being deleted"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.given(tc.there, tc.edit)
			if tc.deleted != "" {
				steptest.Delete[*instance](w.World, tc.deleted)
			}
			before := w.all()
			got := w.send(fmt.Sprintf(`{"name":%q,"hello_to":"B"}`, tc.name))
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
		"Unknown":   {"An unknown field", `{"name":"a","hello_to":"b","owner":"c"}`, `data: unknown field "owner"`},
		"NoName":    {"No name", `{"hello_to":"b"}`, "data.name: required"},
		"NoTo":      {"Nobody to greet", `{"name":"a"}`, "data.hello_to: required"},
		"Neither":   {"Both reasons are in one line", `{}`, "characters; data.hello_to: required"},
		"BlankName": {"A blank name", `{"name":" ","hello_to":"b"}`, "data.name: required"},
		"BlankTo":   {"A blank guest", `{"name":"a","hello_to":"\t"}`, "data.hello_to: required"},
		"LongName":  {"A name that is too long", `{"name":"` + long + `","hello_to":"b"}`, "data.name: expected at most 253 characters, got 254"},
		"LongTo":    {"A guest that is too long", `{"name":"a","hello_to":"` + long + `"}`, "data.hello_to: expected at most 253 characters, got 254"},
		"Type":      {"A number as name", `{"name":1,"hello_to":"b"}`, "data.name: expected a string, got number"},
		"HalfTo":    {"Half of a surrogate pair", `{"name":"s","hello_to":"\ud800"}`, "data.hello_to: expected text in Unicode"},
		"HalfName":  {"Also in the name", `{"name":"\udc00","hello_to":"s"}`, "data.name: expected text in Unicode"},
		"NotUTF8":   {"Bytes that are not UTF-8", "{\"name\":\"s\",\"hello_to\":\"\xff\"}", "data: expected JSON in UTF-8"},
		"Twice":     {"A field twice", `{"name":"s","hello_to":"a","hello_to":"b"}`, `data: duplicate field "hello_to"`},
		"Text":      {"Data that is not JSON", `hello`, "data: expected a JSON object"},
		"Empty":     {"No data", ``, "data: expected a JSON object, got nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.send(tc.data)
			if got.Code != 422 || !strings.Contains(got.Body, tc.want) || strings.Contains(got.Body, "\n") {
				t.Errorf("%s: want 422 with one line about %q, got %+v", tc.reason, tc.want, got)
			}
		})
	}
	resp, err := http.Post(w.URL, "application/cloudevents+json", strings.NewReader(
		`{"specversion":"1.0","id":"1","source":"/k","type":"dev.knative.kafka.event","data":{"name":"s","hello_to":"\ud800"}}`))
	if err != nil || resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("half of a surrogate pair is refused in a structured event too: got %v, %v", resp, err)
	}
	_ = resp.Body.Close()
	if got := w.all(); len(got) != 0 {
		t.Errorf("no instance is made of bad events: got %v", got)
	}
	longest := strings.Repeat("ä", 253)
	if got := w.send(`{"name":"` + longest + `","hello_to":"` + longest + `"}`); got.Code != 200 {
		t.Errorf("the longest names are accepted: got %+v", got)
	}
}

// requested is an event that asks to greet somebody. Its time is some seconds after the start of the world, or
// none.
func requested(id, to string, seconds int) cloudevents.Event {
	event := steptest.Event(api.TypeRequested, fmt.Sprintf(`{"name":"event","hello_to":%q}`, to))
	event.SetID(id)
	if seconds != none {
		event.SetTime(steptest.Start.Add(time.Duration(seconds) * time.Second))
	}
	return event
}

const none = -1 << 31

// TestLateAndRepeated sends events about one instance out of order and several times.
func TestLateAndRepeated(t *testing.T) {
	const year = 365 * 24 * 3600
	a, b, c := requested("a", "A", -30), requested("b", "B", -20), requested("c", "C", -10)
	cases := map[string]struct {
		reason string
		events []cloudevents.Event
		want   string // Whom the instance greets in the end.
		last   string // What the answer to the last event says.
	}{
		"Repeated":  {"A repeated event does not overwrite a newer one", []cloudevents.Event{a, b, a}, "B", "unchanged"},
		"Late":      {"Nor does one that comes late for the first time", []cloudevents.Event{a, c, b}, "C", "unchanged"},
		"First":     {"Also if it is the very first", []cloudevents.Event{b, a}, "B", "unchanged"},
		"Newer":     {"A newer one counts", []cloudevents.Event{a, b, c}, "C", "updated"},
		"SameGuest": {"A newer one that says nothing new is remembered", []cloudevents.Event{a, requested("a2", "A", -10), b}, "A", "unchanged"},
		"Tie":       {"Events of the same time count as they arrive", []cloudevents.Event{a, requested("a2", "B", -30), requested("a3", "A", -30)}, "A", "updated"},
		"TieAgain":  {"But once", []cloudevents.Event{a, requested("a2", "B", -30), a}, "B", "unchanged"},
		"NoTime":    {"An event without a time counts when it arrives", []cloudevents.Event{b, requested("x", "X", none)}, "X", "updated"},
		"NoTime3":   {"But once", []cloudevents.Event{requested("x", "X", none), requested("y", "Y", none), requested("x", "X", none)}, "Y", "unchanged"},
		"NoTimeAge": {"And does not let older ones in", []cloudevents.Event{b, requested("x", "X", none), a}, "X", "unchanged"},
		"SameID":    {"A sender that gives all events one id is heard", []cloudevents.Event{requested("1", "X", none), requested("1", "Y", none)}, "Y", "updated"},
		"Ahead":     {"A time far ahead does not hold off the others", []cloudevents.Event{requested("x", "X", year), b, a}, "B", "unchanged"},
		"Skew":      {"A clock may be some seconds ahead", []cloudevents.Event{requested("x", "X", 5), c}, "X", "unchanged"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var got answer
			for _, event := range tc.events {
				if got = w.post(event); got.Code != 200 {
					t.Errorf("%s: want 200 for each, got %+v", tc.reason, got)
				}
			}
			if want := w.handled(model.Operation(tc.last), "event"); got != want || w.all()["event"].HelloTo != tc.want {
				t.Errorf("%s: want %s and %+v, got %+v and %+v", tc.reason, tc.want, want, w.all()["event"], got)
			}
			version := steptest.List[*instance](w.World)[0].ResourceVersion
			w.post(tc.events[len(tc.events)-1])
			if steptest.List[*instance](w.World)[0].ResourceVersion != version {
				t.Errorf("%s: when the last event comes again nothing is written", tc.reason)
			}
		})
	}
}

// TestAfterDeletion shows where the order ends.
func TestAfterDeletion(t *testing.T) {
	w := newWorld(t)
	a, b := requested("a", "A", -30), requested("b", "B", -20)
	w.post(a)
	w.post(b)
	steptest.Change(w.World, "event", func(i *instance) { i.Spec.HelloTo = "U" })
	w.post(a)
	w.post(b)
	if got := w.all()["event"].HelloTo; got != "U" {
		t.Errorf("repeated events do not undo what a user has changed: got %s", got)
	}
	steptest.Delete[*instance](w.World, "event")
	if got := w.post(a); got != w.handled(model.Created, "event") {
		t.Errorf("the memory is that of the object: without it an old event makes it again, got %+v", got)
	}
}

// TestText checks that what is accepted is stored as it was sent.
func TestText(t *testing.T) {
	w := newWorld(t)
	for _, text := range []string{"\ufffd", "\U0001f600", "a\x00b", "\x1b[31m\a\r\n", "\u202e", `\ud800`} {
		raw, err := json.Marshal(map[string]string{"name": text, "hello_to": text})
		if err != nil {
			t.Fatal(err)
		}
		got := w.send(string(raw))
		var result step.EventResult
		if err := json.Unmarshal([]byte(got.Body), &result); err != nil || got.Code != 200 {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
		if diff := cmp.Diff(spec{Name: text, HelloTo: text}, w.all()[result.Name]); diff != "" {
			t.Errorf("%q is stored as it was sent: -want +got:\n%s", text, diff)
		}
	}
}

// TestAtTheSameTime sends one event several times at once.
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
		t.Errorf("want one instance, created once: created %d times, got %v", created, got)
	}
}

func TestAPIDown(t *testing.T) {
	w := newWorld(t)
	w.Intercept(func(*http.Request) error { return errors.New("connection refused") })
	if got := w.send(`{"name":"a","hello_to":"b"}`); got.Code != 503 || !strings.Contains(got.Body, "connection refused") {
		t.Errorf("while the API is down the event is delivered again: want 503, got %+v", got)
	}
	if got := w.send(`{"name":"a"}`); got.Code != 422 {
		t.Errorf("a bad event is refused without the API: got %+v", got)
	}
}

func TestWires(t *testing.T) {
	newWorld(t).CheckWires("helloworld", "event", "../../../config", "../../../eventing")
}
