package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/xos-knative/synchronizer/functions/deadletter/envelope"
	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

func TestStored(t *testing.T) {
	w := newWorld(t)
	event := w.event(data("application/json; charset=utf-8", []byte(`{"name": "a"}`)), func(e *cloudevents.Event) {
		e.SetSubject("s")
		e.SetDataSchema("http://schema")
		e.SetTime(time.Date(2024, 1, 2, 3, 4, 5, 123456789, time.UTC))
		e.SetExtension("partitionkey", "p")
		e.SetExtension("number", 7)
		e.SetExtension("flag", true)
		e.SetExtension("bytes", []byte("b"))
	})
	letter := w.stored(event)
	want := v1alpha1.DeadLetterSpec{
		Event: v1alpha1.CloudEvent{
			ID: "1", Source: "/greeter", Type: "greeting", SpecVersion: "1.0", Subject: "s", Time: "2024-01-02T03:04:05.123456789Z",
			DataSchema: "http://schema", DataContentType: "application/json; charset=utf-8",
			Extensions: map[string]string{"partitionkey": "p", "number": "7", "flag": "true", "bytes": "Yg=="},
			Data:       letter.Spec.Event.Data,
			Original:   []byte(`{"name": "a"}`),
		},
		Destination: w.destination(), Code: 422, Reason: "no",
	}
	if diff := cmp.Diff(want, letter.Spec); diff != "" {
		t.Errorf("everything of the event is there: -want +got:\n%s", diff)
	}
	if got := string(letter.Spec.Event.Data.Raw); got != `{"name":"a"}` {
		t.Errorf("JSON is kept as such, to be read and fixed: got %s", got)
	}

	version := letter.ResourceVersion
	if again := w.stored(event); again.ResourceVersion != version {
		t.Error("the same delivery again changes nothing")
	}
	w.change(letter.Name, func(l *v1alpha1.DeadLetter) { l.Spec.Event.Type, l.Spec.Replay = "fixed", true })
	again := w.stored(w.event(func(e *cloudevents.Event) {
		e.SetExtension(envelope.ExtensionCode, 503)
		e.SetExtension(envelope.ExtensionReason, base64.StdEncoding.EncodeToString([]byte("later")))
	}))
	if got := again.Spec; got.Code != 503 || got.Reason != "later" || got.Event.Type != "fixed" || !got.Replay {
		t.Errorf("a second failure has its own reason, and leaves alone what was fixed: got %+v", got)
	}
	other := w.stored(w.event(func(e *cloudevents.Event) { e.SetExtension(envelope.ExtensionDestination, "http://other") }))
	if other.Name == letter.Name {
		t.Error("the same event to another destination is another letter")
	}

	structured := w.event(func(e *cloudevents.Event) { e.SetID("structured") })
	if code := w.giveStructured(structured); code != 200 || w.get(envelope.Of(structured).Name) == nil {
		t.Errorf("events of both modes are kept: got %d", code)
	}
}

func TestDeletedMeanwhile(t *testing.T) {
	w := newWorld(t)
	letter := w.stored(w.event())
	w.touch(letter.Name) // Now it has a finalizer.
	steptest.Delete[*v1alpha1.DeadLetter](w.World, letter.Name)
	if a := w.give(w.event()); a.Code != 503 || !strings.Contains(a.Body, "is being deleted") {
		t.Errorf("what would go with a letter that is going has to come again: got %+v", a)
	}
	if w.sync(letter.Name) != nil {
		t.Fatal("the letter is gone")
	}
	w.stored(w.event())
}

