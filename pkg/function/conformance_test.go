package function_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloudevents/conformance/pkg/event"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest/conformance"
)

// recorder is a function that remembers its events.
type recorder struct {
	url string
	got []cloudevents.Event
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{}
	handler, err := function.Events(func(_ context.Context, e cloudevents.Event) (*cloudevents.Event, protocol.Result) {
		r.got = append(r.got, e)
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.url = functiontest.Serve(t, handler)
	return r
}

// TestConformanceEvents sends the events of the suite with its invoker.
func TestConformanceEvents(t *testing.T) {
	r := newRecorder(t)
	sent := conformance.Invoke(t, r.url)
	if len(sent) != len(r.got) {
		t.Fatalf("%d were sent, %d came", len(sent), len(r.got))
	}
	for i, want := range sent {
		got := r.got[i]
		if diff := cmp.Diff(attributesOf(want), attributesOfGot(got)); diff != "" {
			t.Errorf("%s mode: -sent +got:\n%s", want.Mode, diff)
		}
		data := want.Data
		if want.Mode == event.StructuredMode {
			data = strings.TrimSpace(data) // In an envelope white space means nothing.
		}
		if data != string(got.Data()) {
			t.Errorf("%s mode, %s: data: sent %q, got %q", want.Mode, want.Attributes.ID, data, got.Data())
		}
	}
}

func attributesOf(e event.Event) map[string]string {
	a := e.Attributes
	all := map[string]string{"specversion": a.SpecVersion, "id": a.ID, "type": a.Type, "source": a.Source, "subject": a.Subject, "datacontenttype": a.DataContentType}
	for name, value := range a.Extensions {
		all[name] = strings.TrimSpace(value)
	}
	return all
}

func attributesOfGot(e cloudevents.Event) map[string]string {
	all := map[string]string{"specversion": e.SpecVersion(), "id": e.ID(), "type": e.Type(), "source": e.Source(), "subject": e.Subject(), "datacontenttype": e.DataContentType()}
	for name := range e.Extensions() {
		var value string
		if err := e.ExtensionAs(name, &value); err != nil {
			value = err.Error()
		}
		all[name] = value
	}
	return all
}

// TestConformanceJSON takes and refuses what the suite's list for the JSON format says.
func TestConformanceJSON(t *testing.T) {
	r := newRecorder(t)
	for id, c := range conformance.Cases() {
		t.Run(id, func(t *testing.T) {
			r.got = nil
			if taken := c.Post(t, r.url); taken != c.Valid || taken != (len(r.got) == 1) {
				t.Errorf("valid: %t, taken: %t, got %v", c.Valid, taken, r.got)
			}
		})
	}
}

// TestConformanceHTTP has the scenarios of features/http-protocol-binding.feature of the suite.
func TestConformanceHTTP(t *testing.T) {
	const data = "{\n    \"message\": \"Hello World!\"\n}"
	binary := map[string]string{"ce-specversion": "1.0", "ce-type": "com.example.someevent", "ce-time": "2018-04-05T03:56:24Z", "ce-id": "1234-1234-1234", "ce-source": "/mycontext/subcontext"}
	const structured = `{"specversion": "1.0", "type": "com.example.someevent", "time": "2018-04-05T03:56:24Z", "id": "1234-1234-1234", "source": "/mycontext/subcontext", "datacontenttype": "application/json", "data": ` + data + `}`
	cases := map[string]struct {
		headers           map[string]string
		contentType, body string
		want              string // datacontenttype
	}{
		"Binary":            {binary, "application/json", data, "application/json"},
		"BinaryCharset":     {binary, "application/json; charset=utf-8", data, "application/json; charset=utf-8"},
		"Structured":        {nil, "application/cloudevents+json", structured, "application/json"},
		"StructuredCharset": {nil, "application/cloudevents+json; charset=utf-8", structured, "application/json"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t)
			request := httptest.NewRequest(http.MethodPost, r.url+"/someresource", strings.NewReader(tc.body))
			request.RequestURI = ""
			request.Header.Set("Content-Type", tc.contentType)
			for name, value := range tc.headers {
				request.Header.Set(name, value)
			}
			resp, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK || len(r.got) != 1 {
				t.Fatalf("got %d, %v", resp.StatusCode, r.got)
			}
			got := r.got[0]
			want := map[string]string{"specversion": "1.0", "id": "1234-1234-1234", "type": "com.example.someevent", "source": "/mycontext/subcontext", "subject": "", "datacontenttype": tc.want}
			if diff := cmp.Diff(want, attributesOfGot(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			var message struct{ Message string }
			if err := json.Unmarshal(got.Data(), &message); err != nil || message.Message != "Hello World!" || got.Time().Format("2006-01-02T15:04:05Z07:00") != "2018-04-05T03:56:24Z" {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}
