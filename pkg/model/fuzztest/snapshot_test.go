package fuzztest

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// moreSeeds have what few objects have, and what none has.
var moreSeeds = []string{
	`{"metadata": {"name": "a", "namespace": "n", "labels": {"l": "1"}, "generateName": "a-", "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "u", "controller": true}],
		"creationTimestamp": "2024-02-29T12:00:00Z", "deletionTimestamp": "2024-02-29T12:00:00Z", "deletionGracePeriodSeconds": 0, "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}],
		"annotations": {"synchronizer.xos-knative.dev/paused": "true", "else": "x"}}, "status": {"annotations": {"a": "b"}, "lastEvents": [{"stream": "s", "ids": ["1"]}],
		"conditions": [{"type": "Ready", "status": "True", "severity": "Info", "lastTransitionTime": "2024-02-29T12:00:00Z", "reason": "OK", "message": "m"}],
		"sync": {"generation": 1, "state": "OK", "code": 1, "message": "m", "failures": 1, "lastSuccess": "2024-02-29T12:00:00.5+02:00", "requestedAt": "t", "unsettled": 2, "handle": "h", "waitingFor": []}}}`,
	`{"metadata": {"name": null, "labels": null, "finalizers": null, "annotations": {}, "deletionTimestamp": null, "creationTimestamp": null}, "status": {"sync": null, "conditions": [null], "policy": {"lastSuccess": null, "waitingFor": [null], "dependencies": [{"kind": null}]}}}`,
	`{"metadata": {"name": "a", "labels": {"l": 1}}}`,
	`{"metadata": {"name": "a", "finalizers": "all"}}`,
	`{"metadata": {"name": "a", "deletionTimestamp": "soon"}}`,
	`{"metadata": {"name": "a", "creationTimestamp": ""}}`,
	`{"metadata": {"name": "a", "ownerReferences": 1}}`,
	`{"metadata": {"name": "a"}, "status": {"sync": {"code": 4294967296}, "policy": {"generation": 1}}}`,
	`{"metadata": {"name": "a"}, "status": {"lastEvents": 1, "sync": {"generation": 1}}}`,
	`{"metadata": {"name": "a"}, "status": {"observedGeneration": 1.0, "observedRevision": "1", "sync": {"nextAttempt": "", "permanent": 1}}}`,
	`{"metadata": {"name": "a"}, "status": {"sync": {"permanent": "yes"}, "policy": {"dependencies": {"kind": "K"}}, "conditions": [{"lastTransitionTime": 1}]}}`,
}

// FuzzSnapshot compares what is read by hand of any object with what the converter of apimachinery makes of it.
func FuzzSnapshot(f *testing.F) {
	for _, seed := range append(moreSeeds, seeds...) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		u := object(raw)
		if u == nil {
			return
		}
		metadata, err := metadataByConverter(u)
		got, gotErr := kinds[0].SnapshotOf(u)
		if err != nil || gotErr != nil {
			if (err == nil) != (gotErr == nil) {
				t.Fatalf("the converter says %v, got %v", err, gotErr)
			}
			return
		}
		if diff := cmp.Diff(metadata, got.ObjectMeta, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(metav1.ObjectMeta{}, "SelfLink")); diff != "" {
			t.Errorf("metadata: -converter, +got:\n%s", diff)
		}
		if diff := cmp.Diff(statusByConverter(u), got.Status, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("status: -converter, +got:\n%s", diff)
		}
	})
}

var convert = runtime.DefaultUnstructuredConverter.FromUnstructured

func metadataByConverter(u *unstructured.Unstructured) (metav1.ObjectMeta, error) {
	fields := maps.Clone(u.Object["metadata"].(map[string]any))
	delete(fields, "managedFields")
	var part struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	err := convert(map[string]any{"metadata": fields}, &part)
	maps.DeleteFunc(part.Metadata.Annotations, func(key, _ string) bool { return !strings.HasPrefix(key, model.FinalizerPrefix) })
	return part.Metadata, err
}

func statusByConverter(u *unstructured.Unstructured) (s model.Status) {
	status, ok := u.Object["status"].(map[string]any)
	if !ok {
		return s
	}
	readable := maps.Clone(status)
	maps.DeleteFunc(readable, func(field string, value any) bool {
		return convert(map[string]any{field: value}, &model.Status{}) != nil
	})
	if err := convert(readable, &s); err != nil {
		panic(err)
	}
	return s
}
