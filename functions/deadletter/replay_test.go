package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/xos-knative/synchronizer/pkg/model"
)

func TestAudience(t *testing.T) {
	const event = "serving.knative.dev/service/library/event"
	for host, want := range map[string]string{
		"event.library.svc.cluster.local":             event,
		"event.library.svc":                           event,
		"event.other.svc.cluster.local":               "",
		"event.library.svc.example.com":               "", // Somebody else's domain.
		"event.library":                               "",
		".library.svc":                                "",
		"broker-ingress.knative-eventing.svc":         "",
		"evil.event.library.svc.cluster.local":        "",
		"event.library.svc.cluster.local.example.com": "",
		"": "",
	} {
		// Our token must not get out of the namespace.
		if got := audience(host, "library"); got != want {
			t.Errorf("%q: want %q, got %q", host, want, got)
		}
	}
}

// identities answers what the API of a cluster answers about accounts, with a token
// that has the audience in it.
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

// proxied leads all names of a cluster to the subscriber.
func proxied(t *testing.T, s *subscriber) {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport)
	before := transport.Proxy
	t.Cleanup(func() { transport.Proxy = before })
	transport.Proxy = func(r *http.Request) (*url.URL, error) {
		if r.URL.Hostname() == "127.0.0.1" {
			return nil, nil
		}
		return url.Parse(s.url)
	}
}

func TestReplayToken(t *testing.T) {
	cases := map[string]struct {
		reason, setting, host string
		want                  string
	}{
		"Own":     {"A Service of the letter's namespace gets a token that only it accepts.", "true", "event.%s.svc.cluster.local", "Bearer for-serving.knative.dev/service/%s/event"},
		"Other":   {"One of another namespace gets none, whoever wrote the letter.", "true", "event.other.svc.cluster.local", ""},
		"Outside": {"Nor does anybody else.", "true", "example.com", ""},
		"Off":     {"Without the setting nobody gets one.", "false", "event.%s.svc.cluster.local", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			config := functionConfig(t)
			config.Wrap(roundTripper(identities).in)
			w := newWorldOn(t, config, "OIDC_REPLAY="+tc.setting)
			in := func(s string) string { return strings.ReplaceAll(s, "%s", w.ns) }
			proxied(t, w.subscriber)
			letter := w.stored(w.event(func(e *cloudevents.Event) { e.SetExtension(extensionDestination, "http://"+in(tc.host)+"/") }))
			w.replay(letter.Name)
			if len(w.subscriber.tokens) != 1 || w.subscriber.tokens[0] != in(tc.want) {
				t.Errorf("%s: want %q, got %q", tc.reason, in(tc.want), w.subscriber.tokens)
			}
		})
	}
}

func TestNoToken(t *testing.T) {
	config := functionConfig(t)
	config.Wrap(roundTripper(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/selfsubjectreviews") {
			return nil, errors.New("the API is away")
		}
		return nil, nil
	}).in)
	w := newWorldOn(t, config, "OIDC_REPLAY=true")
	letter := w.stored(w.event(func(e *cloudevents.Event) { e.SetExtension(extensionDestination, "http://event."+w.ns+".svc/") }))
	status := w.replay(letter.Name).Status.Sync
	if status.State != model.StateFailed || status.Permanent || !strings.Contains(status.Message, "getting a token") {
		t.Errorf("an event that needs a token waits for it: got %+v", status)
	}
}
