package function

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	"go.uber.org/zap"
	"knative.dev/pkg/logging"
)

// FuzzEvents sends requests of any header and body. What is taken for an event is one, and is the same when
// it is sent on as a Broker does it; everything else is told what was expected.
func FuzzEvents(f *testing.F) {
	binary := "ce-specversion: 1.0\nce-id: 1\nce-type: t\nce-source: s\ncontent-type: application/json\n"
	f.Add(binary, []byte(`{"a": 1}`))
	f.Add(binary+"ce-time: 2024-01-01T00:00:00.5+01:00\nce-subject: x\nce-dataschema: http://x/y\nce-extra: \xff\nce-a: 1\nce-a: 2\n", []byte("x"))
	f.Add("ce-specversion: 0.3\nce-id: 1\nce-type: t\nce-source: s\nce-schemaurl: x\nce-datacontentencoding: base64\n", []byte("eA=="))
	f.Add("ce-: x\nContent-Encoding: gzip\n", []byte{})
	structured := "content-type: application/cloudevents+json; charset=utf-8\n"
	for _, body := range []string{
		`{"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data": {"a": [1e5, "\u0000", null]}, "extra": -5, "yes": true, "subject": null}`,
		`{"data_base64": "YQ\/=", "datacontenttype": "text/plain", "specversion": "1.0", "id": "1", "type": "t", "source": "s", "time": "2024-01-01T00:00:00Z"}`,
		`{"specversion": "0.3", "id": "1", "type": "t", "source": "s", "schemaurl": "x", "datacontentencoding": "base64", "data": "YQ=="}`,
		`{"": 1, "id": "\ud800", "specversion": "1.0", "data": 1, "data_base64": 1, "dataschema": "%zz"}`,
	} {
		f.Add(structured, []byte(body))
	}
	f.Add("content-type: application/cloudevents-batch+json\n", []byte("[]"))
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		r := fuzzed(header, body)
		if r == nil {
			return // net/http does not let it in.
		}
		event, code, text := receivedFrom(r)
		if event == nil {
			if !slices.Contains([]int{400, 413, 415}, code) || text == "" || strings.Contains(strings.TrimSuffix(text, "\n"), "\n") || !utf8.ValidString(text) {
				t.Fatalf("want a reason of one line, got %d %q", code, text)
			}
			return
		}
		if err := event.Validate(); err != nil {
			t.Fatalf("an event that is none was handled: %v", err)
		}
		on, err := cloudevents.NewHTTPRequestFromEvent(context.Background(), "http://x/", *event)
		if err != nil {
			t.Fatalf("%s cannot be sent on: %v", event, err)
		}
		if on.Body == nil {
			on.Body = http.NoBody // As a server has it.
		}
		again, code, text := receivedFrom(on)
		if again == nil {
			// A header can have less than JSON.
			if strings.ContainsFunc(event.Context.String(), func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.Contains(text, "extension") {
				return
			}
			t.Fatalf("%s\nsent on is answered %d %q", event, code, text)
		}
		if event.ID() != again.ID() || event.Type() != again.Type() || event.Source() != again.Source() || event.Subject() != again.Subject() || !event.Time().Equal(again.Time()) || string(event.Data()) != string(again.Data()) {
			t.Fatalf("was %s\nsent on is %s", event, again)
		}
	})
}

// fuzzed is a request as net/http gives it to a handler, nil if it does not.
func fuzzed(header string, body []byte) *http.Request {
	text := fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n", len(body), strings.ReplaceAll(header, "\n", "\r\n"))
	r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(text), strings.NewReader(string(body)))))
	if err != nil {
		return nil
	}
	for _, values := range r.Header {
		for _, v := range values {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return nil
			}
		}
	}
	return r
}

// receivedFrom gives the request to a server's handler, and returns the event that was handled.
func receivedFrom(r *http.Request) (event *cloudevents.Event, code int, text string) {
	handler := events(func(_ context.Context, e cloudevents.Event) (*cloudevents.Event, protocol.Result) {
		event = &e
		return nil, nil
	}, nil)
	w := httptest.NewRecorder()
	Server(handler, Limits{}).Handler.ServeHTTP(w, r.WithContext(logging.WithLogger(context.Background(), zap.NewNop().Sugar())))
	return event, w.Code, w.Body.String()
}

// FuzzCheckText: what it lets pass is text that JSON decoders do not change.
func FuzzCheckText(f *testing.F) {
	for _, s := range []string{`{"a": "\ud83d\ude00"}`, `["\\ud800", "\ud800\u0041"]`, "\"\xff\"", `{"\udfff": {"a": [1]}}`, `"\ud800`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		err := CheckText("x", raw)
		if err != nil && !strings.HasPrefix(err.Error(), "x") {
			t.Fatalf("%q: the error names the field, got %v", raw, err)
		}
		var value any
		if err != nil || strings.Contains(strings.ToLower(string(raw)), "fffd") || strings.ContainsRune(string(raw), utf8.RuneError) || json.Unmarshal(raw, &value) != nil {
			return
		}
		if decoded := fmt.Sprint(value); strings.ContainsRune(decoded, utf8.RuneError) {
			t.Fatalf("%q is decoded as %q", raw, decoded)
		}
	})
}
