package steptest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/uuid"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// Answer is a function's answer to an event.
type Answer struct {
	// Code is the HTTP status.
	Code int
	// Body is the text of an answer that is not 200.
	Body string
	// Reply is the event in the answer, nil if there is none.
	Reply *cloudevents.Event
}

// Send sends an event to the function. The test fails if a broker would not accept the answer (200 with
// a body that is not a valid CloudEvent), or if the reply would wake a step.
func (w *World) Send(event cloudevents.Event) Answer {
	w.Helper()
	return Post(w, w.URL, event)
}

// Post is [World.Send] for any function.
func Post(t testing.TB, url string, event cloudevents.Event) Answer {
	t.Helper()
	req, err := cloudevents.NewHTTPRequestFromEvent(t.Context(), url, event)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := Answer{Code: resp.StatusCode, Body: strings.TrimSpace(string(body))}
	if resp.StatusCode != http.StatusOK || len(body) == 0 {
		return a
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if a.Reply, err = cloudevents.NewEventFromHTTPResponse(resp); err != nil {
		t.Fatalf("the body of an answer 200: expected a CloudEvent, got %s", body)
	}
	if err := a.Reply.Validate(); err != nil || a.Reply.ID() == "" || a.Reply.Time().IsZero() {
		t.Fatalf("the reply: expected a valid event with an id and a time, got %s, %v", a.Reply, err)
	}
	if _, ok := a.Reply.Extensions()[model.ExtensionStep]; ok {
		t.Fatalf("the reply: expected no attribute %s, which wakes a step, got %s", model.ExtensionStep, a.Reply)
	}
	a.Body = ""
	return a
}

// Wake sends the event that the model source sends when the step is due for the object.
func Wake[T model.Object](w *World, s model.Step, name string) Answer {
	w.Helper()
	return w.Send(WakeEvent[T](w, s, name))
}

// WakeEvent is the event of [Wake].
func WakeEvent[T model.Object](w *World, s model.Step, name string) cloudevents.Event {
	w.Helper()
	obj := Snapshot[T](w, name)
	n, err := w.Models.Neighbours(w.Context(), s, obj)
	if err != nil {
		w.Fatal(err)
	}
	return obj.WakeEvent(s, 1, w.Clock.Now(), n.Dependencies...)
}

// Tick sends the event of a PingSource, and returns the counts of the round.
func (w *World) Tick() (step.PullCounts, Answer) {
	w.Helper()
	a := w.Send(Event(step.EventPing, nil))
	var counts step.PullCounts
	if a.Reply != nil {
		if err := json.Unmarshal(a.Reply.Data(), &counts); err != nil {
			w.Fatalf("the reply of a complete round: %v: %s", err, a.Reply.Data())
		}
	}
	return counts, a
}

// Event makes an event of a micro-service, with a new id. The data is JSON ([]byte or string), a value
// that is encoded as JSON, or nil for none.
func Event(eventType string, data any) cloudevents.Event {
	event := cloudevents.NewEvent()
	event.SetID(uuid.NewString())
	event.SetSource("/test")
	event.SetType(eventType)
	switch d := data.(type) {
	case nil:
	case string:
		_ = event.SetData(cloudevents.ApplicationJSON, []byte(d))
	default:
		_ = event.SetData(cloudevents.ApplicationJSON, d)
	}
	return event
}
