package model

import (
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiversion "k8s.io/apimachinery/pkg/version"
)

// Kind is what a CustomResourceDefinition says of a model.
type Kind struct {
	// GVK is the group, version and kind. The version is the oldest one that is served: everything that
	// reads objects in it goes on when a newer version is added, and when that becomes the stored one. The
	// paths of DependsOn are of this version.
	GVK schema.GroupVersionKind
	// Versions are all versions that are served.
	Versions []string
	// Resource is the lower-case plural, as in the path of the API.
	Resource string
	// Steps are the steps that objects of the kind have.
	Steps []Step
	// DependsOn is what objects of the kind depend on.
	DependsOn []DependsOn
	// Selectable are the field paths that the API server can filter lists by.
	Selectable []string
	// Retired: the kind is no model any more. It has no steps and depends on nothing; what its steps have
	// left on its objects is taken away, and after that they are left alone.
	Retired bool
}

// DependsOn is one kind of dependency.
type DependsOn struct {
	// GroupKind that is depended on.
	GroupKind schema.GroupKind
	// Path of the field that holds the name of the dependency, for example spec.shelf.name.
	Path string
	// Observed: the sync uses what the dependency reports in status.observed.
	Observed bool
}

// GVR is what the API server calls the kind.
func (k *Kind) GVR() schema.GroupVersionResource {
	return k.GVK.GroupVersion().WithResource(k.Resource)
}

// Has reports whether objects of the kind have the step.
func (k *Kind) Has(step Step) bool { return slices.Contains(k.Steps, step) }

// SourceOf is the CloudEvents source of events about objects of the kind.
func (k *Kind) SourceOf(namespace string) string {
	return fmt.Sprintf("/apis/%s/%s/namespaces/%s/%s", k.GVK.Group, k.GVK.Version, namespace, k.Resource)
}

// IsModel reports whether a definition is that of a model.
func IsModel(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return crd.Labels[LabelModel] == "true"
}

// WasModel reports whether a definition without the label has still the annotations of a model.
func WasModel(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return !IsModel(crd) && (crd.Annotations[AnnotationSteps] != "" || crd.Annotations[AnnotationDependsOn] != "")
}

// At is the kind in another version. The error wraps [ErrVersion] if the API does not serve it.
func (k *Kind) At(version string) (*Kind, error) {
	if !slices.Contains(k.Versions, version) {
		return nil, fmt.Errorf("%s: %w: this program knows %s, the API serves %s", k.GVK.GroupKind(), ErrVersion, version, strings.Join(k.Versions, ", "))
	}
	at := *k
	at.GVK.Version = version
	return &at, nil
}

// ParseKind reads a model's kind from its definition. The error names the annotation or field that
// is wrong and what was expected.
func ParseKind(crd *apiextensionsv1.CustomResourceDefinition) (*Kind, error) {
	if !IsModel(crd) {
		return nil, wrong(crd, "metadata.labels", `expected %s: "true"`, LabelModel)
	}
	k, err := parseNames(crd)
	if err == nil {
		err = k.parseAnnotations(crd)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// ParseRetired reads the kind of what was a model before from its definition.
func ParseRetired(crd *apiextensionsv1.CustomResourceDefinition) (*Kind, error) {
	k, err := parseNames(crd)
	if err != nil {
		return nil, err
	}
	k.Retired = true
	return k, nil
}

func wrong(crd *apiextensionsv1.CustomResourceDefinition, field, format string, args ...any) error {
	return fmt.Errorf("CustomResourceDefinition %s: %s: %s", crd.Name, field, fmt.Sprintf(format, args...))
}

func parseNames(crd *apiextensionsv1.CustomResourceDefinition) (*Kind, error) {
	if crd.Spec.Scope != apiextensionsv1.NamespaceScoped {
		return nil, wrong(crd, "spec.scope", "expected Namespaced, got %q", crd.Spec.Scope)
	}
	served := slices.DeleteFunc(slices.Clone(crd.Spec.Versions), func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return !v.Served })
	if len(served) == 0 {
		return nil, wrong(crd, "spec.versions", "expected at least one served version")
	}
	version := slices.MinFunc(served, func(a, b apiextensionsv1.CustomResourceDefinitionVersion) int {
		return apiversion.CompareKubeAwareVersionStrings(a.Name, b.Name)
	})
	k := &Kind{
		GVK:      schema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.Kind},
		Resource: crd.Spec.Names.Plural,
	}
	for _, v := range served {
		k.Versions = append(k.Versions, v.Name)
	}
	for _, f := range version.SelectableFields {
		k.Selectable = append(k.Selectable, strings.TrimPrefix(f.JSONPath, "."))
	}
	return k, nil
}

