package model_test

import (
	"encoding/json"
	"strconv"
	"strings"
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

			refs, err := model.ParseReferences(event)
			if err != nil {
				t.Fatalf("the engine must be able to read what the source sends: %v", err)
			}
			if diff := cmp.Diff([]model.Reference{tt.obj.Reference()}, refs); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
			if got := refs[0].GroupKind(); got != books.GVK.GroupKind() {
				t.Errorf("GroupKind(): got %s", got)
			}
		})
	}
}

// TestWakeEventOfSeveral checks the attributes that an event about several objects has, and that it has none of those
// that are about one.
func TestWakeEventOfSeveral(t *testing.T) {
	several := func(names ...string) cloudevents.Event {
		t.Helper()
		var wakes []model.Wake
		for i, name := range names {
			o := object(books, name)
			o.ResourceVersion = strconv.Itoa(i + 7)
			wakes = append(wakes, model.Wake{Object: o, Attempt: i + 1})
		}
		event := model.WakeEvent(model.StepSync, now, wakes[0], wakes[1:]...)
		if err := event.Validate(); err != nil {
			t.Fatalf("the event is not valid: %v", err)
		}
		return event
	}
	event := several("a", "b", "c")
	got := event.Extensions()
	want := map[string]any{"step": "sync", "kind": "Book", "namespace": "default", "partitionkey": "uid-a", "count": int32(3)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes: -want, +got:\n%s", diff)
	}
	if event.Type() != model.EventCreated || event.Subject() != "" || event.Source() != "/apis/library.xos-knative.dev/v1alpha1/namespaces/default/books" {
		t.Errorf("expected the type and the source of each of the objects, and no subject, got %s", event)
	}
	step, refs, err := model.ParseWakeEvent(event, model.Steps()...)
	if err != nil || step != model.StepSync {
		t.Fatalf("the engine must be able to read what the source sends, got %q, %v", step, err)
	}
	var lines []string
	for _, r := range refs {
		lines = append(lines, r.Name+" "+r.UID+" "+r.ResourceVersion)
	}
	if diff := cmp.Diff([]string{"a uid-a 7", "b uid-b 8", "c uid-c 9"}, lines); diff != "" {
		t.Errorf("objects: -want, +got:\n%s", diff)
	}
	ids := map[string]string{}
	for _, e := range []cloudevents.Event{event, several("a"), several("a", "b"), several("a", "c"), several("a", "c", "b")} {
		if other, ok := ids[e.ID()]; ok {
			t.Errorf("two events have the id %s, which a broker may take for one:\n%s\n%s", e.ID(), other, e)
		}
		ids[e.ID()] = e.String()
	}
	if again := several("a", "b", "c"); again.ID() != event.ID() {
		t.Errorf("the same attempts are the same event: expected id %s, got %s", event.ID(), again.ID())
	}
}

func TestReplyHasNoStep(t *testing.T) {
	event := object(books, "a").Event("dev.xos-knative.model.synced", "1", now, nil)
	if _, ok := event.Extensions()[model.ExtensionStep]; ok {
		t.Error("a reply that names a step would wake the function that sent it")
	}
}

