package function

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"knative.dev/pkg/logging"
)

// send gives a request to a handler and returns the answer with its body.
func send(t *testing.T, h http.Handler, r *http.Request) (*http.Response, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r.WithContext(logging.WithLogger(r.Context(), zap.NewNop().Sugar())))
	resp := w.Result()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func request(body string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

// binary are the headers of a good event in binary mode.
var binary = []string{"ce-specversion: 1.0", "ce-id: 1", "ce-type: t", "ce-source: s", "content-type: application/json"}

func TestWithMaxBody(t *testing.T) {
	h, err := Events(func(context.Context, cloudevents.Event) (*cloudevents.Event, protocol.Result) { return nil, nil }, WithMaxBody(3))
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]int{"[1]": 200, "[12]": 413} {
		if resp, text := send(t, h, request(body, binary...)); resp.StatusCode != want {
			t.Errorf("%s: want %d, got %d %q", body, want, resp.StatusCode, text)
		}
	}
}

func TestAnswers(t *testing.T) {
	// event makes a reply, without some of its attributes.
	event := func(without ...string) *cloudevents.Event {
		e := cloudevents.NewEvent()
		for name, set := range map[string]func(){
			"id":     func() { e.SetID("r1") },
			"type":   func() { e.SetType("reply") },
			"source": func() { e.SetSource("test") },
			"time":   func() { e.SetTime(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)) },
		} {
			if !slices.Contains(without, name) {
				set()
			}
		}
		_ = e.SetData(cloudevents.ApplicationJSON, map[string]string{"a": "b"})
		return &e
	}
	cause := errors.New("the cause")
	tests := map[string]struct {
		reason string
		reply  *cloudevents.Event
		result protocol.Result
		panics bool
		code   int
		body   string
		// replied: the body is a CloudEvent.
		replied bool
	}{
		"Nothing":       {reason: "No reply, no body.", code: 200},
		"Reply":         {reason: "A reply is a CloudEvent.", reply: event(), code: 200, body: `{"a":"b"}`, replied: true},
		"ACK":           {reason: "An acknowledgement is no error.", result: protocol.ResultACK, code: 200},
		"NACK":          {reason: "A refusal without a code is ours.", result: protocol.ResultNACK, code: 500, body: protocol.ResultNACK.Error()},
		"Error":         {reason: "An error's text is the body, sdk-go would leave it out.", result: cause, code: 500, body: "the cause"},
		"Unprocessable": {reason: "Never again, and why.", result: Unprocessable("data.%s: wrong", "x"), code: 422, body: "data.x: wrong"},
		"Unavailable":   {reason: "Later.", result: Unavailable("%s", cause), code: 503, body: "the cause"},
		"Wrapped":       {reason: "A result may be wrapped.", result: errors.Join(Unprocessable("no")), code: 422, body: "no"},
		"Wrapping":      {reason: "And may wrap.", result: cehttp.NewResult(409, "x: %w", cause), code: 409, body: "x: the cause"},
		"Percent":       {reason: "A text is no format.", result: Unprocessable("%s", "100%d"), code: 422, body: "100%d"},
		"Accepted":      {reason: "A text with 2xx would be taken for a bad reply.", result: cehttp.NewResult(202, "fine"), code: 202},
		"AcceptedReply": {reason: "A reply with 2xx is sent.", reply: event(), result: cehttp.NewResult(202, "fine"), code: 202, body: `{"a":"b"}`, replied: true},
		"ErrorAndReply": {reason: "With an error a reply has no meaning.", reply: event(), result: Unavailable("later"), code: 503, body: "later"},
		"NoStatus":      {reason: "A result without a status is a mistake of the program, and no panic.", result: cehttp.NewResult(0, "odd"), code: 500, body: "0: odd"},
		"Panic":         {reason: "A panic is told in the log, not to the sender.", panics: true, code: 500, body: "internal error, see the log"},
		"NoID":          {reason: "A broker needs an id.", reply: event("id"), code: 200, body: `{"a":"b"}`, replied: true},
		"NoTime":        {reason: "And a time.", reply: event("time"), code: 200, body: `{"a":"b"}`, replied: true},
		"NoType":        {reason: "A reply that is no valid event is left out: the work is done.", reply: event("type"), code: 200},
		"NoAttributes":  {reason: "Also one that has no attributes at all.", reply: &cloudevents.Event{}, code: 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h, err := Events(func(context.Context, cloudevents.Event) (*cloudevents.Event, protocol.Result) {
				if tt.panics {
					panic("oops")
				}
				return tt.reply, tt.result
			})
			if err != nil {
				t.Fatal(err)
			}
			resp, body := send(t, h, request(`{}`, binary...))
			if resp.StatusCode != tt.code || strings.TrimSpace(body) != tt.body {
				t.Errorf("\n%s\nwant %d %q, got %d %q", tt.reason, tt.code, tt.body, resp.StatusCode, body)
			}
			if !tt.replied {
				if resp.Header.Get("ce-specversion") != "" || resp.StatusCode < 300 && body != "" {
					t.Errorf("\n%s\nwant no reply, got %v %q", tt.reason, resp.Header, body)
				}
				return
			}
			resp.Body = io.NopCloser(strings.NewReader(body))
			reply, err := cloudevents.NewEventFromHTTPResponse(resp)
			if err != nil {
				t.Fatal(err)
			}
			if err := reply.Validate(); err != nil || reply.ID() == "" || reply.Time().IsZero() || reply.Type() != "reply" {
				t.Errorf("\n%s\ngot %s, %v", tt.reason, reply, err)
			}
		})
	}
}

func TestHandlerGetsTheEvent(t *testing.T) {
	var got cloudevents.Event
	h := events(func(_ context.Context, event cloudevents.Event) (*cloudevents.Event, protocol.Result) {
		got = event
		return nil, nil
	}, nil)
	want := cloudevents.NewEvent()
	want.SetID("1")
	want.SetType("dev.xos-knative.t")
	want.SetSource("/s")
	want.SetSubject("sub")
	want.SetTime(time.Date(2024, 1, 1, 0, 0, 0, 5, time.UTC))
	want.SetExtension("step", "sync")
	if err := want.SetData(cloudevents.ApplicationJSON, map[string]string{"a": "ä"}); err != nil {
		t.Fatal(err)
	}
	for name, encode := range map[string]func(context.Context, string, cloudevents.Event) (*http.Request, error){
		"Binary": cloudevents.NewHTTPRequestFromEvent,
		"Structured": func(ctx context.Context, url string, e cloudevents.Event) (*http.Request, error) {
			raw, err := e.MarshalJSON()
			if err != nil {
				return nil, err
			}
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(string(raw)))
			r.Header.Set("Content-Type", cloudevents.ApplicationCloudEventsJSON)
			return r, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := encode(t.Context(), "http://x/", want)
			if err != nil {
				t.Fatal(err)
			}
			if resp, body := send(t, h, r); resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			if diff := cmp.Diff(want.String(), got.String()); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
		})
	}
}

// TestLongReason keeps the text of an answer short enough for Knative's dispatcher.
func TestLongReason(t *testing.T) {
	for _, n := range []int{1, 766, 767, 5000} {
		rec := httptest.NewRecorder()
		answer(t.Context(), rec, nil, Unprocessable("%s", strings.Repeat("ä", n)))
		if got := rec.Body.String(); len(got) > 768 || !utf8.ValidString(got) || !strings.HasPrefix(got, "ä") {
			t.Errorf("%d characters: got %d bytes: %.20q", n, len(got), got)
		}
	}
}
