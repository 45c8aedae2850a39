package fuzztest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// FuzzParseReferences looks for a reference that passes and is none.
func FuzzParseReferences(f *testing.F) {
	f.Add([]byte(`{"apiVersion": "g.io/v1", "kind": "K", "namespace": "n", "name": "a.b", "generation": 1}`))
	f.Add([]byte(`{"apiVersion": "g.io/v1", "kind": "K", "namespace": "..", "name": "%2e%2e/"}`))
	f.Add([]byte(`{"apiVersion": "g.io/v1", "kind": "\ud800", "namespace": "n", "name": "a", "uid": "\u0000", "generation": -1}`))
	f.Add([]byte(`{"objects": [{"apiVersion": "g.io/v1", "kind": "K", "namespace": "n", "name": "a"}, {"apiVersion": "g.io/v1", "kind": "K", "namespace": "n", "name": ".."}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		event := cloudevents.NewEvent()
		event.DataEncoded = data
		refs, err := model.ParseReferences(event)
		if err != nil {
			return
		}
		// What passes is safe in a path, and reads the same when it is written.
		raw, err := json.Marshal(map[string]any{"objects": refs})
		if err != nil {
			t.Fatal(err)
		}
		event.DataEncoded = raw
		again, err := model.ParseReferences(event)
		if err != nil || !equality.Semantic.DeepEqual(again, refs) {
			t.Fatalf("%s: %+v, %v", raw, again, err)
		}
		for _, ref := range refs {
			for _, part := range []string{ref.Namespace, ref.Name} {
				if part == "" || part == "." || part == ".." {
					t.Fatalf("%q passed", data)
				}
				for _, c := range part {
					if c != '-' && c != '.' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
						t.Fatalf("%q passed", data)
					}
				}
			}
		}
	})
}

// FuzzParseWakeEvent makes work items of events: each has one of the function's steps and names that can be in a
// path, or an error of one line that names the field.
func FuzzParseWakeEvent(f *testing.F) {
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
		steps := model.Steps()[:1]
		if both {
			steps = model.Steps()
		}
		step, refs, err := model.ParseWakeEvent(event, steps...)
		if err != nil {
			if text := err.Error(); !strings.HasPrefix(text, "data") && !strings.HasPrefix(text, "step") {
				t.Fatalf("the error names the field, got %q", text)
			}
			return
		}
		if !slices.Contains(steps, step) || wanted != "" && wanted != string(step) || wanted == "" && both {
			t.Fatalf("an event for %q is for %q", wanted, step)
		}
		for _, ref := range refs {
			if len(validation.IsDNS1123Label(ref.Namespace)) > 0 || len(validation.IsDNS1123Subdomain(ref.Name)) > 0 || ref.Kind == "" {
				t.Fatalf("%q passed as %+v", data, ref)
			}
		}
	})
}
