package model

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object is a typed model, for example *v1alpha1.Book.
type Object interface {
	metav1.Object
	runtime.Object
}

// Models is the typed view of a [Client] on one model. T is a pointer type that the client's scheme
// knows.
type Models[T Object] struct{ client *Client }

// For gives the typed view of the client on the model T:
//
//	book, err := model.For[*v1alpha1.Book](client).Get(ctx, "library", "dune")
func For[T Object](client *Client) Models[T] { return Models[T]{client} }

// New makes an empty T.
func New[T Object]() T {
	var t T
	return reflect.New(reflect.TypeOf(t).Elem()).Interface().(T)
}

// GVK is what the scheme says of T.
func (m Models[T]) GVK() (schema.GroupVersionKind, error) {
	gvks, _, err := m.client.scheme.ObjectKinds(New[T]())
	if err != nil {
		return schema.GroupVersionKind{}, fmt.Errorf("model client: %T is not in the scheme: %w", New[T](), err)
	}
	return gvks[0], nil
}

// Kind of T, from its definition, in the version of T. The error wraps [ErrVersion] if the API no longer
// serves that.
func (m Models[T]) Kind(ctx context.Context) (*Kind, error) {
	gvk, err := m.GVK()
	if err != nil {
		return nil, err
	}
	return m.client.KindAt(ctx, gvk)
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
	// Fields selects by fields that the definition declares selectable, beside metadata.name and
	// metadata.namespace; nil selects all.
	Fields fields.Selector
}

// List reads all objects of a namespace that pass the filter.
func (m Models[T]) List(ctx context.Context, namespace string, filter Filter) ([]T, error) {
	var all []T
	err := m.Each(ctx, namespace, filter, func(t T) error {
		all = append(all, t)
		return nil
	})
	return all, err
}

// Each calls fn for each object of a namespace that passes the filter, page by page, so that any
// number fits into bounded memory. It ends with the first error.
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

// Create makes a new object. The error is AlreadyExists if there is one of that name, which stays
// as it is. The status is left out.
func (m Models[T]) Create(ctx context.Context, obj T) (T, error) {
	var none T
	k, err := m.Kind(ctx)
	if err != nil {
		return none, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return none, err
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(k.GVK)
	if u, err = m.client.create(ctx, k, u); err != nil {
		return none, err
	}
	return Typed[T](u)
}

// Modify reads an object, lets change edit it, and writes what change made different: see
// [Client.Modify]. Fields of the object that T does not know stay, outside of lists that change
// makes different.
//
//	book, op, err := books.Modify(ctx, "library", "dune", func(b *v1alpha1.Book) error {
//		b.Spec.Title = "Dune"
//		return nil
//	})
func (m Models[T]) Modify(ctx context.Context, namespace, name string, change func(T) error) (T, Operation, error) {
	return m.modify(ctx, namespace, name, false, edit(change))
}

// CreateOrModify is [Models.Modify] for an object that may not be there. If it is not, change gets
// one that has no more than its namespace and name (and so no UID), and what change makes of it is
// created: see [Client.CreateOrModify].
func (m Models[T]) CreateOrModify(ctx context.Context, namespace, name string, change func(T) error) (T, Operation, error) {
	return m.modify(ctx, namespace, name, true, edit(change))
}

// Update makes the stored object like obj, which was read before (it has a resourceVersion), and
// writes nothing if they are equal. The error is a Conflict if somebody else has written to the
// object since, and NotFound if it is gone. The status is left out. Fields that T does not know
// stay, as with [Models.Modify], which is what to use if a Conflict would only mean to do the same
// again.
func (m Models[T]) Update(ctx context.Context, obj T) (T, Operation, error) {
	var none T
	k, err := m.Kind(ctx)
	if err != nil {
		return none, "", err
	}
	if obj.GetResourceVersion() == "" {
		return none, "", fmt.Errorf("updating %s %s/%s: metadata.resourceVersion: expected that of the object when it was read, got none", k.GVK.Kind, obj.GetNamespace(), obj.GetName())
	}
	return m.modify(ctx, obj.GetNamespace(), obj.GetName(), false, func(live T) (T, error) {
		if live.GetResourceVersion() == obj.GetResourceVersion() {
			return obj, nil
		}
		conflict := apierrors.NewConflict(k.GVR().GroupResource(), obj.GetName(), errors.New("it was changed since it was read"))
		return none, fmt.Errorf("updating %s %s/%s: %w", k.GVK.Kind, obj.GetNamespace(), obj.GetName(), conflict)
	})
}

// modify is [Client.modify] in terms of T: wanted says what the object is to be like.
func (m Models[T]) modify(ctx context.Context, namespace, name string, create bool, wanted func(live T) (T, error)) (T, Operation, error) {
	var none T
	k, err := m.Kind(ctx)
	if err != nil {
		return none, "", err
	}
	u, op, err := m.client.modify(ctx, k, namespace, name, create, func(u *unstructured.Unstructured) error { return overlay(u, wanted) })
	if err != nil {
		return none, "", err
	}
	t, err := Typed[T](u)
	return t, op, err
}

func edit[T Object](change func(T) error) func(T) (T, error) {
	return func(t T) (T, error) { return t, change(t) }
}

// overlay changes an object from what T sees of it to what is wanted. What is compared are two T,
// so that a field that T does not know is in neither, and stays.
func overlay[T Object](u *unstructured.Unstructured, wanted func(T) (T, error)) error {
	t, err := Typed[T](u)
	if err != nil {
		return err
	}
	from, err := runtime.DefaultUnstructuredConverter.ToUnstructured(t)
	if err != nil {
		return err
	}
	if t, err = wanted(t); err != nil {
		return err
	}
	to, err := runtime.DefaultUnstructuredConverter.ToUnstructured(t)
	if err != nil {
		return err
	}
	if u.GetUID() == "" {
		u.Object = to // A new one: also the fields that are zero are its own.
		return nil
	}
	merge(u.Object, difference(userFields(from), userFields(to)))
	return nil
}

// Delete deletes the object, if it is still the one that the caller knows (an object without UID
// stands for any of that name). One that is gone is no error.
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
	if err == nil {
		ownIn(ctx).removed(obj.GetUID())
	}
	// A Conflict says that another object has the name now: this one is gone.
	if err == nil || IsGone(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("deleting %s %s/%s: %w", k.GVK.Kind, obj.GetNamespace(), obj.GetName(), m.client.explain(ctx, k, err))
}
