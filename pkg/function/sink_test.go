package function

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

func outgoing() cloudevents.Event {
	e := cloudevents.NewEvent()
	e.SetID("1")
	e.SetType("t")
	e.SetSource("s")
	e.SetExtension("kind", "K")
	_ = e.SetData(cloudevents.ApplicationJSON, map[string]string{"a": "b"})
	return e
}

func TestSink(t *testing.T) {
	tests := map[string]struct {
		reason string
		answer http.HandlerFunc
		want   *RefusedError
	}{
		"OK":       {reason: "200 is taken.", answer: func(w http.ResponseWriter, _ *http.Request) {}},
		"Accepted": {reason: "So is 202, a broker's answer.", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) }},
		"Refused": {reason: "The reason is kept.", answer: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no such thing", http.StatusUnprocessableEntity)
		}, want: &RefusedError{422, "no such thing"}},
		"Failed":     {reason: "Whatever the code.", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, want: &RefusedError{503, ""}},
		"Long":       {reason: "A long reason is cut.", answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, strings.Repeat("x", 10000), 500) }, want: &RefusedError{500, strings.Repeat("x", 4096)}},
		"Redirected": {reason: "A redirect is followed by nobody: a GET would be answered 200 and the event be lost.", answer: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, want: &RefusedError{302, ""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got *cloudevents.Event
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/ns/broker" {
					t.Errorf("got a request to %s", r.URL)
				}
				if r.Header.Get("ce-id") == "" {
					t.Error("events are sent in binary mode")
				}
				var err error
				if got, err = cloudevents.NewEventFromHTTPRequest(r); err != nil {
					t.Error(err)
				}
				tt.answer(w, r)
			}))
			defer server.Close()
			sink, err := NewSink(SinkSettings{URL: server.URL + "/ns/broker"}, 1)
			if err != nil {
				t.Fatal(err)
			}
			err = sink.Send(t.Context(), outgoing())
			var refused *RefusedError
			if errors.As(err, &refused); (err != nil) != (tt.want != nil) {
				t.Errorf("\n%s\ngot %v", tt.reason, err)
			}
			if diff := cmp.Diff(tt.want, refused); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tt.reason, diff)
			}
			if diff := cmp.Diff(outgoing().String(), got.String()); diff != "" {
				t.Errorf("what arrives must be what was sent: -want, +got:\n%s", diff)
			}
		})
	}
}

func TestSinkDown(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	sink, err := NewSink(SinkSettings{URL: server.URL}, 1)
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	var refused *RefusedError
	if err := sink.Send(t.Context(), outgoing()); err == nil || errors.As(err, &refused) {
		t.Errorf("no answer is an error, and not a refusal, got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sink.Send(ended, outgoing()); !errors.Is(err, context.Canceled) {
		t.Errorf("want the context's error, got %v", err)
	}
}

func TestSinkOverrides(t *testing.T) {
	var mu sync.Mutex
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Header.Get("ce-tenant")+" "+r.Header.Get("ce-kind"))
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer server.Close()
	settings := SinkSettings{URL: server.URL, Overrides: Overrides{duckv1.CloudEventOverrides{Extensions: map[string]string{"tenant": "x", "kind": "Y"}}}}
	sink, err := NewSink(settings, 2)
	if err != nil {
		t.Fatal(err)
	}
	event := outgoing()
	var wg sync.WaitGroup
	for range 2 { // One event to be sent by two, as a source with retries may.
		wg.Go(func() {
			if err := sink.Send(t.Context(), event); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff([]string{"x Y", "x Y"}, got); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	if diff := cmp.Diff(outgoing().String(), event.String()); diff != "" {
		t.Errorf("the caller's event must not change: -want, +got:\n%s", diff)
	}
}

func TestSinkToken(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("of the file"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := SinkSettings{URL: server.URL, Token: TokenSettings{TokenFile: file}}
	fixed := func(token string, err error) SinkOption {
		return WithToken(func(context.Context) (string, error) { return token, err })
	}
	for _, options := range [][]SinkOption{nil, {fixed("of the caller", nil)}, {fixed("", nil)}} {
		sink, err := NewSink(settings, 1, options...)
		if err != nil {
			t.Fatal(err)
		}
		if err := sink.Send(t.Context(), outgoing()); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"Bearer of the file", "Bearer of the caller", ""}, got); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}

	sink, err := NewSink(settings, 1, fixed("", errors.New("no token today")))
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Send(t.Context(), outgoing()); err == nil || !strings.Contains(err.Error(), "no token today") || len(got) != 3 {
		t.Errorf("without its token the event is not sent: got %v", err)
	}
}

func TestSinkSettings(t *testing.T) {
	tests := map[string]struct {
		reason    string
		url       string
		overrides string
		want      map[string]string
		says      string
	}{
		"Good":         {reason: "A URL is enough.", url: "http://broker/x"},
		"Overrides":    {reason: "Overrides are Knative's JSON.", url: "https://broker", overrides: `{"extensions": {"a": "b"}}`, want: map[string]string{"a": "b"}},
		"Nothing":      {reason: "Without a URL nothing can be sent.", says: "K_SINK"},
		"NoHost":       {reason: "A URL has a host.", url: "broker", says: "K_SINK: expected an http or https URL"},
		"Scheme":       {reason: "Only HTTP is spoken.", url: "ftp://broker", says: "K_SINK"},
		"Unreadable":   {reason: "A URL can be read.", url: "http://[", says: "K_SINK"},
		"NoJSON":       {reason: "Overrides of another form are not ignored.", url: "http://broker", overrides: "a=b", says: `{"extensions": {"name": "value"}}`},
		"BadExtension": {reason: "Nor is a name that no attribute can have.", url: "http://broker", overrides: `{"extensions": {"a-b": "c"}}`, says: `"a-b"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("K_SINK", tt.url)
			t.Setenv("K_CE_OVERRIDES", tt.overrides)
			settings, err := Env[SinkSettings]()
			if err == nil {
				_, err = NewSink(settings, 1)
			}
			if (err != nil) != (tt.says != "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("\n%s\nwant an error with %q, got %v", tt.reason, tt.says, err)
			}
			if err == nil {
				if diff := cmp.Diff(tt.want, settings.Overrides.Extensions); diff != "" {
					t.Errorf("\n%s\n-want, +got:\n%s", tt.reason, diff)
				}
			}
		})
	}
}
