package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/xos-knative/synchronizer/functions/deadletter/envelope"
	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

func TestServiceOf(t *testing.T) {
	const event = "event"
	for host, want := range map[string]string{
		"event.library.svc.cluster.local":             event,
		"event.library.svc":                           event,
		"event.other.svc.cluster.local":               "",
		"event.library.svc.example.com":               "", // Somebody else's domain.
		"event.library":                               "",
		".library.svc":                                "",
		"broker-ingress.knative-eventing.svc":         "",
		"evil.event.library.svc.cluster.local":        "",
		"event.library.svc.cluster.local.":            "",
		"event.library.svc.cluster.local.example.com": "",
		"": "",
	} {
		// Neither the event nor our token must get out of the namespace.
		if got := serviceOf(host, "library"); got != want {
			t.Errorf("%q: want %q, got %q", host, want, got)
		}
	}
}

// identities answers what the API of a cluster answers about accounts, with a token that has the
// audience in it.
func identities(r *http.Request) (*http.Response, error) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/selfsubjectreviews"):
		return answer(201, `{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "status": {"userInfo": {"username": "system:serviceaccount:core:deadletter"}}}`), nil
	case r.URL.Path == "/api/v1/namespaces/core/serviceaccounts/deadletter/token":
		raw := make([]byte, 4096)
		n, _ := r.Body.Read(raw)
		_, audience, _ := strings.Cut(string(raw[:n]), `"audiences":["`)
		audience, _, _ = strings.Cut(audience, `"`)
		return answer(201, fmt.Sprintf(`{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "status": {"token": "for-%s", "expirationTimestamp": %q}}`,
			audience, time.Now().Add(time.Hour).Format(time.RFC3339))), nil
	}
	return nil, nil
}

// TestDestinations is about where events and tokens go, whatever a letter says.
func TestDestinations(t *testing.T) {
	const sink = "http://broker-ingress.knative-eventing.svc.cluster.local/%s/events"
	cases := map[string]struct {
		reason, setting, to string
		refused             bool
		token               string
	}{
		"Own":       {reason: "A Service of the letter's namespace gets a token that only it accepts.", setting: "true", to: "http://event.%s.svc.cluster.local/", token: "Bearer for-serving.knative.dev/service/%s/event"},
		"Short":     {reason: "By any of its names, on any port and path.", setting: "true", to: "http://event.%s.svc:8080/a?b=c", token: "Bearer for-serving.knative.dev/service/%s/event"},
		"Off":       {reason: "Without the setting nobody gets a token.", setting: "false", to: "http://event.%s.svc.cluster.local/"},
		"Sink":      {reason: "The setting's sink may be anywhere; it gets no token.", setting: "true", to: sink},
		"Default":   {reason: "Nor does it without a destination.", setting: "true", to: ""},
		"OtherSink": {reason: "Another namespace's Broker is not the letter's.", setting: "true", to: "http://broker-ingress.knative-eventing.svc.cluster.local/other/events", refused: true},
		"Other":     {reason: "A Service of another namespace gets nothing, whoever wrote the letter.", setting: "true", to: "http://event.other.svc.cluster.local/", refused: true},
		"Prefix":    {reason: "Nor one behind a name that only begins like ours.", setting: "true", to: "http://event.%s.svc.cluster.local.example.com/", refused: true},
		"User":      {reason: "Nor one that only looks like ours.", setting: "true", to: "http://event.%s.svc.cluster.local@example.com/", refused: true},
		"Outside":   {reason: "Nor does anybody outside.", setting: "true", to: "http://example.com/", refused: true},
		"API":       {reason: "Nor the Kubernetes API.", setting: "true", to: "https://kubernetes.default.svc/api", refused: true},
		"Metadata":  {reason: "Nor the machine's cloud.", setting: "true", to: "http://169.254.169.254/", refused: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			config := functionConfig(t)
			config.Wrap(instead(identities))
			w := newWorldOn(t, config, "OIDC_REPLAY="+tc.setting, "REPLAY_SINK="+strings.ReplaceAll(sink, "%s", "{namespace}"))
			in := func(s string) string { return strings.ReplaceAll(s, "%s", w.Namespace) }
			letter := w.stored(w.event(func(e *cloudevents.Event) { e.SetExtension(envelope.ExtensionDestination, in(tc.to)) }))
			got := w.replay(letter.Name)
			if tc.refused {
				if s := got.Status.Sync; len(w.subscriber.tokens) != 0 || !s.Permanent || !strings.Contains(s.Message, "spec.destination: expected a Service of the letter's namespace, such as http://NAME."+w.Namespace+".svc.cluster.local") {
					t.Errorf("%s: want an error that says what is expected, got %+v and %q", tc.reason, s, w.subscriber.tokens)
				}
				return
			}
			if len(w.subscriber.tokens) != 1 || w.subscriber.tokens[0] != in(tc.token) {
				t.Errorf("%s: want %q, got %q", tc.reason, in(tc.token), w.subscriber.tokens)
			}
		})
	}
}

