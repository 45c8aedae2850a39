package model_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// settledBook is a book as the API sends it when its steps are done.
const settledBook = `{"apiVersion":"library.xos-knative.dev/v1alpha1","kind":"Book","metadata":{"name":"book-1","namespace":"default","uid":"4f7c0f4c-9d5e-4a0e-8d6b-000000000001",
	"resourceVersion":"1234","generation":1,"creationTimestamp":"2025-01-01T00:00:00Z","labels":{"app":"library","team":"fiction"},
	"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"apiVersion\":\"library.xos-knative.dev/v1alpha1\",\"kind\":\"Book\",\"metadata\":{\"name\":\"item-1\"},\"spec\":{\"title\":\"Title 1\",\"shelf\":{\"name\":\"fiction\"}}}"},
	"finalizers":["synchronizer.xos-knative.dev/sync","synchronizer.xos-knative.dev/policy"],
	"managedFields":[{"manager":"kubectl-client-side-apply","operation":"Update","apiVersion":"library.xos-knative.dev/v1alpha1","time":"2025-01-01T00:00:00Z","fieldsType":"FieldsV1",
	"fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/last-applied-configuration":{}}},"f:spec":{".":{},"f:title":{},"f:shelf":{".":{},"f:name":{}}}}},
	{"manager":"sync","operation":"Update","apiVersion":"library.xos-knative.dev/v1alpha1","time":"2025-01-01T00:00:00Z","fieldsType":"FieldsV1",
	"fieldsV1":{"f:metadata":{"f:finalizers":{".":{},"v:\"synchronizer.xos-knative.dev/sync\"":{},"v:\"synchronizer.xos-knative.dev/policy\"":{}}}}},
	{"manager":"sync","operation":"Update","apiVersion":"library.xos-knative.dev/v1alpha1","time":"2025-01-01T00:00:00Z","fieldsType":"FieldsV1","subresource":"status",
	"fieldsV1":{"f:status":{"f:conditions":{},"f:observedGeneration":{},"f:sync":{".":{},"f:code":{},"f:dependencies":{},"f:finalizer":{},"f:generation":{},"f:handle":{},"f:lastSuccess":{},"f:message":{},"f:state":{}}}}}]},
	"spec":{"title":"Title 1","shelf":{"name":"fiction"}},
	"status":{"observedGeneration":1,"conditions":[
	{"type":"PolicyApplied","status":"True","lastTransitionTime":"2025-01-01T00:00:00Z","reason":"OK","message":"OK"},
	{"type":"Ready","status":"True","lastTransitionTime":"2025-01-01T00:00:00Z","reason":"OK","message":"OK"},
	{"type":"Synced","status":"True","lastTransitionTime":"2025-01-01T00:00:00Z","reason":"OK","message":"OK"}],
	"policy":{"generation":1,"state":"OK","code":1,"message":"OK","lastSuccess":"2025-01-01T00:00:00Z","finalizer":true},
	"sync":{"generation":1,"state":"OK","code":1,"message":"OK","lastSuccess":"2025-01-01T00:00:00Z","handle":"4f7c0f4c-9d5e-4a0e-8d6b-000000000001","finalizer":true,
	"dependencies":[{"kind":"Shelf","name":"fiction","uid":"4f7c0f4c-9d5e-4a0e-8d6b-000000000002","generation":1}]}}}`

// BenchmarkSnapshotOf makes a snapshot of what was decoded.
func BenchmarkSnapshotOf(b *testing.B) {
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal([]byte(settledBook), &u.Object); err != nil {
		b.Fatal(err)
	}
	var s *model.Snapshot
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if s, err = books.SnapshotOf(u); err != nil {
			b.Fatal(err)
		}
	}
	if s.Unreported || s.Refs[0] != "fiction" || s.Status.Sync.State != model.StateOK {
		b.Fatalf("expected a settled book, got %+v", s)
	}
}
