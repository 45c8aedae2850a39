package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/xos-knative/synchronizer/functions/deadletter/envelope"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

func TestNamespaces(t *testing.T) {
	w := newWorld(t, "REPLAY_SINK=http://events.{namespace}.svc.cluster.local")
	anywhere := func(e *cloudevents.Event) { e.SetExtension(envelope.ExtensionDestination, nil) }
	event := w.event(anywhere)
	first := w.Namespace
	w.stored(event)
	w.Namespace = kubeapitest.Namespace(t)
	if w.get(envelope.Of(event).Name) != nil {
		t.Error("a letter is where the path says and nowhere else")
	}
	w.stored(event)
	w.stored(w.event(anywhere, func(e *cloudevents.Event) { e.SetID("2") }))
	replayed := w.replay(envelope.Of(event).Name)
	if _, n := w.subscriber.last(); n != 1 || w.sync(replayed.Name) != nil {
		t.Errorf("letters of every namespace are replayed: want 1 sent and that letter gone, got %d", n)
	}
	w.Namespace = first
	if w.get(envelope.Of(event).Name) == nil {
		t.Error("the one of the other namespace stays")
	}
}

func TestPaths(t *testing.T) {
	w := newWorld(t)
	cases := map[string]struct {
		reason, path string
		code         int
		says         string
	}{
		"Nowhere":     {"Without a namespace there is no place for a letter.", "/letters", 404, `path: expected /letters/NAMESPACE, with the namespace that is to keep the dead letter, got "/letters"`},
		"Slash":       {"Nor behind a slash.", "/letters/", 404, "path: expected /letters/NAMESPACE"},
		"TooLong":     {"A path that goes on means something else.", "/letters/a/b", 404, "path: expected /letters/NAMESPACE"},
		"UpperCase":   {"A namespace is a DNS label.", "/letters/Library", 400, `path: expected /letters/NAMESPACE, got the namespace "Library": a lowercase RFC 1123 label`},
		"Traversal":   {"And no way to another resource of the API.", "/letters/a%2F..%2Fb", 400, "path: expected /letters/NAMESPACE"},
		"LongerLabel": {"Of at most 63 characters.", "/letters/" + strings.Repeat("a", 64), 400, "must be no more than 63"},
		"NoRight":     {"Where a synchronizer has not let the function in, that is what to do about it; the event comes again.", "/letters/" + unbound, 503, "namespace unbound: expected a RoleBinding to ClusterRole synchronizer-deadletter there: "},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := steptest.Post(t, w.URL+tc.path, w.event())
			if a.Code != tc.code || !strings.Contains(a.Body, tc.says) {
				t.Errorf("%s: want %d %q, got %+v", tc.reason, tc.code, tc.says, a)
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (fn roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return fn(r) }

// instead has fn answer requests to the API, except those for which it returns nil.
func instead(fn roundTripper) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if resp, err := fn(r); resp != nil || err != nil {
				return resp, err
			}
			return next.RoundTrip(r)
		})
	}
}

// answer is an answer of the API.
func answer(code int, body string) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader([]byte(body)))}
}

// TestNotStored is about an API that does not take a letter.
func TestNotStored(t *testing.T) {
	cases := map[string]struct {
		reason string
		api    roundTripper
		says   string
	}{
		"Away": {"What cannot be stored has to come again.", func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") }, "no route"},
		"NoNamespace": {"Also if there is no such namespace; the answer says so.", func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodPost {
				return nil, nil
			}
			return answer(404, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "namespaces \"gone\" not found", "details": {"name": "gone", "kind": "namespaces"}}`), nil
		}, `namespaces "gone" not found`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			config := functionConfig(t)
			starting := true
			config.Wrap(instead(func(r *http.Request) (*http.Response, error) {
				if starting {
					return nil, nil
				}
				return tc.api(r)
			}))
			w := newWorldOn(t, config)
			starting = false
			if a := w.give(w.event()); a.Code != 503 || !strings.Contains(a.Body, "namespace "+w.Namespace+": the dead letter could not be stored") || !strings.Contains(a.Body, tc.says) {
				t.Errorf("%s: want 503 and %q, got %+v", tc.reason, tc.says, a)
			}
		})
	}
}

func TestReplaySink(t *testing.T) {
	sink := newSubscriber(t)
	w := newWorld(t, "REPLAY_SINK="+sink.url+"/{namespace}/events")
	letter := w.stored(w.event(func(e *cloudevents.Event) { e.SetExtension(envelope.ExtensionDestination, "") }))
	w.replay(letter.Name)
	if len(sink.paths) != 1 || sink.paths[0] != "/"+w.Namespace+"/events" {
		t.Errorf("a letter without a destination goes to the Broker of its namespace, got %v", sink.paths)
	}
}

func TestSendersOfTheNamespace(t *testing.T) {
	for subject, want := range map[string]bool{
		"system:serviceaccount:helloworld:event-oidc-eventing.knative.dev-trigger": true,
		"system:serviceaccount:helloworld2:event":                                  false,
		"system:serviceaccount:library:event":                                      false,
		"system:admin":                                                             false,
	} {
		r := httptest.NewRequest(http.MethodPost, "/letters/helloworld", nil)
		r.SetPathValue("namespace", "helloworld")
		if got := ownAccount(r, subject); got != want {
			t.Errorf("%s stores dead letters in namespace helloworld: want %t, got %t", subject, want, got)
		}
	}
}