func TestNoToken(t *testing.T) {
	config := functionConfig(t)
	config.Wrap(instead(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/selfsubjectreviews") {
			return nil, errors.New("the API is away")
		}
		return nil, nil
	}))
	w := newWorldOn(t, config, "OIDC_REPLAY=true")
	letter := w.stored(w.event(func(e *cloudevents.Event) {
		e.SetExtension(envelope.ExtensionDestination, "http://event."+w.Namespace+".svc/")
	}))
	status := w.replay(letter.Name).Status.Sync
	if status.State != model.StateFailed || status.Permanent || !strings.Contains(status.Message, "getting a token") {
		t.Errorf("an event that needs a token waits for it: got %+v", status)
	}
}

// duringCase is what can happen to a letter after its event was sent and before the answer.
type duringCase struct {
	reason string
	during func(w *world, name string)
	answer int
	gone   bool
	replay bool
	code   int32
	sent   int // Also when the step runs again.
}

// failsAgain has the event come back into its letter: it has failed again at the same subscriber.
func failsAgain(code int, reason string) func(*world, string) {
	return func(w *world, _ string) {
		w.stored(w.event(func(e *cloudevents.Event) {
			e.SetExtension(envelope.ExtensionCode, code)
			e.SetExtension(envelope.ExtensionReason, reason)
		}))
	}
}

func changes(fn func(*v1alpha1.DeadLetter)) func(*world, string) {
	return func(w *world, name string) { w.change(name, fn) }
}

func correct(l *v1alpha1.DeadLetter) { l.Spec.Event.Type = "corrected" }

func replace(w *world, name string) {
	w.change(name, func(l *v1alpha1.DeadLetter) { l.Finalizers = nil })
	steptest.Delete[*v1alpha1.DeadLetter](w.World, name)
	w.stored(w.event())
}

func TestDuringReplay(t *testing.T) {
	cases := map[string]duringCase{
		"SameFailure":      {reason: "An accepted event that has failed again is not lost.", during: failsAgain(422, "bm8="), answer: 200, code: 422, sent: 1},
		"OtherFailure":     {reason: "For whatever reason it has.", during: failsAgain(503, "later"), answer: 202, code: 503, sent: 1},
		"Refused":          {reason: "Also when it is refused: what is said last counts.", during: failsAgain(503, "later"), answer: 400, code: 400, sent: 1},
		"Corrected":        {reason: "A correction is sent, and not lost with the letter.", during: changes(correct), answer: 200, gone: true, sent: 2},
		"RefusedCorrected": {reason: "Nor is it taken for what was refused.", during: changes(correct), answer: 400, code: 422, replay: true, sent: 2},
		"Labelled":         {reason: "Other changes do not keep it.", during: changes(func(l *v1alpha1.DeadLetter) { l.Labels = map[string]string{"a": "b"} }), answer: 200, gone: true, sent: 1},
		"Replaced":         {reason: "Another letter of that name is not the one that was replayed.", during: replace, answer: 200, code: 422, sent: 1},
	}
	for name, tc := range cases {
		t.Run(name, tc.run)
	}
}

func (tc duringCase) run(t *testing.T) {
	w := newWorld(t)
	letter := w.stored(w.event())
	w.subscriber.answer(tc.answer, "because")
	w.subscriber.during = func(cloudevents.Event) {
		w.subscriber.during = nil
		tc.during(w, letter.Name)
	}
	got := w.replay(letter.Name)
	if !tc.gone && (got == nil || got.Spec.Code != tc.code || got.Spec.Replay != tc.replay) {
		t.Fatalf("%s: want it kept with code %d, replay %t, got %+v", tc.reason, tc.code, tc.replay, got)
	}
	for range 2 { // A correction, a finalizer.
		if got != nil {
			got = w.sync(letter.Name)
		}
	}
	if _, n := w.subscriber.last(); n != tc.sent || (got == nil) != tc.gone {
		t.Errorf("%s: want %d sent and the letter gone: %t, got %d and %+v", tc.reason, tc.sent, tc.gone, n, got)
	}
}

// TestEncodedAttributes sends attributes as they came. The SDK, and so Knative, leaves to receivers
// what is percent-encoded in a header (HTTP binding 3.1.3.2). To decode it here and not there, or to
// encode it once more, would change the event.
func TestEncodedAttributes(t *testing.T) {
	w := newWorld(t)
	const encoded = "Euro%20%E2%82%AC%20100%25"
	letter := w.stored(w.event(func(e *cloudevents.Event) {
		e.SetSubject(encoded)
		e.SetExtension("comment", encoded)
	}))
	w.replay(letter.Name)
	if h := w.subscriber.headers; len(h) != 1 || h[0].Get("ce-subject") != encoded || h[0].Get("ce-comment") != encoded {
		t.Errorf("want the same headers, got %v", h)
	}
}

func TestAttributesNotUTF8(t *testing.T) {
	w := newWorld(t)
	letter := w.stored(w.event(func(e *cloudevents.Event) { e.SetSubject("J\xf6rg \ufffd ä") }))
	if got, want := letter.Spec.Event.Subject, "J%F6rg \ufffd ä"; got != want {
		t.Errorf("bytes that no object can hold are not replaced: want %q, got %q", want, got)
	}
}
