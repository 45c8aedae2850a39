package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// What engines write to an object they write with JSON patches (RFC 6902): a patch says in "test"
// operations what it builds on, and nothing else. So a write takes one request and no read before
// it, and two steps of one object do not conflict, because neither tests the other's part.

// ErrStepChanged says that the step's part of the status is no longer what it was when the step
// began: somebody else has run the step meanwhile.
var ErrStepChanged = errors.New("the step's status was changed by another run")

// operation is one operation of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func test(path string, value any) operation { return operation{"test", path, value} }
func add(path string, value any) operation  { return operation{"add", path, value} }

// jsonPatch sends a JSON patch for exactly the object that was read.
func (c *Client) jsonPatch(ctx context.Context, k *Kind, u *unstructured.Unstructured, operations []operation, subresources ...string) (*unstructured.Unstructured, error) {
	raw, err := json.Marshal(append([]operation{test("/metadata/uid", u.GetUID())}, operations...))
	if err != nil {
		return nil, err
	}
	return c.resource(k, u.GetNamespace()).Patch(ctx, u.GetName(), types.JSONPatchType, raw, metav1.PatchOptions{}, subresources...)
}

// testFailed reports whether the API server refused a JSON patch because a test in it failed, or a
// path was not there. It answers 422 then, as for an object that is not valid, but without causes.
func testFailed(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code != http.StatusUnprocessableEntity {
		return false
	}
	details := status.Status().Details
	return details == nil || len(details.Causes) == 0
}

// patching sends the JSON patch that build makes of the object, and of the newest object again if a
// test in it failed. If build makes none it ends with what there is.
func (c *Client) patching(ctx context.Context, k *Kind, u *unstructured.Unstructured, build func(*unstructured.Unstructured) ([]operation, error), subresources ...string) (*unstructured.Unstructured, error) {
	err := retry(ctx, func() (bool, error) {
		operations, err := build(u)
		if err != nil || len(operations) == 0 {
			return false, err
		}
		stored, err := c.jsonPatch(ctx, k, u, operations, subresources...)
		if err == nil {
			u = stored
			return false, nil
		}
		if !testFailed(err) {
			return false, err
		}
		now, gone := c.Live(ctx, k, u.GetNamespace(), u.GetName())
		if gone == nil && now.GetUID() != u.GetUID() {
			gone = apierrors.NewNotFound(k.GVR().GroupResource(), u.GetName())
		}
		if gone != nil {
			return false, gone
		}
		u = now
		return true, err
	})
	return u, err
}

// SetStep stores the outcome of a step, and the conditions that follow from it, in the object that
// the step began with. It returns [ErrStepChanged] if the step's part of the status is no longer
// what it was then. What others write to the object meanwhile is kept. If the object is gone, or
// another one has its name, [IsGone] holds for the error.
func (c *Client) SetStep(ctx context.Context, k *Kind, began *unstructured.Unstructured, step Step, outcome *StepStatus) error {
	err := c.setStep(ctx, k, began, step, outcome)
	if err != nil {
		return fmt.Errorf("storing status.%s of %s %s/%s: %w", step, k.GVK.Kind, began.GetNamespace(), began.GetName(), err)
	}
	return nil
}

func (c *Client) setStep(ctx context.Context, k *Kind, began *unstructured.Unstructured, step Step, outcome *StepStatus) error {
	start, err := k.SnapshotOf(began)
	if err != nil {
		return err
	}
	stored, err := c.patching(ctx, k, began, func(u *unstructured.Unstructured) ([]operation, error) {
		now, err := k.SnapshotOf(u)
		if err != nil {
			return nil, err
		}
		if !equality.Semantic.DeepEqual(now.Status.Step(step), start.Status.Step(step)) {
			return nil, ErrStepChanged
		}
		before := now.Status.DeepCopy()
		now.Status.SetStep(step, outcome)
		SetConditions(now)
		if equality.Semantic.DeepEqual(before, &now.Status) {
			return nil, nil
		}
		return storing(u, &now.Status, step)
	}, "status")
	if err != nil {
		return err
	}
	err = c.agree(ctx, k, stored)
	if IsGone(err) {
		return nil // It went after its outcome was stored.
	}
	return err
}

