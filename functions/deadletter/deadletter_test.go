package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/metadata"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
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
		},
		Destination: w.subscriber.url, Code: 422, Reason: "no",
	}
	if diff := cmp.Diff(want, letter.Spec); diff != "" {
		t.Errorf("everything of the event is there: -want +got:\n%s", diff)
	}
	if got := string(letter.Spec.Event.Data.Raw); got != `{"name":"a"}` {
		t.Errorf("JSON is kept as such, to be read and mended: got %s", got)
	}

	version := letter.ResourceVersion
	if again := w.stored(event); again.ResourceVersion != version {
		t.Error("the same delivery again changes nothing")
	}
	w.change(letter.Name, func(l *v1alpha1.DeadLetter) { l.Spec.Event.Type, l.Spec.Replay = "mended", true })
	again := w.stored(w.event(func(e *cloudevents.Event) {
		e.SetExtension(extensionCode, 503)
		e.SetExtension(extensionReason, base64.StdEncoding.EncodeToString([]byte("later")))
	}))
	if got := again.Spec; got.Code != 503 || got.Reason != "later" || got.Event.Type != "mended" || !got.Replay {
		t.Errorf("a second failure has its own reason, and leaves alone what was mended: got %+v", got)
	}
	other := w.stored(w.event(func(e *cloudevents.Event) { e.SetExtension(extensionDestination, "http://other") }))
	if other.Name == letter.Name {
		t.Error("the same event to another destination is another letter")
	}

	ctx := binding.WithForceStructured(t.Context())
	structured := w.event(func(e *cloudevents.Event) { e.SetID("structured") })
	if code, body := w.post(ctx, "/letters/"+w.ns, structured); code != 200 || w.get(letterOf(structured).Name) == nil {
		t.Errorf("events of both modes are kept: got %d %s", code, body)
	}
}

func TestDeletedMeanwhile(t *testing.T) {
	w := newWorld(t)
	letter := w.stored(w.event())
	w.sync(letter.Name) // Now it has a finalizer.
	if err := w.letters.Delete(t.Context(), letter); err != nil {
		t.Fatal(err)
	}
	if code, body := w.give(w.event()); code != 503 || !strings.Contains(body, "is being deleted") {
		t.Errorf("what would go with a letter that is going has to come again: got %d %s", code, body)
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
				e.SetExtension(extensionCode, tc.code)
				e.SetExtension(extensionReason, tc.text)
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
			for _, e := range []string{extensionCode, extensionReason, extensionDestination} {
				want.SetExtension(e, nil)
			}
			if diff := cmp.Diff(want.Context.AsV1(), got.Context.AsV1()); diff != "" {
				t.Errorf("%s: attributes: -want +got:\n%s", tc.reason, diff)
			}
			if same := bytes.Equal(want.Data(), got.Data()) || tc.json && sameJSON(t, want.Data(), got.Data()); !same {
				t.Errorf("%s: data: want %q, got %q", tc.reason, want.Data(), got.Data())
			}
		})
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var values [2]any
	for i, raw := range [][]byte{a, b} {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if err := d.Decode(&values[i]); err != nil {
			t.Fatal(err)
		}
	}
	// Numbers may be written in another way.
	one, _ := json.Marshal(values[0])
	two, _ := json.Marshal(values[1])
	return bytes.Equal(one, two) || strings.ReplaceAll(string(one), "0.0", "0") == string(two)
}

