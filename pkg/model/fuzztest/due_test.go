package fuzztest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/json"

	"github.com/xos-knative/synchronizer/pkg/model"
)

const group = "library.xos-knative.dev"

// kinds are a model with both steps, one with a sync, one with none, and one that is no model any more.
var kinds = []*model.Kind{
	{GVK: schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Book"}, Resource: "books", Steps: model.Steps(),
		DependsOn: []model.DependsOn{{GroupKind: schema.GroupKind{Group: group, Kind: "Shelf"}, Path: "spec.shelf.name", Observed: true}}},
	{GVK: schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Shelf"}, Resource: "shelves", Steps: []model.Step{model.StepSync}},
	{GVK: schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Plain"}, Resource: "plains"},
	{GVK: schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Book"}, Resource: "books", Retired: true},
}

// seeds are parts of objects, as the API has them.
var seeds = []string{
	`{"metadata": {"name": "a", "uid": "u", "generation": 3}, "spec": {"shelf": {"name": "s"}}}`,
	`{"metadata": {"name": "a", "uid": "u", "generation": 3, "finalizers": ["synchronizer.xos-knative.dev/sync", "synchronizer.xos-knative.dev/policy"], "deletionTimestamp": "2024-02-29T12:00:00Z"}, "status": {"sync": {"generation": 3, "state": "OK", "code": 1}}}`,
	`{"metadata": {"name": "a", "uid": "u", "generation": 3}, "status": {"observedGeneration": 3, "observedRevision": 9, "conditions": [{"type": "Ready", "status": "True"}, {"type": "Policed", "status": "?"}, {"type": "Own", "status": "False"}],
		"sync": {"generation": 3, "state": "Failed", "code": 2, "failures": 2147483647, "nextAttempt": "2024-02-29T12:00:01Z", "lastFailure": "2024-02-29T11:00:01Z", "dependencies": [{"kind": "Shelf", "name": "s", "uid": "v", "generation": 1}]},
		"policy": {"generation": 3, "state": "Waiting", "waitingFor": [{"kind": "Shelf", "name": "", "reason": "Ambiguous"}], "observedRevision": 8, "finalizer": true}}}`,
	`{"metadata": {"name": "a", "generation": 3}, "spec": {"shelf": "s"}, "status": {"sync": "fine", "policy": {"generation": 3, "state": "Deferred", "permanent": true}}}`,
	`{"metadata": {"name": "a", "generation": -1}, "spec": {"shelf": {"name": "a"}}, "status": {"conditions": "none", "lastEvents": [{"stream": 1}], "sync": {"generation": 1.5}}}`,
	`{"metadata": {"name": "a"}, "status": []}`,
}

// FuzzDue asks for a verdict on any object that the API can have, with any annotations.
func FuzzDue(f *testing.F) {
	for i, seed := range seeds {
		f.Add([]byte(seed), []byte(seeds[(i+1)%len(seeds)]), uint8(i), "", "", "", int64(i))
		f.Add([]byte(seed), []byte("{}"), uint8(i), "t1", "true", "false", int64(-i))
	}
	now := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, raw, shelf []byte, kind uint8, requested, paused, optOut string, second int64) {
		u := object(raw)
		if u == nil {
			return
		}
		annotations := u.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		for key, value := range map[string]string{model.AnnotationRequestedAt: requested, model.AnnotationPaused: paused, model.AnnotationNoSync: optOut, model.AnnotationNoPolicy: optOut} {
			if value != "" {
				annotations[key] = value
			}
		}
		u.SetAnnotations(annotations)
		k := kinds[int(kind)%len(kinds)]
		s, err := k.SnapshotOf(u)
		if err != nil {
			if !strings.Contains(err.Error(), "metadata") {
				t.Fatalf("only metadata that no API sends has no snapshot, got %v", err)
			}
			return
		}
		n := neighbours(s, shelf)
		at := now.Add(time.Duration(second%1_000_000) * time.Second)
		for _, step := range model.Steps() {
			verdict := model.Due(step, s, n, at)
			if again := model.Due(step, s, n, at); !cmp.Equal(verdict, again) {
				t.Fatalf("%s: first %+v, then %+v", step, verdict, again)
			}
			if !verdict.At.IsZero() && (verdict.Due() || !verdict.At.After(at)) {
				t.Fatalf("%s: a time is in the future of what is not due, got %+v", step, verdict)
			}
			if verdict.Reason == model.DueReport {
				reported := report(t, k, u)
				if v := model.Due(step, reported, n, at); v.Reason == model.DueReport {
					t.Fatalf("%s: what was reported is due to be reported again: %+v", step, reported.Status)
				}
			}
		}
		model.Settled(s, n, at)
	})
}

// object is a JSON object as a client reads it, nil if it is none or has no metadata.
func object(raw []byte) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	if json.UnmarshalCaseSensitivePreserveInts(raw, &u.Object) != nil {
		return nil
	}
	if _, ok := u.Object["metadata"].(map[string]any); !ok {
		return nil
	}
	return u
}

func neighbours(s *model.Snapshot, shelf []byte) (n model.Neighbours) {
	u := object(shelf)
	for i, rule := range s.Kind.DependsOn {
		d := model.Dependency{DependsOn: rule, Name: s.Refs[i], Candidates: len(shelf) % 3}
		if u != nil {
			d.Object, _ = kinds[1].SnapshotOf(u)
		}
		n.Dependencies = append(n.Dependencies, d)
	}
	for i := range len(shelf) % 3 {
		n.Dependents = append(n.Dependents, model.Dependent{Kind: "Page", Name: fmt.Sprint(i)})
	}
	return n
}

// report does to the object what [model.Client.Report] does on the API.
func report(t *testing.T, k *model.Kind, u *unstructured.Unstructured) *model.Snapshot {
	t.Helper()
	u = u.DeepCopy()
	s, err := k.SnapshotOf(u)
	if err != nil {
		t.Fatal(err)
	}
	model.SetConditions(s)
	written, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&s.Status)
	if err != nil {
		t.Fatal(err)
	}
	status, ok := u.Object["status"].(map[string]any)
	if !ok {
		status = map[string]any{}
		u.Object["status"] = status
	}
	status["conditions"], status["observedGeneration"] = written["conditions"], written["observedGeneration"]
	u.SetFinalizers(slices.DeleteFunc(u.GetFinalizers(), func(f string) bool {
		return slices.ContainsFunc(model.Steps(), func(step model.Step) bool { return f == step.Finalizer() && !k.Has(step) })
	}))
	again, err := k.SnapshotOf(u)
	if err != nil {
		t.Fatal(err)
	}
	return again
}