// storing is the patch that makes the step's part of the status, and the conditions, like wanted.
func storing(u *unstructured.Unstructured, wanted *Status, step Step) ([]operation, error) {
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(wanted)
	if err != nil {
		return nil, err
	}
	existing, ok := u.Object["status"].(map[string]any)
	if !ok {
		// The first status of an object whose definition does not default it to {}.
		return []operation{test("/status", nil), add("/status", status)}, nil
	}
	return []operation{
		test("/status/"+string(step), existing[string(step)]),
		add("/status/"+string(step), status[string(step)]),
		add("/status/conditions", status["conditions"]),
		add("/status/observedGeneration", status["observedGeneration"]),
	}, nil
}

// agree fixes the conditions of an object whose other step was stored at the same time: the
// conditions of neither write could know the other's part.
func (c *Client) agree(ctx context.Context, k *Kind, u *unstructured.Unstructured) error {
	_, err := c.patching(ctx, k, u, func(u *unstructured.Unstructured) ([]operation, error) {
		now, err := k.SnapshotOf(u)
		if err != nil {
			return nil, err
		}
		before := now.Status.DeepCopy()
		SetConditions(now)
		if equality.Semantic.DeepEqual(before, &now.Status) {
			return nil, nil
		}
		status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&now.Status)
		return []operation{
			test("/metadata/resourceVersion", u.GetResourceVersion()),
			add("/status/conditions", status["conditions"]),
			add("/status/observedGeneration", status["observedGeneration"]),
		}, err
	}, "status")
	return err
}

// AddFinalizer puts the step's finalizer on the object as it was read, and returns the object as it
// is then. If it was changed meanwhile in a way that matters (deleted, replaced, other finalizers)
// the error is one for which [IsOutdated] holds: read it again.
func (c *Client) AddFinalizer(ctx context.Context, k *Kind, u *unstructured.Unstructured, step Step) (*unstructured.Unstructured, error) {
	// The list is tested as a whole: another run of the step must not add the finalizer twice.
	operations := []operation{test("/metadata/finalizers", u.GetFinalizers()), add("/metadata/finalizers/-", step.Finalizer())}
	if len(u.GetFinalizers()) == 0 {
		operations = []operation{test("/metadata/finalizers", nil), add("/metadata/finalizers", []string{step.Finalizer()})}
	}
	marked, err := c.jsonPatch(ctx, k, u, operations)
	if err != nil {
		return nil, fmt.Errorf("adding the finalizer of %s %s/%s: %w", k.GVK.Kind, u.GetNamespace(), u.GetName(), err)
	}
	return marked, nil
}

// IsOutdated reports whether an error of [Client.AddFinalizer] says that the object is no longer as
// it was read. The API server takes no new finalizer of an object that is being deleted (422 with
// the cause metadata.finalizers).
func IsOutdated(err error) bool {
	return IsGone(err) || testFailed(err) || apierrors.HasStatusCause(err, metav1.CauseTypeForbidden)
}

// RemoveFinalizer takes the step's finalizer from the object, so that it can go once the others are
// gone too, and with it those of steps that its kind has lost: nobody else does. It reports whether
// no finalizer of a step is left. An object that is gone is no error.
func (c *Client) RemoveFinalizer(ctx context.Context, k *Kind, u *unstructured.Unstructured, step Step) (last bool, err error) {
	last, err = c.removeFinalizer(ctx, k, u, step)
	if IsGone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("removing the finalizer of %s %s/%s: %w", k.GVK.Kind, u.GetNamespace(), u.GetName(), err)
	}
	return last, nil
}

func (c *Client) removeFinalizer(ctx context.Context, k *Kind, u *unstructured.Unstructured, step Step) (last bool, err error) {
	goes := func(f string) bool {
		return slices.ContainsFunc(Steps(), func(s Step) bool { return f == s.Finalizer() && (s == step || !k.Has(s)) })
	}
	left, err := c.patching(ctx, k, u, func(u *unstructured.Unstructured) (operations []operation, err error) {
		// From the end, so that the indices before stay what they are.
		for i, f := range slices.Backward(u.GetFinalizers()) {
			if path := "/metadata/finalizers/" + strconv.Itoa(i); goes(f) {
				operations = append(operations, test(path, f), operation{Op: "remove", Path: path})
			}
		}
		return operations, nil
	})
	return err == nil && !carriesAny(left), err
}

// carriesAny reports whether the object has a finalizer of a step.
func carriesAny(u *unstructured.Unstructured) bool {
	return slices.ContainsFunc(Steps(), func(s Step) bool { return slices.Contains(u.GetFinalizers(), s.Finalizer()) })
}
