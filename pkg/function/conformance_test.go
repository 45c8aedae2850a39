package function_test

import (
	"context"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"

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

// TestConformanceEvents sends the events of the suite.
func TestConformanceEvents(t *testing.T) {
	r := newRecorder(t)
	for _, e := range conformance.Events() {
		r.got = nil
		if e.Send(t, r.url); len(r.got) != 1 {
			t.Fatalf("%+v came %d times", e, len(r.got))
		}
		e.Check(t, r.got[0])
	}
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