func TestTooLarge(t *testing.T) {
	w := newWorld(t)
	fits := w.stored(w.event(data("application/json", []byte(`"`+strings.Repeat("x", 690<<10)+`"`)), func(e *cloudevents.Event) { e.SetID("fits") }))
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

	for name, size := range map[string]int{"Base64": 600 << 10, "Large": 2 << 20, "Largest": maxEvent} {
		t.Run(name, func(t *testing.T) {
			letter := w.stored(w.event(data("application/octet-stream", make([]byte, size)), func(e *cloudevents.Event) { e.SetID(name) }))
			got := letter.Spec.Event
			if got.DroppedBytes != int64(size) || got.Data != nil || got.DataBase64 != nil {
				t.Errorf("want no data and its size, got %d and %d bytes", got.DroppedBytes, len(got.DataBase64))
			}
			if want := fmt.Sprintf("the data of %d bytes was too large to be kept; no", size); letter.Spec.Reason != want {
				t.Errorf("the reason says so: want %q, got %q", want, letter.Spec.Reason)
			}
			status := w.replay(letter.Name).Status.Sync
			if status.State != model.StateFailed || !status.Permanent || !strings.Contains(status.Message, fmt.Sprintf("%d bytes were too large", size)) {
				t.Errorf("it is not replayed without its data: got %+v", status)
			}
			w.change(letter.Name, func(l *v1alpha1.DeadLetter) { l.Spec.Event.DataBase64 = []byte("less") })
			w.sync(letter.Name)
			if got, _ := w.subscriber.last(); got == nil || string(got.Data()) != "less" {
				t.Errorf("but with it, if it is put back: got %v", got)
			}
		})
	}
	if code, _ := w.give(w.event(data("application/octet-stream", make([]byte, maxEvent+1)))); code != http.StatusRequestEntityTooLarge {
		t.Errorf("an event beyond all bounds is refused: got %d", code)
	}

	huge := w.event(data("text/plain", []byte("text")), func(e *cloudevents.Event) {
		e.SetID("attributes")
		e.SetSubject(strings.Repeat("ä", 400<<10))
		for i := range 100 {
			e.SetExtension(fmt.Sprintf("ext%d", i), strings.Repeat("x", 10<<10))
		}
	})
	if code, body := w.post(binding.WithForceStructured(t.Context()), "/letters/"+w.ns, huge); code != 200 {
		t.Fatalf("an event with huge attributes is not lost: got %d %s", code, body)
	}
	letter := w.get(letterOf(huge).Name)
	if got := letter.Spec.Event; got.ID != "attributes" || got.DroppedBytes < 1<<20 || !strings.Contains(letter.Spec.Reason, "attributes of the event were too large") {
		t.Errorf("want what fits of it, and how much does not: got %d, %q", got.DroppedBytes, letter.Spec.Reason)
	}
}

