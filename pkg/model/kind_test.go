package model_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// definition makes a CustomResourceDefinition that is a good model.
func definition(edits ...func(*apiextensionsv1.CustomResourceDefinition)) *apiextensionsv1.CustomResourceDefinition {
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{
			Name:   "boxes.example.com",
			Labels: map[string]string{model.LabelModel: "true"},
			Annotations: map[string]string{
				model.AnnotationSteps:     "sync,policy",
				model.AnnotationDependsOn: "Shelf=spec.shelf.name, Room.house.example.com=spec.room",
			},
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com",
			Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: "Box", Plural: "boxes"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				SelectableFields: []apiextensionsv1.SelectableField{{JSONPath: ".spec.shelf.name"}},
			}},
		},
	}
	for _, e := range edits {
		e(crd)
	}
	return crd
}

func annotate(key, value string) func(*apiextensionsv1.CustomResourceDefinition) {
	return func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Annotations[key] = value }
}

func versions(v ...apiextensionsv1.CustomResourceDefinitionVersion) func(*apiextensionsv1.CustomResourceDefinition) {
	return func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Versions = v }
}

func TestParseKind(t *testing.T) {
	box := func(version string, served ...string) *model.Kind {
		return &model.Kind{
			GVK:      schema.GroupVersionKind{Group: "example.com", Version: version, Kind: "Box"},
			Versions: served,
			Resource: "boxes",
			Steps:    []model.Step{model.StepSync, model.StepPolicy},
			DependsOn: []model.DependsOn{
				{GroupKind: schema.GroupKind{Group: "example.com", Kind: "Shelf"}, Path: "spec.shelf.name"},
				{GroupKind: schema.GroupKind{Group: "house.example.com", Kind: "Room"}, Path: "spec.room"},
			},
		}
	}
	full := box("v1", "v1")
	full.Selectable = []string{"spec.shelf.name"}
	observing := *full
	observing.DependsOn = slices.Clone(full.DependsOn)
	observing.DependsOn[1].Observed = true
	none := &model.Kind{GVK: full.GVK, Versions: full.Versions, Resource: "boxes", Selectable: full.Selectable}
	once := &model.Kind{GVK: full.GVK, Versions: full.Versions, Resource: "boxes", Selectable: full.Selectable, Steps: []model.Step{model.StepSync}}

	tests := map[string]struct {
		reason  string
		crd     *apiextensionsv1.CustomResourceDefinition
		want    *model.Kind
		wantErr []string
	}{
		"Full": {
			reason: "Steps, dependencies of the own group and of another, and selectable fields are read.",
			crd:    definition(),
			want:   full,
		},
		"NoAnnotations": {
			reason: "A kind without annotations has no steps and depends on nothing.",
			crd:    definition(func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Annotations = nil }),
			want:   none,
		},
		"Spaces": {
			reason: "Spaces, empty items and repeats are no errors.",
			crd:    definition(annotate(model.AnnotationSteps, " sync ,, sync"), annotate(model.AnnotationDependsOn, " , ")),
			want:   once,
		},
		"OldestVersion": {
			reason: "A program goes on when a newer version is added and stored.",
			crd: definition(versions(
				apiextensionsv1.CustomResourceDefinitionVersion{Name: "v2", Served: true, Storage: true},
				apiextensionsv1.CustomResourceDefinitionVersion{Name: "v1beta1", Served: true})),
			want: box("v1beta1", "v2", "v1beta1"),
		},
		"OldestVersionNotServed": {
			reason: "What is not served cannot be read.",
			crd: definition(versions(
				apiextensionsv1.CustomResourceDefinitionVersion{Name: "v1", Storage: true},
				apiextensionsv1.CustomResourceDefinitionVersion{Name: "v2", Served: true})),
			want: box("v2", "v2"),
		},
		"NotLabelled": {
			reason:  "Only what is labelled is a model.",
			crd:     definition(func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Labels[model.LabelModel] = "yes" }),
			wantErr: []string{"boxes.example.com", "metadata.labels", model.LabelModel, `"true"`},
		},
		"ClusterScoped": {
			reason:  "Models live in namespaces.",
			crd:     definition(func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Scope = apiextensionsv1.ClusterScoped }),
			wantErr: []string{"spec.scope", "Namespaced", "Cluster"},
		},
		"NotServed": {
			reason:  "A version must be served.",
			crd:     definition(versions(apiextensionsv1.CustomResourceDefinitionVersion{Name: "v1", Storage: true})),
			wantErr: []string{"spec.versions", "served"},
		},
		"UnknownStep": {
			reason:  "A step that does not exist would never run.",
			crd:     definition(annotate(model.AnnotationSteps, "sync,pull")),
			wantErr: []string{"metadata.annotations", model.AnnotationSteps, "sync,policy", `"pull"`},
		},
		"UsesObserved": {
			reason: "A kind can use what its dependencies report.",
			crd:    definition(annotate(model.AnnotationUsesObserved, "spec.room")),
			want:   &observing,
		},
		"UsesObservedOfNobody": {
			reason:  "But of nothing else.",
			crd:     definition(annotate(model.AnnotationUsesObserved, "spec.shelf")),
			wantErr: []string{model.AnnotationUsesObserved, `"spec.shelf"`, model.AnnotationDependsOn},
		},
		"NoPath": {
			reason:  "A dependency needs a field.",
			crd:     definition(annotate(model.AnnotationDependsOn, "Shelf")),
			wantErr: []string{model.AnnotationDependsOn, "Kind=spec.path", `"Shelf"`},
		},
		"NoKind": {
			reason:  "And a kind.",
			crd:     definition(annotate(model.AnnotationDependsOn, "=spec.shelf")),
			wantErr: []string{model.AnnotationDependsOn, `"=spec.shelf"`},
		},
		"NotInSpec": {
			reason:  "A dependency is declared, so it stands in the spec.",
			crd:     definition(annotate(model.AnnotationDependsOn, "Shelf=status.shelf")),
			wantErr: []string{model.AnnotationDependsOn, `"Shelf=status.shelf"`},
		},
		"EmptyPathElement": {
			reason:  "No field has an empty name.",
			crd:     definition(annotate(model.AnnotationDependsOn, "Shelf=spec..name")),
			wantErr: []string{model.AnnotationDependsOn, `"Shelf=spec..name"`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := model.ParseKind(tt.crd)
			wantError(t, tt.reason, err, tt.wantErr...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("\n%s\nParseKind(...): -want, +got:\n%s", tt.reason, diff)
			}
		})
	}
}

