package source

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	restwatch "k8s.io/client-go/rest/watch"
)

// watchEvent is an event about a settled member as API servers send it.
func watchEvent(t testing.TB, i int) string {
	t.Helper()
	owner := settled(ownerKind, i%100)
	o := member(i, owner)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&struct {
		Metadata any `json:"metadata"`
		Status   any `json:"status"`
	}{&o.ObjectMeta, &o.Status})
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(memberKind.GVK)
	u.SetAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": strings.Repeat(`{"spec":{"title":"a title"}}`, 10)})
	_ = unstructured.SetNestedField(u.Object, owner.Name, "spec", "owner", "name")
	_ = unstructured.SetNestedField(u.Object, "a title", "spec", "title")
	_ = unstructured.SetNestedField(u.Object, "a report", "status", "observed", "text")
	fields := map[string]any{"f:metadata": map[string]any{"f:finalizers": map[string]any{".": map[string]any{}}}, "f:status": map[string]any{}}
	for _, name := range []string{"code", "conditions", "dependencies", "finalizer", "generation", "handle", "lastSuccess", "message", "observedGeneration", "state"} {
		fields["f:status"].(map[string]any)["f:"+name] = map[string]any{}
	}
	var managed []any
	for _, manager := range []string{"kubectl", "sync", "policy"} {
		managed = append(managed, map[string]any{"manager": manager, "operation": "Update", "apiVersion": "example.dev/v1", "time": "2025-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields})
	}
	_ = unstructured.SetNestedSlice(u.Object, managed, "metadata", "managedFields")
	text, err := u.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("{\"type\":\"ADDED\",\"object\":%s}\n", bytes.TrimSpace(text))
}

// decoder decodes a watch as a client with the serializer does.
func decoder(t testing.TB, serializer runtime.NegotiatedSerializer, stream string) *restwatch.Decoder {
	t.Helper()
	objects, frames, framer, err := runtime.NewClientNegotiator(serializer, memberKind.GVK.GroupVersion()).StreamDecoder(runtime.ContentTypeJSON, nil)
	if err != nil {
		t.Fatal(err)
	}
	return restwatch.NewDecoder(streaming.NewDecoder(framer.NewFrameReader(io.NopCloser(strings.NewReader(stream))), frames), objects)
}

// TestLean checks that a watch that is decoded in part says the same of any object as one that is decoded as a whole.
func TestLean(t *testing.T) {
	whole := dynamic.ConfigFor(&rest.Config{}).NegotiatedSerializer
	member := func(text string) string {
		return `{"type":"MODIFIED","object":{"apiVersion":"example.dev/v1","kind":"Member",` + text + "}}\n"
	}
	tests := map[string]struct{ reason, stream string }{
		"Settled":        {"What nearly all objects are.", watchEvent(t, 7)},
		"NoStatus":       {"A new object.", member(`"metadata":{"name":"a","namespace":"n","uid":"u","generation":1},"spec":{"owner":{"name":"o"}}`)},
		"Deleted":        {"The time of the deletion counts.", member(`"metadata":{"name":"a","namespace":"n","deletionTimestamp":"2025-01-01T00:00:00Z","finalizers":["synchronizer.xos-knative.dev/sync"]}`)},
		"Annotated":      {"So do annotations of the project.", member(`"metadata":{"name":"a","annotations":{"synchronizer.xos-knative.dev/paused":"true","else":"x"}}`)},
		"OddOwner":       {"What cannot be read of the spec is a problem of the object.", member(`"metadata":{"name":"a"},"spec":{"owner":"o"}`)},
		"OddSpec":        {"A spec may be anything.", member(`"metadata":{"name":"a"},"spec":[1]`)},
		"OddStatus":      {"So may a status.", member(`"metadata":{"name":"a"},"status":"fine"`)},
		"OddPart":        {"And each part of it.", member(`"metadata":{"name":"a"},"status":{"sync":"fine","policy":{"generation":2,"state":"OK","code":1}}`)},
		"OddNumber":      {"Numbers are whole.", member(`"metadata":{"name":"a"},"status":{"observedRevision":1.5,"sync":{"generation":1}}`)},
		"OddMetadata":    {"No API server sends that.", member(`"metadata":{"name":"a","namespace":"n","generation":"x"}`)},
		"CaseOfFields":   {"Other fields are other fields.", member(`"metadata":{"name":"a","Name":"b"},"Status":{"sync":{"generation":1}}`)},
		"MetadataIsText": {"No API server sends that either.", member(`"metadata":"a"`)},
		"Bookmark":       {"The end of what there was at first.", `{"type":"BOOKMARK","object":{"kind":"Member","apiVersion":"example.dev/v1","metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}` + "\n"},
		"Error":          {"A watch that has expired.", `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old","reason":"Expired","code":410}}` + "\n"},
		"Spaces":         {"JSON as others write it.", "{\n  \"object\": {\"kind\": \"Member\", \"apiVersion\": \"example.dev/v1\", \"metadata\": {\"name\": \"a\"}},\n  \"type\": \"ADDED\"\n}"},
		"UnknownType":    {"An event of no type that there is.", `{"type":"ELSE","object":{"kind":"Member","apiVersion":"example.dev/v1","metadata":{"name":"a"}}}`},
		"NoObject":       {"An event without an object.", `{"type":"ADDED","object":null}`},
		"NoKind":         {"An object without a kind.", `{"type":"ADDED","object":{"metadata":{"name":"a"}}}`},
		"CutOff":         {"A connection that breaks.", `{"type":"ADDED","object":{"kind":"Mem`},
	}
	w := newWatchedKind(memberKind, nil)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			wantType, want, wantErr := decoder(t, whole, tt.stream).Decode()
			gotType, got, err := decoder(t, lean{whole}, tt.stream).Decode()
			if wantType != gotType || (wantErr == nil) != (err == nil) {
				t.Fatalf("\n%s\nexpected %s and %v, got %s and %v", tt.reason, wantType, wantErr, gotType, err)
			}
			u, ok := want.(*unstructured.Unstructured)
			if !ok {
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("\n%s\n-as a whole, +in part:\n%s", tt.reason, diff)
				}
				return
			}
			part := got.(*unstructured.Unstructured)
			ctx := quietly(t)
			if want, got := w.read(ctx, u), w.read(ctx, part); !reflect.DeepEqual(want, got) {
				t.Errorf("\n%s\nexpected %+v, got %+v", tt.reason, w.snapshot(want), w.snapshot(got))
			}
			if want, got := []any{u.GroupVersionKind(), u.GetResourceVersion(), u.GetName()}, []any{part.GroupVersionKind(), part.GetResourceVersion(), part.GetName()}; !reflect.DeepEqual(want, got) {
				t.Errorf("\n%s\nexpected %v, got %v", tt.reason, want, got)
			}
			if want, got := u.GetAnnotations()[metav1.InitialEventsAnnotationKey], part.GetAnnotations()[metav1.InitialEventsAnnotationKey]; want != got {
				t.Errorf("\n%s\nexpected the end of the first events to be %q, got %q", tt.reason, want, got)
			}
		})
	}
}