func TestReplay(t *testing.T) {
	cases := map[string]struct {
		reason string
		code   int // The subscriber's answer; 0 breaks the connection.
		mend   func(*v1alpha1.DeadLetter)
		env    func(w *world) string
		sent   int
		gone   bool
		replay bool
		state  model.State
		perm   bool
		want   string // In the status message; of a refused event, in its reason.
		spec   int32  // The code in the spec.
	}{
		"Accepted":    {reason: "What is accepted is gone", code: 202, sent: 1, gone: true},
		"Refused":     {reason: "What is refused is kept, with the new reason", code: 400, sent: 1, state: model.StateOK, want: "because", spec: 400},
		"Redirected":  {reason: "A redirect is no acceptance", code: 302, sent: 1, state: model.StateOK, want: "because", spec: 302},
		"Later":       {reason: "What may be accepted later is tried again", code: 503, sent: 1, replay: true, state: model.StateFailed, want: "replaying: the sink answered 503: because", spec: 422},
		"TooMany":     {reason: "Also when it is too much now", code: 429, sent: 1, replay: true, state: model.StateFailed, want: "429", spec: 422},
		"Timeout":     {reason: "Or too slow", code: 408, sent: 1, replay: true, state: model.StateFailed, want: "408", spec: 422},
		"NoAnswer":    {reason: "Or there is no answer", code: 0, sent: 1, replay: true, state: model.StateFailed, want: "EOF", spec: 422},
		"NoSink":      {reason: "It has to go somewhere", mend: func(l *v1alpha1.DeadLetter) { l.Spec.Destination = "" }, replay: true, state: model.StateFailed, perm: true, want: "spec.destination: expected the URL", spec: 422},
		"NoURL":       {reason: "That is a URL", mend: func(l *v1alpha1.DeadLetter) { l.Spec.Destination = "file:///x" }, replay: true, state: model.StateFailed, perm: true, want: `expected an http or https URL, got "file:///x"`, spec: 422},
		"BadTime":     {reason: "What cannot be sent says so", mend: func(l *v1alpha1.DeadLetter) { l.Spec.Event.Time = "noon" }, replay: true, state: model.StateFailed, perm: true, want: "spec.event.time: expected RFC 3339", spec: 422},
		"BadName":     {reason: "In any attribute", mend: func(l *v1alpha1.DeadLetter) { l.Spec.Event.Extensions = map[string]string{"a-b": "c"} }, replay: true, state: model.StateFailed, perm: true, want: "spec.event: ", spec: 422},
		"BothData":    {reason: "Or in the data", mend: func(l *v1alpha1.DeadLetter) { l.Spec.Event.DataBase64 = []byte("x") }, replay: true, state: model.StateFailed, perm: true, want: "got both", spec: 422},
		"DefaultSink": {reason: "Without a destination it goes to the Broker", code: 200, mend: func(l *v1alpha1.DeadLetter) { l.Spec.Destination = "" }, env: func(w *world) string { return w.subscriber.url }, sent: 1, gone: true},
		"Mended":      {reason: "What was mended is sent", code: 200, mend: func(l *v1alpha1.DeadLetter) { l.Spec.Event.Data.Raw = []byte(`{"name":"b"}`) }, sent: 1, gone: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if tc.env != nil {
				sink := w.subscriber
				w = newWorld(t, "REPLAY_SINK="+sink.url)
				w.subscriber = sink
			}
			letter := w.stored(w.event(data("application/json", []byte(`{"name":"a"}`))))
			if got := w.sync(letter.Name); got.Status.Sync.State != model.StateOK {
				t.Fatalf("a letter that nobody wants replayed is fine: got %+v", got.Status.Sync)
			}
			if _, n := w.subscriber.last(); n != 0 {
				t.Fatal("and is not sent")
			}

			w.subscriber.answer(tc.code, "because")
			if tc.mend != nil {
				w.change(letter.Name, tc.mend)
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
				if want := name == "Mended"; bytes.Contains(event.Data(), []byte(`"b"`)) != want {
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
		})
	}
}

func TestLimit(t *testing.T) {
	w := newWorld(t, "MAX_DEAD_LETTERS=3")
	name := func(i int) string {
		return letterOf(w.event(func(e *cloudevents.Event) { e.SetID(fmt.Sprint(i)) })).Name
	}
	for i := range 3 {
		w.stored(w.event(func(e *cloudevents.Event) { e.SetID(fmt.Sprint(i)) }))
		w.sync(name(i)) // With a finalizer, they would wait for the function.
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
	left, err := w.letters.List(t.Context(), w.ns, model.Filter{})
	if err != nil || len(left) != 3 {
		t.Errorf("want 3 letters, got %d (%v)", len(left), err)
	}
	for _, letter := range left {
		delete(oldest, letter.Name)
	}
	if len(oldest) != 1 {
		t.Errorf("want one of the oldest gone, got %v", oldest)
	}

	full := w.ns
	w.ns = kubeapitest.Namespace(t)
	w.stored(w.event())
	if left, err := w.letters.List(t.Context(), full, model.Filter{}); err != nil || len(left) != 3 {
		t.Errorf("another namespace has a limit of its own: want 3 letters still, got %d (%v)", len(left), err)
	}
}

// TestLimitTells looks at the Kubernetes Events, which the API of these tests
// does not have.
func TestLimitTells(t *testing.T) {
	w := newWorld(t)
	names, err := metadata.NewForConfig(functionConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	events := dynamicfake.NewSimpleDynamicClient(scheme)
	for i := range 40 {
		_, err := w.letters.Create(t.Context(), &v1alpha1.DeadLetter{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: fmt.Sprintf("letter-%02d", i)},
			Spec:       v1alpha1.DeadLetterSpec{Event: v1alpha1.CloudEvent{ID: "1", Source: "/", Type: "t"}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	limits, err := newLimits(5, names, events)
	if err != nil {
		t.Fatal(err)
	}
	limits.Enforce(logging.WithLogger(t.Context(), zap.NewNop().Sugar()), w.ns)
	if left, err := w.letters.List(t.Context(), w.ns, model.Filter{}); err != nil || len(left) != 5 {
		t.Errorf("want 5 letters, got %d (%v)", len(left), err)
	}
	told := list(t, events, w.ns)
	if len(told) < 25 || len(told) > 34 {
		t.Errorf("a flood is told of, but not in another flood: got %d events", len(told))
	}
	var one corev1.Event
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(told[0].Object, &one); err != nil {
		t.Fatal(err)
	}
	if one.Type != corev1.EventTypeWarning || one.Reason != reasonDropped || one.InvolvedObject.Kind != "DeadLetter" || !strings.Contains(one.Message, "more than 5 dead letters") {
		t.Errorf("want a warning about a letter, got %+v", one)
	}
}

func list(t *testing.T, c dynamic.Interface, ns string) []unstructured.Unstructured {
	t.Helper()
	all, err := c.Resource(corev1.SchemeGroupVersion.WithResource("events")).Namespace(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return all.Items
}

func TestSettings(t *testing.T) {
	for name, env := range map[string][2]string{
		"NoNumber": {"MAX_DEAD_LETTERS", "many"},
		"None":     {"MAX_DEAD_LETTERS", "0"},
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