// wantError checks that err holds all texts, and is nil if there are none.
func wantError(t *testing.T, reason string, err error, texts ...string) {
	t.Helper()
	if (err != nil) != (len(texts) > 0) {
		t.Fatalf("\n%s\nwant an error with %q, got %v", reason, texts, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("\n%s\nthe error must say %q, got: %v", reason, text, err)
		}
	}
}

func TestKind(t *testing.T) {
	if got, want := books.GVR().String(), "library.xos-knative.dev/v1alpha1, Resource=books"; got != want {
		t.Errorf("GVR(): want %q, got %q", want, got)
	}
	if got, want := books.SourceOf("a"), "/apis/library.xos-knative.dev/v1alpha1/namespaces/a/books"; got != want {
		t.Errorf("SourceOf(): want %q, got %q", want, got)
	}
	if shelves.Has(model.StepPolicy) || !shelves.Has(model.StepSync) {
		t.Error("Has(): shelves have sync only")
	}
}

func TestSnapshotOf(t *testing.T) {
	stamp := metav1.NewTime(now)
	tests := map[string]struct {
		reason  string
		object  map[string]any
		want    *model.Snapshot
		wantErr []string
	}{
		"Full": {
			reason: "Metadata, status and the names of dependencies are taken; annotations of others and managed fields are not kept.",
			object: map[string]any{
				"metadata": map[string]any{
					"name": "a", "namespace": "default", "uid": "u", "generation": int64(2), "resourceVersion": "7",
					"annotations":   map[string]any{model.AnnotationPaused: "true", "kubectl.kubernetes.io/last-applied-configuration": "{...}"},
					"labels":        map[string]any{"l": "1"},
					"managedFields": []any{map[string]any{"manager": "kubectl"}},
				},
				"spec": map[string]any{"title": "x", "shelf": map[string]any{"name": "fiction"}},
				"status": map[string]any{
					"observedGeneration": int64(1),
					"own":                "field of the model",
					"sync":               map[string]any{"generation": int64(1), "state": "Failed", "code": int64(2), "nextAttempt": stamp.UTC().Format(time.RFC3339)},
				},
			},
			want: &model.Snapshot{
				Kind: books,
				ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default", UID: "u", Generation: 2, ResourceVersion: "7",
					Annotations: map[string]string{model.AnnotationPaused: "true"}, Labels: map[string]string{"l": "1"}},
				Status: func() (s model.Status) {
					s.ObservedGeneration = 1
					s.Sync = &model.StepStatus{Generation: 1, State: model.StateFailed, Code: model.CodeError, NextAttempt: &stamp}
					return s
				}(),
				Refs: []string{"fiction"},
			},
		},
		"NoShelf": {
			reason: "An object may name no dependency.",
			object: map[string]any{"metadata": map[string]any{"name": "a"}, "spec": map[string]any{"title": "x"}},
			want:   &model.Snapshot{Kind: books, ObjectMeta: metav1.ObjectMeta{Name: "a"}, Refs: []string{""}},
		},
		"NoSpec": {
			reason: "Or have no spec at all.",
			object: map[string]any{"metadata": map[string]any{"name": "a"}},
			want:   &model.Snapshot{Kind: books, ObjectMeta: metav1.ObjectMeta{Name: "a"}, Refs: []string{""}},
		},
		"OddSpec": {
			reason: "A spec of any shape beside the dependency does not matter.",
			object: map[string]any{"metadata": map[string]any{"name": "a"}, "spec": map[string]any{"title": []any{int64(1)}, "more": nil}},
			want:   &model.Snapshot{Kind: books, ObjectMeta: metav1.ObjectMeta{Name: "a"}, Refs: []string{""}},
		},
		"ShelfIsNoObject": {
			reason: "What cannot be read is no dependency, and the object says so.",
			object: map[string]any{"metadata": map[string]any{"name": "a"}, "spec": map[string]any{"shelf": "fiction"}},
			want: &model.Snapshot{Kind: books, ObjectMeta: metav1.ObjectMeta{Name: "a"}, Refs: []string{""},
				Problem: "spec.shelf.name: expected the name of a Shelf: .spec.shelf.name accessor error: fiction is of the type string, expected map[string]interface{}"},
		},
		"StatusIsNoObject": {
			reason: "A status of another shape is nobody's acknowledgement.",
			object: map[string]any{"metadata": map[string]any{"name": "a"}, "status": "fine"},
			want:   &model.Snapshot{Kind: books, ObjectMeta: metav1.ObjectMeta{Name: "a"}, Refs: []string{""}},
		},
		"StatusOfOtherTypes": {
			reason: "So is one whose fields have other types.",
			object: map[string]any{"metadata": map[string]any{"name": "a"}, "status": map[string]any{"sync": "fine"}},
			want:   &model.Snapshot{Kind: books, ObjectMeta: metav1.ObjectMeta{Name: "a"}, Refs: []string{""}},
		},
		"StatusReadInPart": {
			reason: "The other fields of the status stay what they are.",
			object: map[string]any{"metadata": map[string]any{"name": "a"}, "status": map[string]any{"sync": "fine", "observedGeneration": int64(2), "policy": map[string]any{"generation": int64(1), "state": "OK", "code": int64(1)}}},
			want: &model.Snapshot{Kind: books, ObjectMeta: metav1.ObjectMeta{Name: "a"}, Refs: []string{""}, Status: func() (s model.Status) {
				s.ObservedGeneration = 2
				s.Policy = &model.StepStatus{Generation: 1, State: model.StateOK, Code: model.CodeOK}
				return s
			}()},
		},
		"NoMetadata": {
			reason:  "An API server sends no such object.",
			object:  map[string]any{"metadata": map[string]any{"name": "a", "generation": "x"}},
			wantErr: []string{"Book /a", "metadata"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := books.SnapshotOf(&unstructured.Unstructured{Object: tt.object})
			wantError(t, tt.reason, err, tt.wantErr...)
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(model.Snapshot{}, "Unreported")); diff != "" {
				t.Errorf("\n%s\nSnapshotOf(...): -want, +got:\n%s", tt.reason, diff)
			}
		})
	}
}