func TestReasons(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	cut1024 := func(s string) string { return s[:1024] }
	cases := map[string]struct {
		reason     string
		code, text any
		wantCode   int32
		want       string
	}{
		"Base64":    {"Knative encodes the body", 500, b64("no\nand no"), 500, "no and no"},
		"Cut":       {"And cuts it, maybe inside of a character", "500", cut1024(b64(strings.Repeat("ä", 1000))), 500, strings.Repeat("ä", 384)},
		"CutInside": {"And cuts it, maybe inside of a character", "500", cut1024(b64("x" + strings.Repeat("ä", 1000))), 500, "x" + strings.Repeat("ä", 383) + "\uFFFD"},
		"Text":      {"Others write text", 500, "not found", 500, "not found"},
		"LooksLike": {"Also text that looks like base64", 500, "down", 500, "down"},
		"NoAnswer":  {"There may have been no answer", -1, nil, 0, ""},
		"Nonsense":  {"Or nonsense", "many", nil, 0, ""},
		"None":      {"Or nothing", nil, nil, 0, ""},
		"Long":      {"Any length fits", 500, strings.Repeat("a b ", 3000), 500, strings.Repeat("a b ", 1024)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			got := w.stored(w.event(func(e *cloudevents.Event) {
				e.SetExtension(envelope.ExtensionCode, tc.code)
				e.SetExtension(envelope.ExtensionReason, tc.text)
			})).Spec
			if got.Code != tc.wantCode || got.Reason != tc.want {
				t.Errorf("%s: want %d %q, got %d %q", tc.reason, tc.wantCode, tc.want, got.Code, got.Reason)
			}
		})
	}
}