func (k *Kind) parseAnnotations(crd *apiextensionsv1.CustomResourceDefinition) error {
	for _, item := range splitList(crd.Annotations[AnnotationSteps]) {
		if !slices.Contains(Steps(), Step(item)) {
			return wrong(crd, "metadata.annotations["+AnnotationSteps+"]", "expected sync, policy or sync,policy, got %q", item)
		}
		if !k.Has(Step(item)) {
			k.Steps = append(k.Steps, Step(item))
		}
	}
	for _, item := range splitList(crd.Annotations[AnnotationDependsOn]) {
		name, path, ok := strings.Cut(item, "=")
		if !ok || name == "" || !strings.HasPrefix(path, "spec.") || slices.Contains(strings.Split(path, "."), "") {
			return wrong(crd, "metadata.annotations["+AnnotationDependsOn+"]", "expected Kind=spec.path or Kind.group=spec.path, got %q", item)
		}
		gk := schema.ParseGroupKind(name)
		if gk.Group == "" {
			gk.Group = crd.Spec.Group
		}
		k.DependsOn = append(k.DependsOn, DependsOn{GroupKind: gk, Path: path})
	}
	for _, path := range splitList(crd.Annotations[AnnotationUsesObserved]) {
		i := slices.IndexFunc(k.DependsOn, func(d DependsOn) bool { return d.Path == path })
		if i < 0 {
			return wrong(crd, "metadata.annotations["+AnnotationUsesObserved+"]", "expected a path of annotation %s, got %q", AnnotationDependsOn, path)
		}
		k.DependsOn[i].Observed = true
	}
	return nil
}

func splitList(s string) []string {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// Snapshot is what [Due] needs of one object: its metadata and status, and the names of the objects
// that it depends on. It never holds the spec, so that the model source can keep one for every object
// of the cluster.
type Snapshot struct {
	metav1.ObjectMeta
	// Kind of the object.
	Kind *Kind
	// Status as the steps have written it.
	Status Status
	// Refs are the names of the dependencies, one for each of Kind.DependsOn; empty where the object
	// names none.
	Refs []string
	// Problem says why a dependency cannot be read from the object, empty if all can: the object fails to
	// sync, and depends on nothing.
	Problem string
	// Unreported: the conditions, or the finalizers of steps that the kind no longer has, are not as they
	// must be.
	Unreported bool
}

// SnapshotOf takes what a snapshot needs from a live object. Whatever the spec and the status look like,
// there is one: no object may be hidden from the source. A field of the status that cannot be read counts as
// none: the others stay what they are, so that what is reported of the object can be read again.
func (k *Kind) SnapshotOf(u *unstructured.Unstructured) (*Snapshot, error) {
	s := &Snapshot{Kind: k}
	var err error
	if s.ObjectMeta, err = metadataOf(u.Object["metadata"]); err != nil {
		return nil, fmt.Errorf("%s %s/%s: metadata: %w", k.GVK.Kind, u.GetNamespace(), u.GetName(), err)
	}
	if status, ok := u.Object["status"].(map[string]any); ok {
		s.Status = statusOf(status)
	}
	for _, d := range k.DependsOn {
		name, _, err := unstructured.NestedString(u.Object, strings.Split(d.Path, ".")...)
		switch {
		case err != nil:
			name, s.Problem = "", fmt.Sprintf("%s: expected the name of a %s: %s", d.Path, d.GroupKind.Kind, err)
		case name == s.Name && d.GroupKind == k.GVK.GroupKind():
			name, s.Problem = "", fmt.Sprintf("%s: expected the name of another %s, got the object itself", d.Path, d.GroupKind.Kind)
		}
		s.Refs = append(s.Refs, name)
	}
	s.Unreported = s.unreported()
	return s, nil
}

// Deleting reports whether the object is being deleted.
func (s *Snapshot) Deleting() bool { return !s.DeletionTimestamp.IsZero() }

// Carries reports whether the step's finalizer is on the object.
func (s *Snapshot) Carries(step Step) bool { return slices.Contains(s.Finalizers, step.Finalizer()) }

// Paused reports whether all steps are held back.
func (s *Snapshot) Paused() bool { return Paused(s) }

// OptedOut reports whether the object's annotations keep the step from running on it.
func (s *Snapshot) OptedOut(step Step) bool { return OptedOut(s, step) }

// set reports whether an annotation is there and not "false".
func set(annotations map[string]string, key string) bool {
	v, ok := annotations[key]
	return ok && v != "false"
}

// EventType is the CloudEvent type of an event that wakes the step for the object.
func (s *Snapshot) EventType(step Step) string {
	switch {
	case s.Deleting():
		return EventDeleted
	case s.Status.Step(step) == nil:
		return EventCreated
	}
	return EventUpdated
}
