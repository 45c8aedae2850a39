package function_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
)

// TestHardening is about what [function.Events] and [function.Server] do for every program.
func TestHardening(t *testing.T) {
	handler, err := function.Events(func(_ context.Context, event cloudevents.Event) (*cloudevents.Event, protocol.Result) {
		var data struct {
			A json.Number `json:"a"`
		}
		if err := function.CheckText("data", event.Data()); err != nil {
			return nil, function.Unprocessable("%s", err)
		}
		if err := json.Unmarshal(event.Data(), &data); err != nil || data.A != "1" {
			return nil, function.Unprocessable("data.a: expected 1, got %q", data.A)
		}
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := functiontest.EventRows(functiontest.EventProgram{})
	delete(rows, "DataTwice") // That is for who decodes.
	functiontest.Hardening(t, functiontest.Program{Handler: handler, Good: good, MaxBody: function.MaxBody}, rows)
}

func good() *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"a": 1}`))
	for name, value := range map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": "s", "Content-Type": "application/json"} {
		r.Header.Set(name, value)
	}
	return r
}
