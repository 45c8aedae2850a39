package model

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Object is a typed model, for example *v1alpha1.HelloWorldService.
type Object interface {
	metav1.Object
	runtime.Object
}

// Models is the typed view of a [Client] on one model. T is a pointer type
// that the client's scheme knows.
type Models[T Object] struct{ client *Client }

// For gives the typed view of the client on the model T:
//
//	service, err := model.For[*v1alpha1.HelloWorldService](client).Get(ctx, "default", "hello")
func For[T Object](client *Client) Models[T] { return Models[T]{client} }

// Operation says what a save came to.
type Operation string

const (
	// Created: the object was not there before.
	Created Operation = "created"
	// Updated: the object was there and differed.
	Updated Operation = "updated"
	// Unchanged: the object was there as wanted; nothing was written.
	Unchanged Operation = "unchanged"
)

// New makes an empty T.
func New[T Object]() T {
	var t T
	return reflect.New(reflect.TypeOf(t).Elem()).Interface().(T)
}

// Kind of T, from its definition.
func (m Models[T]) Kind(ctx context.Context) (*Kind, error) {
	gvks, _, err := m.client.scheme.ObjectKinds(New[T]())
	if err != nil {
		return nil, fmt.Errorf("model client: %T is not in the scheme: %w", New[T](), err)
	}
	return m.client.Kind(ctx, gvks[0].GroupKind())
}

// Typed converts a live object. The error names the field that does not fit.
func Typed[T Object](u *unstructured.Unstructured) (T, error) {
	t := New[T]()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, t); err != nil {
		return t, fmt.Errorf("%s %s/%s: %w", u.GetKind(), u.GetNamespace(), u.GetName(), err)
	}
	return t, nil
}

// Get reads an object as it is now.
func (m Models[T]) Get(ctx context.Context, namespace, name string) (T, error) {
	var none T
	k, err := m.Kind(ctx)
	if err != nil {
		return none, err
	}
	u, err := m.client.Live(ctx, k, namespace, name)
	if err != nil {
		return none, err
	}
	return Typed[T](u)
}

// Filter narrows a list; the API server does the filtering.
type Filter struct {
	// Labels selects by labels; nil selects all.
	Labels labels.Selector
	// Fields selects by fields that the definition declares selectable, beside
	// metadata.name and metadata.namespace; nil selects all.
	Fields fields.Selector
}

// List reads all objects of a namespace that pass the filter.
func (m Models[T]) List(ctx context.Context, namespace string, filter Filter) ([]T, error) {
	var all []T
	return all, m.Each(ctx, namespace, filter, func(t T) error {
		all = append(all, t)
		return nil
	})
}

// Each calls fn for each object of a namespace that passes the filter, page by
// page, so that any number fits into bounded memory. It ends with the first error.
func (m Models[T]) Each(ctx context.Context, namespace string, filter Filter, fn func(T) error) error {
	k, err := m.Kind(ctx)
	if err != nil {
		return err
	}
	var options metav1.ListOptions
	if filter.Labels != nil {
		options.LabelSelector = filter.Labels.String()
	}
	if filter.Fields != nil {
		options.FieldSelector = filter.Fields.String()
	}
	return m.client.each(ctx, k, namespace, options, func(u *unstructured.Unstructured) error {
		t, err := Typed[T](u)
		if err != nil {
			return err
		}
		return fn(t)
	})
}

// Save creates the object or makes the existing one like it, and writes
// nothing when there is nothing to change.
//
// An object that was read before (it has a resourceVersion) is saved as a
// whole: spec, labels, annotations and finalizers; a Conflict says that
// somebody else has changed it since. One that was made by the caller replaces
// the spec of the existing object and adds its labels and annotations to the
// ones there; if it is changed by others at the same time, Save tries again.
// The status is never written. Fields that T does not know are left alone.
func (m Models[T]) Save(ctx context.Context, obj T) (T, Operation, error) {
	var none T
	k, err := m.Kind(ctx)
	if err != nil {
		return none, "", err
	}
	saved, op := none, Operation("")
	err = retry(ctx, func(err error) bool {
		return obj.GetResourceVersion() == "" && (apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err))
	}, func() error {
		saved, op, err = m.save(ctx, k, obj)
		return err
	})
	if err != nil {
		return none, "", fmt.Errorf("saving %s %s/%s: %w", k.GVK.Kind, obj.GetNamespace(), obj.GetName(), err)
	}
	return saved, op, nil
}

