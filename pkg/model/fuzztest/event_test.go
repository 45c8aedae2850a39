package fuzztest

import (
	"encoding/json"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// FuzzParseReference looks for a reference that passes and is none.
func FuzzParseReference(f *testing.F) {
	f.Add([]byte(`{"apiVersion": "g.io/v1", "kind": "K", "namespace": "n", "name": "a.b", "generation": 1}`))
	f.Add([]byte(`{"apiVersion": "g.io/v1", "kind": "K", "namespace": "..", "name": "%2e%2e/"}`))
	f.Add([]byte(`{"apiVersion": "g.io/v1", "kind": "\ud800", "namespace": "n", "name": "a", "uid": "\u0000", "generation": -1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		event := cloudevents.NewEvent()
		event.DataEncoded = data
		ref, err := model.ParseReference(event)
		if err != nil {
			return
		}
		// What passes is safe in a path, and reads the same when it is written.
		raw, err := json.Marshal(ref)
		if err != nil {
			t.Fatal(err)
		}
		event.DataEncoded = raw
		again, err := model.ParseReference(event)
		if err != nil || again != ref {
			t.Fatalf("%s: %+v, %v", raw, again, err)
		}
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
	})
}