// TestAsItWas stores and replays: what arrives must be what was published.
func TestAsItWas(t *testing.T) {
	w := newWorld(t)
	cases := map[string]struct {
		reason, contentType, data string
		json                      bool // Kept as JSON.
	}{
		"JSON":      {"An object", "application/json", `{"b":[1,-2.5,null,"<ä>"],"a":{"":true}}`, true},
		"Suffix":    {"JSON by another name", "application/vnd.x+json", `{"a":1}`, true},
		"NoType":    {"Without a type, JSON is meant", "", `{"a":1}`, true},
		"Scalar":    {"Any JSON value", "application/json", `"text"`, true},
		"Number":    {"A number", "application/json", `9223372036854775807`, true},
		"Precise":   {"A number that the API would round", "application/json", `{"n":12345678901234567890123}`, false},
		"Fraction":  {"Also behind the point", "application/json", `[0.1234567890123456789]`, false},
		"Tiny":      {"Or that it would take for nothing", "application/json", `[1e-999999999]`, false},
		"Huge":      {"Or not at all", "application/json", `[1e999999999]`, false},
		"Zero":      {"A zero is none of these", "application/json", `[0.0,0]`, true},
		"Null":      {"Nothing, said in JSON", "application/json", `null`, false},
		"Twice":     {"The same name twice", "application/json", `{"a":1,"a":2}`, false},
		"Deep":      {"Many levels", "application/json", strings.Repeat("[", 1000) + strings.Repeat("]", 1000), false},
		"Broken":    {"No JSON at all", "application/json", `{"a":`, false},
		"NotUTF8":   {"Nor text", "application/json", "\"\xff\"", false},
		"Lone":      {"Half a surrogate pair", "application/json", `{"a":"\ud800"}`, false},
		"LoneName":  {"Also in a name", "application/json", `{"\udfff":1}`, false},
		"Pair":      {"A whole pair is a character", "application/json", `{"a":"\ud83d\ude00"}`, true},
		"Spaces":    {"White space, order and spelling", "application/json", "{\"b\" : 1.0,\n\"a\":\"\\u0061</\" , \"c\":1e2}\n", true},
		"Text":      {"Text that could be JSON", "text/plain", ` 12 `, false},
		"Binary":    {"Any bytes", "application/octet-stream", "\x00\x01\xff", false},
		"OnlyBytes": {"Any bytes, without a type", "", "\x00\xff", false},
		"Nothing":   {"No data", "", "", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			published := w.event(data(tc.contentType, []byte(tc.data)), func(e *cloudevents.Event) {
				e.SetID(name)
				e.SetTime(time.Date(2024, 1, 2, 3, 4, 5, 123456789, time.UTC))
				e.SetExtension("partitionkey", "p 1")
				e.SetExtension("knativebrokerttl", 254)
			})
			letter := w.stored(published)
			if (letter.Spec.Event.Data != nil) != tc.json {
				t.Errorf("%s: kept as JSON: want %t, got %+v", tc.reason, tc.json, letter.Spec.Event)
			}
			if w.replay(letter.Name); w.sync(letter.Name) != nil {
				t.Errorf("%s: want it gone, got %+v", tc.reason, w.get(letter.Name).Status.Sync)
			}
			got, _ := w.subscriber.last()
			if got == nil {
				t.Fatal("nothing came")
			}
			want := published.Clone()
			for _, e := range []string{envelope.ExtensionCode, envelope.ExtensionReason, envelope.ExtensionDestination, "knativebrokerttl"} {
				want.SetExtension(e, nil)
			}
			if diff := cmp.Diff(want.Context.AsV1(), got.Context.AsV1()); diff != "" {
				t.Errorf("%s: attributes: -want +got:\n%s", tc.reason, diff)
			}
			if !bytes.Equal(want.Data(), got.Data()) {
				t.Errorf("%s: data: want %q, got %q", tc.reason, want.Data(), got.Data())
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	w := newWorld(t)
	fits := w.stored(w.event(data("application/json", []byte(`"`+strings.Repeat("x", 1000<<10)+`"`)), func(e *cloudevents.Event) { e.SetID("fits") }))
	if fits.Spec.Event.DroppedBytes != 0 || fits.Spec.Event.Data == nil {
		t.Error("what fits is kept")
	}
	// Every field of it would be kept track of by the API, in as many bytes again.
	fields := map[string]int{}
	for i := range 60_000 {
		fields[fmt.Sprint(i)] = 1
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	many := w.stored(w.event(data("application/json", raw), func(e *cloudevents.Event) { e.SetID("many") }))
	if many.Spec.Event.DroppedBytes != 0 || many.Spec.Event.Data == nil {
		t.Error("also when it has many fields")
	}

	spaced := []byte(`{"a" : "` + strings.Repeat("x", 900<<10) + `"}`)
	once := w.stored(w.event(data("application/json", spaced), func(e *cloudevents.Event) { e.SetID("once") }))
	if once.Spec.Event.DroppedBytes != 0 || once.Spec.Event.Data == nil || once.Spec.Event.Original != nil {
		t.Error("also when its bytes as they came do not fit beside it")
	}
	if a := w.give(w.event(data("application/octet-stream", make([]byte, maxEvent+1)))); a.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("an event beyond all bounds is refused: got %+v", a)
	}
}

// TestCut is about events of which a letter holds the beginning.
func TestCut(t *testing.T) {
	w := newWorld(t)
	for name, size := range map[string]int{"Base64": 900 << 10, "Large": 2 << 20, "Largest": maxEvent} {
		t.Run(name, func(t *testing.T) {
			whole := bytes.Repeat([]byte("0123456789"), size/10)
			digest := fmt.Sprintf("%x", sha256.Sum256(whole))
			letter := w.stored(w.event(data("application/octet-stream", whole), func(e *cloudevents.Event) { e.SetID(name) }))
			got := letter.Spec.Event
			if n := len(got.DataBase64); n < 700<<10 || !bytes.Equal(got.DataBase64, whole[:n]) || got.DroppedBytes != int64(len(whole)-n) {
				t.Errorf("want the beginning, and how much is missing: got %d bytes, %d dropped", n, got.DroppedBytes)
			}
			if got.DataSize != int64(len(whole)) || got.DataSHA256 != digest {
				t.Errorf("want size and digest of all of it: got %d, %s", got.DataSize, got.DataSHA256)
			}
			if want := fmt.Sprintf("only %d of the %d bytes of the data could be kept, so the event cannot be replayed; no", len(got.DataBase64), len(whole)); letter.Spec.Reason != want {
				t.Errorf("the reason says so: want %q, got %q", want, letter.Spec.Reason)
			}
			status := w.replay(letter.Name).Status.Sync
			if status.State != model.StateFailed || !status.Permanent || !strings.Contains(status.Message, digest) || !strings.Contains(status.Message, "spec.event.droppedBytes: ") {
				t.Errorf("it is not replayed in parts: got %+v", status)
			}
			if event, _ := w.subscriber.last(); event != nil && event.ID() == name {
				t.Error("nothing of it is sent")
			}
			w.change(letter.Name, func(l *v1alpha1.DeadLetter) {
				l.Spec.Event.DataBase64, l.Spec.Event.DroppedBytes = []byte("less"), 0
			})
			w.sync(letter.Name)
			if got, _ := w.subscriber.last(); got == nil || string(got.Data()) != "less" {
				t.Errorf("but when somebody says that it is whole: got %v", got)
			}
		})
	}
}

func TestTooLargeAttributes(t *testing.T) {
	w := newWorld(t)
	huge := w.event(data("text/plain", []byte("text")), func(e *cloudevents.Event) {
		e.SetID("attributes")
		e.SetSubject(strings.Repeat("ä", 600<<10))
		for i := range 100 {
			e.SetExtension(fmt.Sprintf("ext%d", i), strings.Repeat("x", 10<<10))
		}
	})
	if code := w.giveStructured(huge); code != 200 {
		t.Fatalf("an event with huge attributes is not lost: got %d", code)
	}
	letter := w.get(envelope.Of(huge).Name)
	if got := letter.Spec.Event; got.ID != "attributes" || got.DroppedBytes < 1<<20 || !strings.Contains(letter.Spec.Reason, "attributes of the event were too large to be kept, so it cannot be replayed") {
		t.Errorf("want what fits of it, and how much does not: got %d, %q", got.DroppedBytes, letter.Spec.Reason)
	}
}

// replayCase is one way in which a replay can end.
type replayCase struct {
	reason string
	code   int // The subscriber's answer; 0 breaks the connection.
	fix    func(*v1alpha1.DeadLetter)
	env    func(w *world) string
	sent   int
	gone   bool
	replay bool
	state  model.State
	perm   bool
	want   string // In the status message; of a refused event, in its reason.
	spec   int32  // The code in the spec.
}

var replayCases = map[string]replayCase{
	"Accepted":    {reason: "What is accepted is gone", code: 202, sent: 1, gone: true},
	"Refused":     {reason: "What is refused is kept, with the new reason", code: 400, sent: 1, state: model.StateOK, want: "because", spec: 400},
	"Gone":        {reason: "A destination that is not there any more is no reason to try forever", code: 404, sent: 1, state: model.StateOK, want: "because", spec: 404},
	"Conflict":    {reason: "Nor is a conflict", code: 409, sent: 1, state: model.StateOK, want: "because", spec: 409},
	"Redirected":  {reason: "A redirect is no acceptance", code: 302, sent: 1, state: model.StateOK, want: "because", spec: 302},
	"Later":       {reason: "What may be accepted later is tried again", code: 503, sent: 1, replay: true, state: model.StateFailed, want: "replaying: the sink answered 503: because", spec: 422},
	"TooMany":     {reason: "Also when it is too much now", code: 429, sent: 1, replay: true, state: model.StateFailed, want: "429", spec: 422},
	"Timeout":     {reason: "Or too slow", code: 408, sent: 1, replay: true, state: model.StateFailed, want: "408", spec: 422},
	"NoAnswer":    {reason: "Or there is no answer", code: 0, sent: 1, replay: true, state: model.StateFailed, want: "EOF", spec: 422},
	"NoSink":      {reason: "It has to go somewhere", fix: func(l *v1alpha1.DeadLetter) { l.Spec.Destination = "" }, replay: true, state: model.StateFailed, perm: true, want: "spec.destination: expected the URL", spec: 422},
	"NoURL":       {reason: "That is a URL", fix: func(l *v1alpha1.DeadLetter) { l.Spec.Destination = "file:///x" }, replay: true, state: model.StateFailed, perm: true, want: `expected an http or https URL, got "file:///x"`, spec: 422},
	"BadTime":     {reason: "What cannot be sent says so", fix: func(l *v1alpha1.DeadLetter) { l.Spec.Event.Time = "noon" }, replay: true, state: model.StateFailed, perm: true, want: "spec.event.time: expected RFC 3339", spec: 422},
	"Control":     {reason: "Or that no header can have", fix: func(l *v1alpha1.DeadLetter) { l.Spec.Event.Subject = "a\nb" }, replay: true, state: model.StateFailed, perm: true, want: `spec.event.subject: expected text without control characters, got "a\nb"`, spec: 422},
	"BadName":     {reason: "In any attribute", fix: func(l *v1alpha1.DeadLetter) { l.Spec.Event.Extensions = map[string]string{"a-b": "c"} }, replay: true, state: model.StateFailed, perm: true, want: "spec.event: ", spec: 422},
	"BothData":    {reason: "Or in the data", fix: func(l *v1alpha1.DeadLetter) { l.Spec.Event.DataBase64 = []byte("x") }, replay: true, state: model.StateFailed, perm: true, want: "got both", spec: 422},
	"DefaultSink": {reason: "Without a destination it goes to the Broker", code: 200, fix: func(l *v1alpha1.DeadLetter) { l.Spec.Destination = "" }, env: func(w *world) string { return w.subscriber.url }, sent: 1, gone: true},
	"Fixed":       {reason: "What was fixed is sent", code: 200, fix: func(l *v1alpha1.DeadLetter) { l.Spec.Event.Data.Raw = []byte(`{"name":"b"}`) }, sent: 1, gone: true},
}

func TestReplay(t *testing.T) {
	for name, tc := range replayCases {
		t.Run(name, func(t *testing.T) { tc.run(t, name) })
	}
}

func (tc replayCase) run(t *testing.T, name string) {
	w := newWorld(t)
	if tc.env != nil {
		sink := w.subscriber
		w = newWorld(t, "REPLAY_SINK="+sink.url)
		w.subscriber = sink
	}
	letter := w.stored(w.event(data("application/json", []byte(`{"name":"a"}`))))
	if got := w.touch(letter.Name); got.Status.Sync.State != model.StateOK {
		t.Fatalf("a letter that nobody wants replayed is fine: got %+v", got.Status.Sync)
	}
	if _, n := w.subscriber.last(); n != 0 {
		t.Fatal("and is not sent")
	}

	w.subscriber.answer(tc.code, "because")
	if tc.fix != nil {
		w.change(letter.Name, tc.fix)
	}
	got := w.replay(letter.Name)
	event, n := w.subscriber.last()
	if n != tc.sent {
		t.Errorf("%s: want %d sent, got %d", tc.reason, tc.sent, n)
	}
	if tc.gone {
		if w.sync(letter.Name) != nil {
			t.Errorf("%s: want the letter gone", tc.reason)
		}
		if want := name == "Fixed"; bytes.Contains(event.Data(), []byte(`"b"`)) != want {
			t.Errorf("%s: got %s", tc.reason, event.Data())
		}
		return
	}
	if tc.state == model.StateOK {
		got = w.sync(letter.Name) // The changed spec.
		if got.Spec.Reason != tc.want {
			t.Errorf("%s: want reason %q, got %q", tc.reason, tc.want, got.Spec.Reason)
		}
	} else if !strings.Contains(got.Status.Sync.Message, tc.want) {
		t.Errorf("%s: want a message about %q, got %q", tc.reason, tc.want, got.Status.Sync.Message)
	}
	if s := got.Status.Sync; s.State != tc.state || s.Permanent != tc.perm || got.Spec.Replay != tc.replay || got.Spec.Code != tc.spec {
		t.Errorf("%s: got %+v, replay %t, code %d", tc.reason, s, got.Spec.Replay, got.Spec.Code)
	}
	if w.sync(letter.Name); tc.state == model.StateOK {
		if _, n := w.subscriber.last(); n != tc.sent {
			t.Errorf("%s: it is not sent again before it is asked for, got %d", tc.reason, n)
		}
	}
}

func TestLimit(t *testing.T) {
	w := newWorld(t, "MAX_DEAD_LETTERS=3")
	name := func(i int) string {
		return envelope.Of(w.event(func(e *cloudevents.Event) { e.SetID(fmt.Sprint(i)) })).Name
	}
	for i := range 3 {
		w.stored(w.event(func(e *cloudevents.Event) { e.SetID(fmt.Sprint(i)) }))
		w.touch(name(i)) // With a finalizer, they would wait for the function.
	}
	oldest := map[string]bool{}
	for i := range 3 {
		letter := w.get(name(i))
		if letter == nil {
			t.Fatalf("letter %d is one of those that are kept", i)
		}
		oldest[name(i)] = true
		// The API counts the age in seconds.
		err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
			return time.Since(letter.CreationTimestamp.Time) > time.Second, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.stored(w.event(func(e *cloudevents.Event) { e.SetID("3") }))
	w.stored(w.event(func(e *cloudevents.Event) { e.SetID("3") })) // The same again is no more than before.
	left := steptest.List[*v1alpha1.DeadLetter](w.World)
	if len(left) != 3 {
		t.Errorf("want 3 letters, got %d", len(left))
	}
	for _, letter := range left {
		delete(oldest, letter.Name)
	}
	if len(oldest) != 1 {
		t.Errorf("want one of the oldest gone, got %v", oldest)
	}

	full := w.Namespace
	w.Namespace = kubeapitest.Namespace(t)
	w.stored(w.event())
	w.Namespace = full
	if left := steptest.List[*v1alpha1.DeadLetter](w.World); len(left) != 3 {
		t.Errorf("another namespace has a limit of its own: want 3 letters still, got %d", len(left))
	}
}

// TestTells looks at the Kubernetes Events about letters.
func TestTells(t *testing.T) {
	w := newWorld(t, "MAX_DEAD_LETTERS=1")
	first := w.stored(w.event())
	w.stored(w.event()) // The same again is no news.
	second := w.stored(w.numbered(2))
	want := []string{
		"Warning DeadLetterDropped " + first.Name + " the oldest of more than 1 dead letters",
		"Warning DeadLetterStored " + first.Name + " greeting 1 from /greeter could not be delivered",
		"Warning DeadLetterStored " + second.Name + " greeting 2 from /greeter could not be delivered",
	}
	slices.Sort(want) // The names depend on the namespace.
	events, err := dynamic.NewForConfig(kubeapitest.Shared(t).Config())
	if err != nil {
		t.Fatal(err)
	}
	w.until("each is told of once", func() bool {
		all, err := events.Resource(eventsv1.SchemeGroupVersion.WithResource("events")).Namespace(w.Namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, u := range all.Items {
			var e eventsv1.Event
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &e); err != nil {
				t.Fatal(err)
			}
			told = append(told, fmt.Sprintf("%s %s %s %s", e.Type, e.Reason, e.Regarding.Name, e.Note))
		}
		slices.Sort(told)
		return slices.EqualFunc(told, want, strings.HasPrefix)
	})
}

func TestSettings(t *testing.T) {
	for name, env := range map[string][2]string{
		"NoNumber": {"MAX_DEAD_LETTERS", "many"},
		"None":     {"MAX_DEAD_LETTERS", "0"},
		"Small":    {"MAX_DEAD_LETTER_BYTES", "1000"},
		"Still":    {"DEAD_LETTER_BYTES_PER_SECOND", "0"},
		"Perhaps":  {"OIDC_REPLAY", "perhaps"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(env[0], env[1])
			settings, err := function.Env[settings]()
			if err == nil {
				_, err = newFunction(t.Context(), functionConfig(t), settings)
			}
			if err == nil || !strings.Contains(err.Error(), env[0]) {
				t.Errorf("want an error that names %s, got %v", env[0], err)
			}
		})
	}
}