// asked counts the requests for things: those that have the objects streamed, and lists.
type asked struct {
	http.RoundTripper
	streams, lists *atomic.Int64
}

func (a asked) RoundTrip(q *http.Request) (*http.Response, error) {
	if strings.HasSuffix(q.URL.Path, "/things") {
		switch query := q.URL.Query(); {
		case query.Get("sendInitialEvents") == "true":
			a.streams.Add(1)
		case query.Get("watch") == "":
			a.lists.Add(1)
		}
	}
	return a.RoundTripper.RoundTrip(q)
}

// TestStreamed: the objects that are there at a start come one by one, too.
func TestStreamed(t *testing.T) {
	r := newRig(t, things)
	r.create("Thing", "a", nil)
	var streams, lists atomic.Int64
	r.config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return asked{rt, &streams, &lists} })
	r.start(Options{})
	r.expect("what is there is sent", "created Thing/a policy #1", "created Thing/a sync #1")
	if streams.Load() == 0 || lists.Load() > 0 {
		t.Errorf("expected the objects to be streamed and not to be listed, got %d streams and %d lists", streams.Load(), lists.Load())
	}
}

// BenchmarkWatch decodes a watch and makes records of it, without an API.
func BenchmarkWatch(b *testing.B) {
	whole := dynamic.ConfigFor(&rest.Config{}).NegotiatedSerializer
	w := newWatchedKind(memberKind, nil)
	const events = 1000
	var stream strings.Builder
	for i := range events {
		stream.WriteString(watchEvent(b, i))
	}
	for name, serializer := range map[string]runtime.NegotiatedSerializer{"Whole": whole, "Lean": lean{whole}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d := decoder(b, serializer, stream.String())
				for range events {
					_, obj, err := d.Decode()
					if err != nil {
						b.Fatal(err)
					}
					if r := w.read(b.Context(), obj.(*unstructured.Unstructured)); r.full != nil {
						b.Fatalf("expected a settled object, got %+v", r.full)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
			b.ReportMetric(float64(stream.Len()/events), "B/event")
		})
	}
}
