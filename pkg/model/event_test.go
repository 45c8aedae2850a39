package model_test

import (
	"encoding/json"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/model"
)

func TestWakeEvent(t *testing.T) {
	tests := map[string]struct {
		reason string
		obj    *model.Snapshot
		step   model.Step
		try    int
		id     string
		typ    string
	}{
		"Created": {
			reason: "An object that the step has never handled is new to it.",
			obj:    object(books, "a", handled(model.StepPolicy, ok())),
			step:   model.StepSync, try: 1,
			id: "uid-a/3/sync/1", typ: model.EventCreated,
		},
		"Updated": {
			reason: "Once handled, even without success, it is known.",
			obj:    object(books, "a", handled(model.StepPolicy, failed(nil))),
			step:   model.StepPolicy, try: 12,
			id: "uid-a/3/policy/12", typ: model.EventUpdated,
		},
		"Deleted": {
			reason: "What is being deleted is told so, handled before or not.",
			obj:    object(books, "a", deleting),
			step:   model.StepSync, try: 2,
			id: "uid-a/3/sync/2", typ: model.EventDeleted,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			event := tt.obj.WakeEvent(tt.step, tt.try, now)
			if err := event.Validate(); err != nil {
				t.Fatalf("%s\nthe event is not valid: %v", tt.reason, err)
			}
			raw, err := json.Marshal(event)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal(raw, &got); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{
				"specversion": "1.0", "id": tt.id, "type": tt.typ, "time": "2024-02-29T12:00:00Z",
				"source":  "/apis/library.xos-knative.dev/v1alpha1/namespaces/default/books",
				"subject": "a", "datacontenttype": "application/json",
				"step": string(tt.step), "kind": "Book", "namespace": "default", "name": "a",
				"uid": "uid-a", "generation": "3", "partitionkey": "uid-a",
				"data": map[string]any{"apiVersion": "library.xos-knative.dev/v1alpha1", "kind": "Book",
					"namespace": "default", "name": "a", "uid": "uid-a", "generation": 3.0},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tt.reason, diff)
			}
			if again := tt.obj.WakeEvent(tt.step, tt.try, now); again.String() != event.String() {
				t.Errorf("the same attempt must be the same event:\n%s\n%s", event, again)
			}

			ref, err := model.ParseReference(event)
			if err != nil {
				t.Fatalf("the engine must be able to read what the source sends: %v", err)
			}
			if diff := cmp.Diff(tt.obj.Reference(), ref); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
			if got := ref.GroupKind(); got != books.GVK.GroupKind() {
				t.Errorf("GroupKind(): got %s", got)
			}
		})
	}
}

func TestReplyHasNoStep(t *testing.T) {
	event := object(books, "a").Event("dev.xos-knative.model.synced", "1", now, nil)
	if _, ok := event.Extensions()[model.ExtensionStep]; ok {
		t.Error("a reply that names a step would wake the function that sent it")
	}
}

func TestParseReference(t *testing.T) {
	tests := map[string]struct {
		reason  string
		data    string
		want    model.Reference
		wantErr []string
	}{
		"Short": {
			reason: "UID and generation are hints that a human may leave out.",
			data:   `{"apiVersion": "g.io/v1", "kind": "K", "namespace": "n", "name": "a.b"}`,
			want:   model.Reference{APIVersion: "g.io/v1", Kind: "K", Namespace: "n", Name: "a.b"},
		},
		"Empty":         {"Nothing is no reference.", "", model.Reference{}, []string{"data", "JSON object", "unexpected end"}},
		"NoJSON":        {"Nor is text.", "fiction", model.Reference{}, []string{"data", "JSON object"}},
		"Array":         {"Nor is another JSON value.", "[]", model.Reference{}, []string{"data", "JSON object"}},
		"Null":          {"Nor is null.", "null", model.Reference{}, []string{"data.apiVersion"}},
		"Cut":           {"Nor is half an object.", `{"apiVersion": "g/v1", "kind": `, model.Reference{}, []string{"data"}},
		"UnknownField":  {"A field that nobody reads is a mistake.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n", "name": "a", "spec": {}}`, model.Reference{}, []string{"data", `"spec"`}},
		"More":          {"One reference, not two.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n", "name": "a"} {}`, model.Reference{}, []string{"data", "after top-level value"}},
		"Twice":         {"A field that is there twice is a mistake.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n", "name": "a", "name": "b"}`, model.Reference{}, []string{"data", `"name"`}},
		"Case":          {"So is one in another case.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n", "name": "a", "Name": "b"}`, model.Reference{}, []string{"data", `"Name"`}},
		"NotUTF8":       {"Text is Unicode.", "{\"kind\": \"\xff\"}", model.Reference{}, []string{"data", "UTF-8"}},
		"WrongType":     {"The error names the field.", `{"apiVersion": "g/v1", "kind": 1}`, model.Reference{}, []string{"data", "kind"}},
		"NoAPIVersion":  {"The group is needed.", `{"kind": "K", "namespace": "n", "name": "a"}`, model.Reference{}, []string{"data.apiVersion", "group/version", `""`}},
		"CoreGroup":     {"No model is in the core group.", `{"apiVersion": "v1", "kind": "K", "namespace": "n", "name": "a"}`, model.Reference{}, []string{"data.apiVersion", `"v1"`}},
		"BadAPIVersion": {"Nor has three parts.", `{"apiVersion": "a/b/c", "kind": "K", "namespace": "n", "name": "a"}`, model.Reference{}, []string{"data.apiVersion", `"a/b/c"`}},
		"NoKind":        {"The kind is needed.", `{"apiVersion": "g/v1", "namespace": "n", "name": "a"}`, model.Reference{}, []string{"data.kind"}},
		"NoNamespace":   {"So is the namespace.", `{"apiVersion": "g/v1", "kind": "K", "name": "a"}`, model.Reference{}, []string{"data.namespace"}},
		"NoName":        {"So is the name.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n"}`, model.Reference{}, []string{"data.name"}},
		"PathInName":    {"Names become paths.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n", "name": "../x"}`, model.Reference{}, []string{"data.name", `"../x"`}},
		"PathInSpace":   {"Both of them.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n/x", "name": "a"}`, model.Reference{}, []string{"data.namespace", `"n/x"`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			event := cloudevents.NewEvent()
			event.DataEncoded = []byte(tt.data)
			got, err := model.ParseReference(event)
			wantError(t, tt.reason, err, tt.wantErr...)
			if err == nil {
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("\n%s\n-want, +got:\n%s", tt.reason, diff)
				}
			}
		})
	}
}
