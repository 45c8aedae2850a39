package step

import (
	"context"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// FuzzWorkItem makes work items of events: each has one of the function's steps and names that can be in a
// path, or an error of one line that names the field.
func FuzzWorkItem(f *testing.F) {
	f.Add("sync", []byte(`{"apiVersion": "g.io/v1", "kind": "K", "namespace": "n", "name": "a.b", "uid": "u", "generation": 1}`), true)
	f.Add("policy", []byte(`{"apiVersion": "g.io/v1", "kind": "K", "namespace": "..", "name": "%2e%2e/"}`), false)
	f.Add("", []byte(`[1e999]`), true)
	f.Add("\xff\n", []byte(`{"generation": 99999999999999999999, "Kind": ""}`), false)
	f.Fuzz(func(t *testing.T, wanted string, data []byte, both bool) {
		event := cloudevents.NewEvent()
		event.DataEncoded = data
		if wanted != "" {
			event.SetExtension(model.ExtensionStep, wanted)
		}
		fn := &Function{engines: map[model.Step]*engine{model.StepSync: {}}}
		if both {
			fn.engines[model.StepPolicy] = &engine{}
		}
		step, ref, err := fn.workItem(event)
		if err != nil {
			if text := oneLine(err); !strings.HasPrefix(text, "data") && !strings.HasPrefix(text, "step") {
				t.Fatalf("the error names the field, got %q", text)
			}
			return
		}
		if fn.engines[step] == nil || wanted != "" && wanted != string(step) || wanted == "" && both {
			t.Fatalf("an event for %q is for %q", wanted, step)
		}
		if len(validation.IsDNS1123Label(ref.Namespace)) > 0 || len(validation.IsDNS1123Subdomain(ref.Name)) > 0 || ref.Kind == "" {
			t.Fatalf("%q passed as %+v", data, ref)
		}
	})
}

// fuzzed is the data of an event with fields of all types.
type fuzzed struct {
	Serial string            `json:"serial"`
	Count  int64             `json:"count"`
	Ratio  float64           `json:"ratio"`
	On     bool              `json:"on"`
	At     *time.Time        `json:"at"`
	Parts  []fuzzed          `json:"parts"`
	Labels map[string]string `json:"labels"`
	Any    any               `json:"any"`
}

// FuzzEvent decodes the data of events for handlers. Data is decoded as it is, or the event is refused in one
// line that names the field; and what an object is known by becomes a name that Kubernetes takes.
func FuzzEvent(f *testing.F) {
	for _, data := range []string{`{"serial": "a", "count": 1, "ratio": 1.5, "on": true, "at": "2024-01-01T00:00:00Z", "parts": [{"serial": "b"}], "labels": {"a": "b"}, "any": {"x": [1]}}`,
		`{"serial": "Jörg"}`, `{"serial": "日本"}`, `{"serial": " "}`, `{"count": 1e3}`, `{"count": 9223372036854775808}`, `{"parts": [{"count": "1"}]}`, `{"any": "\ud800"}`, `{"a": 1, "a": 2}`, `null`, ``} {
		f.Add([]byte(data), "2024-01-01T00:00:00Z")
	}
	f.Fuzz(func(t *testing.T, data []byte, at string) {
		event := cloudevents.NewEvent()
		event.SetID("1")
		event.SetSource("/s")
		event.SetType("t")
		event.DataEncoded = data
		if parsed, err := types.ParseTime(at); err == nil {
			event.SetTime(parsed)
		}
		handler := On(known{t, event}, "t").handler(nil)
		_, err := handler.handle(t.Context(), event)
		if err == nil {
			return
		}
		if text := oneLine(err); !strings.HasPrefix(text, "data") || !isFinal(err) {
			t.Fatalf("bad data stays bad, and the error names the field, got %q", text)
		}
	})
}

// known looks for the object that an event is about, as [OnObject] does.
type known struct {
	t     *testing.T
	event cloudevents.Event
}

func (k known) HandleEvent(ctx context.Context, _ cloudevents.Event, data fuzzed) (EventResult, error) {
	about := onObject[*v1alpha1.Book, fuzzed]{stream: "t"}
	if o := about.occurrence(ctx, k.event); len(o.ID) != 16 || o.Time.After(time.Now().Add(maxAhead)) {
		k.t.Fatalf("%s counts as %+v", k.event, o)
	}
	name, err := model.ObjectName("Book", data.Serial)
	if err != nil {
		return EventResult{}, nil // A blank name is refused.
	}
	for _, name := range []string{name, model.DistinctName("Book", data.Serial)} {
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			k.t.Fatalf("%q becomes %q: %v", data.Serial, name, problems)
		}
		book := &v1alpha1.Book{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for field := range data.Labels {
			about.isAbout(book, Key{Field: field, Value: data.Serial})
		}
	}
	return EventResult{Operation: model.Unchanged}, nil
}
