package function_test

import (
	"context"
	"net/http"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

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

// TestConformance runs the suite with a function that passes its events on.
func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T, listener string) string {
		handler, err := function.Events(func(ctx context.Context, e cloudevents.Event) (*cloudevents.Event, protocol.Result) {
			r, err := cloudevents.NewHTTPRequestFromEvent(ctx, listener, e)
			if err != nil {
				return nil, err
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				return nil, err
			}
			return nil, cehttp.NewResult(resp.StatusCode, "%w", resp.Body.Close())
		})
		if err != nil {
			t.Fatal(err)
		}
		return functiontest.Serve(t, handler)
	})
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
