package model

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Operation says what a write did.
type Operation string

const (
	// Created: the object was not there before.
	Created Operation = "created"
	// Updated: the object was there and differed.
	Updated Operation = "updated"
	// Unchanged: the object was there as wanted; nothing was written.
	Unchanged Operation = "unchanged"
)

// Modify reads an object, lets change edit it, and writes what is different then. If nothing is, it
// writes nothing.
//
// If somebody else writes to the object in between, Modify starts again with the new object, a few
// times within about a second; after that the error is a Conflict. So change can be called several
// times, and must look at the object that it is given.
//
//   - An error of change ends it and is returned as it is.
//   - If there is no such object the error is NotFound.
//   - If ctx ends between two attempts, errors.Is(err, ctx.Err()) holds, and the text has the last
//     answer of the API server.
//
// What change does to the status is ignored: see [Models.Observe]. So is what it does to
// the name and to what the API server sets; labels, annotations, finalizers and owner references
// are written.
func (c *Client) Modify(ctx context.Context, k *Kind, namespace, name string, change func(*unstructured.Unstructured) error) (*unstructured.Unstructured, Operation, error) {
	return c.modify(ctx, k, namespace, name, false, change)
}

// CreateOrModify is [Client.Modify] for an object that may not be there. If it is not, change gets
// an object with nothing but its kind, namespace and name (so its UID is empty), and what change
// makes of it is created. An object that appears or disappears in between is no error:
// CreateOrModify starts again.
func (c *Client) CreateOrModify(ctx context.Context, k *Kind, namespace, name string, change func(*unstructured.Unstructured) error) (*unstructured.Unstructured, Operation, error) {
	return c.modify(ctx, k, namespace, name, true, change)
}

func (c *Client) modify(ctx context.Context, k *Kind, namespace, name string, create bool, change func(*unstructured.Unstructured) error) (stored *unstructured.Unstructured, op Operation, err error) {
	err = retry(ctx, func() (again bool, err error) {
		live, err := c.Live(ctx, k, namespace, name)
		missing := create && IsGone(err)
		if missing {
			live = &unstructured.Unstructured{Object: map[string]any{}}
			identify(live, k, namespace, name)
		} else if err != nil {
			return false, err
		}
		wanted := live.DeepCopy()
		if err := change(wanted); err != nil {
			return false, err
		}
		if missing {
			op = Created
			identify(wanted, k, namespace, name)
			stored, err = c.create(ctx, k, wanted)
			return apierrors.IsAlreadyExists(err), err
		}
		stored, op, err = c.patch(ctx, k, live, wanted)
		return apierrors.IsConflict(err) || create && IsGone(err), err
	})
	if err != nil {
		return nil, "", err
	}
	return stored, op, nil
}

// identify sets which object it is, whatever a change has set.
func identify(u *unstructured.Unstructured, k *Kind, namespace, name string) {
	u.SetGroupVersionKind(k.GVK)
	u.SetNamespace(namespace)
	u.SetName(name)
}

func (c *Client) create(ctx context.Context, k *Kind, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	unstructured.RemoveNestedField(u.Object, "status")
	created, err := c.resource(k, u.GetNamespace()).Create(ctx, u, c.writes.create())
	if err != nil {
		return nil, fmt.Errorf("creating %s %s/%s: %w", k.GVK.Kind, u.GetNamespace(), u.GetName(), c.explain(ctx, k, err))
	}
	ownIn(ctx).wrote(nil, created)
	return created, nil
}

// patch makes the live object like the wanted one. The error is a Conflict if somebody else has
// written to it since it was read.
func (c *Client) patch(ctx context.Context, k *Kind, live, wanted *unstructured.Unstructured) (*unstructured.Unstructured, Operation, error) {
	wrap := func(err error) error {
		return fmt.Errorf("updating %s %s/%s: %w", k.GVK.Kind, live.GetNamespace(), live.GetName(), err)
	}
	patch := difference(userFields(live.Object), userFields(wanted.Object))
	if len(patch) == 0 {
		return live, Unchanged, nil
	}
	if err := unstructured.SetNestedField(patch, live.GetResourceVersion(), "metadata", "resourceVersion"); err != nil {
		return nil, "", wrap(err)
	}
	raw, err := json.Marshal(patch)
	if err != nil {
		return nil, "", wrap(err)
	}
	stored, err := c.resource(k, live.GetNamespace()).Patch(ctx, live.GetName(), types.MergePatchType, raw, c.writes.patch())
	if err != nil {
		return nil, "", wrap(c.explain(ctx, k, err))
	}
	if len(difference(userFields(live.Object), userFields(stored.Object))) == 0 {
		return stored, Unchanged, nil // The API server dropped it, for example a field that it does not know.
	}
	ownIn(ctx).wrote(live, stored)
	return stored, Updated, nil
}

// userFields are the fields of an object that [Client.Modify] may write.
func userFields(object map[string]any) map[string]any {
	fields := map[string]any{}
	for key, value := range object {
		switch key {
		case "apiVersion", "kind", "metadata", "status":
		default:
			fields[key] = value
		}
	}
	metadata := map[string]any{}
	for _, key := range []string{"labels", "annotations", "finalizers", "ownerReferences"} {
		if value, ok, _ := unstructured.NestedFieldNoCopy(object, "metadata", key); ok {
			metadata[key] = value
		}
	}
	fields["metadata"] = metadata
	return fields
}

// difference is the JSON merge patch (RFC 7396) from one map to another, empty if they are equal.
// (jsonmergepatch of apimachinery works on decoded JSON, in which all numbers are floats: it would
// round an int64 beyond 2^53.)
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

// merge applies a JSON merge patch to a map.
func merge(into, patch map[string]any) {
	for key, value := range patch {
		inner, isMap := value.(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap:
			fields, ok := into[key].(map[string]any)
			if !ok {
				fields = map[string]any{}
				into[key] = fields
			}
			merge(fields, inner)
		default:
			into[key] = value
		}
	}
}