func TestParseReferences(t *testing.T) {
	tests := map[string]struct {
		reason  string
		data    string
		want    []model.Reference
		wantErr []string
	}{
		"Short": {
			reason: "UID and generation are hints that a human may leave out.",
			data:   `{"apiVersion": "g.io/v1", "kind": "K", "namespace": "n", "name": "a.b"}`,
			want:   []model.Reference{{APIVersion: "g.io/v1", Kind: "K", Namespace: "n", Name: "a.b"}},
		},
		"Several": {
			reason: "One event can be about several objects.",
			data:   `{"objects": [{"apiVersion": "g.io/v1", "kind": "K", "namespace": "n", "name": "a"}, {"apiVersion": "g.io/v1", "kind": "K", "namespace": "n", "name": "b", "resourceVersion": "7"}]}`,
			want:   []model.Reference{{APIVersion: "g.io/v1", Kind: "K", Namespace: "n", Name: "a"}, {APIVersion: "g.io/v1", Kind: "K", Namespace: "n", Name: "b", ResourceVersion: "7"}},
		},
		"NoObjects":     {"But not about none.", `{"objects": []}`, nil, []string{"data.objects", "1 to 64", "0"}},
		"TooMany":       {"Nor about any number.", `{"objects": [` + strings.Repeat("{},", 64) + `{}]}`, nil, []string{"data.objects", "1 to 64", "65"}},
		"Both":          {"Nor about one and several.", `{"name": "a", "objects": [{}]}`, nil, []string{"data", "both"}},
		"OneOfSeveral":  {"The error says which one is wrong.", `{"objects": [{"apiVersion": "g/v1", "kind": "K", "namespace": "n", "name": "a"}, {"apiVersion": "g/v1", "kind": "K", "namespace": "n"}]}`, nil, []string{"data.objects[1].name"}},
		"Nested":        {"A list of lists is a mistake.", `{"objects": [{"objects": []}]}`, nil, []string{"data", `"objects[0].objects"`}},
		"Empty":         {"Nothing is no reference.", "", nil, []string{"data", "JSON object", "unexpected end"}},
		"NoJSON":        {"Nor is text.", "fiction", nil, []string{"data", "JSON object"}},
		"Array":         {"Nor is another JSON value.", "[]", nil, []string{"data", "JSON object"}},
		"Null":          {"Nor is null.", "null", nil, []string{"data.apiVersion"}},
		"Cut":           {"Nor is half an object.", `{"apiVersion": "g/v1", "kind": `, nil, []string{"data"}},
		"UnknownField":  {"A field that nobody reads is a mistake.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n", "name": "a", "spec": {}}`, nil, []string{"data", `"spec"`}},
		"More":          {"One reference, not two.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n", "name": "a"} {}`, nil, []string{"data", "after top-level value"}},
		"Twice":         {"A field that is there twice is a mistake.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n", "name": "a", "name": "b"}`, nil, []string{"data", `"name"`}},
		"Case":          {"So is one in another case.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n", "name": "a", "Name": "b"}`, nil, []string{"data", `"Name"`}},
		"NotUTF8":       {"Text is Unicode.", "{\"kind\": \"\xff\"}", nil, []string{"data", "UTF-8"}},
		"WrongType":     {"The error names the field.", `{"apiVersion": "g/v1", "kind": 1}`, nil, []string{"data", "kind"}},
		"NoAPIVersion":  {"The group is needed.", `{"kind": "K", "namespace": "n", "name": "a"}`, nil, []string{"data.apiVersion", "group/version", `""`}},
		"CoreGroup":     {"No model is in the core group.", `{"apiVersion": "v1", "kind": "K", "namespace": "n", "name": "a"}`, nil, []string{"data.apiVersion", `"v1"`}},
		"BadAPIVersion": {"Nor has three parts.", `{"apiVersion": "a/b/c", "kind": "K", "namespace": "n", "name": "a"}`, nil, []string{"data.apiVersion", `"a/b/c"`}},
		"NoKind":        {"The kind is needed.", `{"apiVersion": "g/v1", "namespace": "n", "name": "a"}`, nil, []string{"data.kind"}},
		"NoNamespace":   {"So is the namespace.", `{"apiVersion": "g/v1", "kind": "K", "name": "a"}`, nil, []string{"data.namespace"}},
		"NoName":        {"So is the name.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n"}`, nil, []string{"data.name"}},
		"PathInName":    {"Names become paths.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n", "name": "../x"}`, nil, []string{"data.name", `"../x"`}},
		"PathInSpace":   {"Both of them.", `{"apiVersion": "g/v1", "kind": "K", "namespace": "n/x", "name": "a"}`, nil, []string{"data.namespace", `"n/x"`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			event := cloudevents.NewEvent()
			event.DataEncoded = []byte(tt.data)
			got, err := model.ParseReferences(event)
			wantError(t, tt.reason, err, tt.wantErr...)
			if err == nil {
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("\n%s\n-want, +got:\n%s", tt.reason, diff)
				}
			}
		})
	}
}