func (m Models[T]) save(ctx context.Context, k *Kind, obj T) (T, Operation, error) {
	var none T
	resource := m.client.resource(k, obj.GetNamespace())
	live, err := resource.Get(ctx, obj.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) && obj.GetResourceVersion() == "" {
		t, err := m.create(ctx, k, obj)
		return t, Created, err
	}
	if err != nil {
		return none, "", err
	}
	if v := obj.GetResourceVersion(); v != "" && v != live.GetResourceVersion() {
		return none, "", apierrors.NewConflict(k.GVR().GroupResource(), obj.GetName(), fmt.Errorf("it was changed since it was read"))
	}
	// What is compared is the live object as T sees it, so that a field that T
	// does not know is in neither and stays.
	current, err := Typed[T](live)
	if err != nil {
		return none, "", err
	}
	patch, err := mergePatch(k, current, obj)
	if err != nil {
		return none, "", err
	}
	if len(patch) == 0 {
		return current, Unchanged, nil
	}
	if err := unstructured.SetNestedField(patch, live.GetResourceVersion(), "metadata", "resourceVersion"); err != nil {
		return none, "", err
	}
	raw, err := json.Marshal(patch)
	if err != nil {
		return none, "", err
	}
	u, err := resource.Patch(ctx, obj.GetName(), types.MergePatchType, raw, metav1.PatchOptions{})
	if err != nil {
		return none, "", err
	}
	t, err := Typed[T](u)
	return t, Updated, err
}

// Delete deletes the object, if it is still the one that the caller knows (an
// object without UID stands for any of that name). One that is gone is no error.
func (m Models[T]) Delete(ctx context.Context, obj T) error {
	k, err := m.Kind(ctx)
	if err != nil {
		return err
	}
	var options metav1.DeleteOptions
	if uid := obj.GetUID(); uid != "" {
		options.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	err = m.client.resource(k, obj.GetNamespace()).Delete(ctx, obj.GetName(), options)
	// A Conflict says that another object has the name now: this one is gone.
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("deleting %s %s/%s: %w", k.GVK.Kind, obj.GetNamespace(), obj.GetName(), err)
}

func toUnstructured(k *Kind, obj runtime.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(k.GVK)
	return u, nil
}

// mergePatch is what makes current like wanted, as a JSON merge patch.
func mergePatch[T Object](k *Kind, current, wanted T) (map[string]any, error) {
	from, err := toUnstructured(k, current)
	if err != nil {
		return nil, err
	}
	to, err := toUnstructured(k, wanted)
	if err != nil {
		return nil, err
	}
	if wanted.GetResourceVersion() == "" {
		if all := labels.Merge(from.GetLabels(), to.GetLabels()); len(all) > 0 {
			to.SetLabels(all)
		}
		if all := labels.Merge(from.GetAnnotations(), to.GetAnnotations()); len(all) > 0 {
			to.SetAnnotations(all)
		}
		to.SetFinalizers(from.GetFinalizers())
	}
	return difference(userFields(from), userFields(to)), nil
}

// difference is the JSON merge patch (RFC 7396) from one map to another, empty
// if they are equal. (jsonmergepatch of apimachinery works on decoded JSON, in
// which all numbers are floats: it would round an int64 beyond 2^53.)
func difference(from, to map[string]any) map[string]any {
	patch := map[string]any{}
	for key := range from {
		if _, ok := to[key]; !ok {
			patch[key] = nil
		}
	}
	for key, value := range to {
		before, ok := from[key]
		beforeMap, both := before.(map[string]any)
		valueMap, is := value.(map[string]any)
		switch {
		case both && is:
			if inner := difference(beforeMap, valueMap); len(inner) > 0 {
				patch[key] = inner
			}
		case !ok || !equality.Semantic.DeepEqual(before, value):
			patch[key] = value
		}
	}
	return patch
}

// userFields leaves out what the API server writes.
func userFields(u *unstructured.Unstructured) map[string]any {
	fields := map[string]any{}
	for key, value := range u.Object {
		if key != "apiVersion" && key != "kind" && key != "metadata" {
			fields[key] = value
		}
	}
	metadata := map[string]any{}
	for _, key := range []string{"labels", "annotations", "finalizers"} {
		if value, ok, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", key); ok {
			metadata[key] = value
		}
	}
	fields["metadata"] = metadata
	return fields
}
