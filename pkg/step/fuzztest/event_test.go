package fuzztest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// data is that of an event, with fields of all types.
type data struct {
	Serial string            `json:"serial"`
	Count  int64             `json:"count"`
	Ratio  float64           `json:"ratio"`
	On     bool              `json:"on"`
	At     *time.Time        `json:"at"`
	Parts  []data            `json:"parts"`
	Labels map[string]string `json:"labels"`
	Any    any               `json:"any"`
}

// known names the object that an event is about, as [step.OnObject] does.
type known struct{}

func (known) HandleEvent(_ context.Context, _ cloudevents.Event, d data) (step.EventResult, error) {
	name, err := model.ObjectName("Book", d.Serial)
	if err != nil {
		return step.EventResult{}, step.Permanent(err)
	}
	for _, name := range []string{name, model.DistinctName("Book", d.Serial)} {
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			return step.EventResult{}, errors.New("a name that Kubernetes does not take: " + name)
		}
	}
	return step.EventResult{Operation: model.Unchanged, Name: name}, nil
}

// FuzzEvent sends events of any data to a handler. An event is handled, or refused for good in one line that
// names the field.
func FuzzEvent(f *testing.F) {
	for _, data := range []string{`{"serial": "a", "count": 1, "ratio": 1.5, "on": true, "at": "2024-01-01T00:00:00Z", "parts": [{"serial": "b"}], "labels": {"a": "b"}, "any": {"x": [1]}}`,
		`{"serial": "Jörg"}`, `{"serial": "日本"}`, `{"serial": " "}`, `{"serial": "A B--"}`, `{"count": 1e3}`, `{"count": 9223372036854775808}`, `{"parts": [{"count": "1"}]}`, `{"any": "\ud800"}`, `{"a": 1, "a": 2}`, `null`, ``} {
		f.Add([]byte(data), "t")
	}
	fn, err := step.New(f.Context(), nil, []step.Registration{step.On(known{}, "t"), step.Pull(nothing{})})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, eventType string) {
		event := cloudevents.NewEvent()
		event.SetID("1")
		event.SetSource("/s")
		event.SetType(eventType)
		event.DataEncoded = data
		_, result := fn.Handle(t.Context(), event)
		if result == nil {
			return
		}
		var status *cehttp.Result
		if !errors.As(result, &status) || status.StatusCode != http.StatusUnprocessableEntity {
			t.Fatalf("want 422 for %q, got %v", data, result)
		}
		text := strings.TrimPrefix(result.Error(), "422: ")
		if strings.ContainsAny(text, "\n\r") || !strings.HasPrefix(text, "data") && !strings.HasPrefix(text, "name") && !strings.HasPrefix(text, "type") {
			t.Fatalf("a reason of one line names the field, got %q", text)
		}
	})
}

type nothing struct{}

func (nothing) Pull(context.Context, *step.Round) error { return nil }
