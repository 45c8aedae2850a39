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

// Engines write to objects with JSON patches (RFC 6902). The "test" operations of a patch say what must
// not have changed. So a write is one request without a read before it, and two steps of one object do
// not conflict, because no patch tests the part of another step.

// ErrStepChanged says that another run of the step has changed its part of the status since this run
// began.
var ErrStepChanged = errors.New("the step's status was changed by another run")

// operation is one operation of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func test(path string, value any) operation { return operation{"test", path, value} }
func add(path string, value any) operation  { return operation{"add", path, value} }

// jsonPatch sends a JSON patch for the very object that was read, not for another one of its name.
func (c *Client) jsonPatch(ctx context.Context, k *Kind, u *unstructured.Unstructured, operations []operation, subresources ...string) (*unstructured.Unstructured, error) {
	raw, err := json.Marshal(append([]operation{test("/metadata/uid", u.GetUID())}, operations...))
	if err != nil {
		return nil, err
	}
	stored, err := c.resource(k, u.GetNamespace()).Patch(ctx, u.GetName(), types.JSONPatchType, raw, metav1.PatchOptions{}, subresources...)
	if err == nil && stored != nil {
		c.known.wrote(stored)
	}
	return stored, err
}

// testFailed reports whether the API server has refused a JSON patch because a test in it failed or a
// path was missing. It then answers 422, as for an object that is not valid, but without causes.
func testFailed(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code != http.StatusUnprocessableEntity {
		return false
	}
	details := status.Status().Details
	return details == nil || len(details.Causes) == 0
}

// buildAndPatch sends the JSON patch that build makes for the object. If a test in it fails, it builds
// the patch again for the newest object. It returns the patched object, or the object as it is if build
// makes no operations. After some times the error is a Conflict.
func (c *Client) buildAndPatch(ctx context.Context, k *Kind, u *unstructured.Unstructured, build func(*unstructured.Unstructured) ([]operation, error), subresources ...string) (*unstructured.Unstructured, error) {
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
		// Not the 422 of the API: that is also what a status gets that is not valid.
		return true, apierrors.NewConflict(k.GVR().GroupResource(), u.GetName(), errors.New("others have changed it each time that it was read again"))
	})
	return u, err
}

// SetStep stores the outcome of a step, and the conditions that follow from it, in the object that
// the step began with. It returns [ErrStepChanged] if the step's part of the status has changed
// since. Other changes of the object are kept. [IsGone] is true for the error if the object is gone,
// or if another one has its name.
func (c *Client) SetStep(ctx context.Context, k *Kind, began *unstructured.Unstructured, step Step, outcome *StepStatus) error {
	start, err := k.SnapshotOf(began)
	if err != nil {
		return err
	}
	return c.Acknowledge(ctx, k, began, Outcome{Step: step, Before: start.Status.Step(step), Status: outcome})
}

// Outcome is what a run of a step has come to.
type Outcome struct {
	Step Step
	// Before is the step's part of the status when the run began, and Status what it is to be.
	Before, Status *StepStatus
	// Feedback is what the step reports.
	Feedback Feedback
}

// Acknowledge is [Client.SetStep] for steps that report feedback, too, and may have written to their object, which is
// given as it was last seen. All outcomes are stored in one write. At most one of them can have feedback.
func (c *Client) Acknowledge(ctx context.Context, k *Kind, newest *unstructured.Unstructured, outcomes ...Outcome) error {
	err := c.acknowledge(ctx, k, newest, outcomes)
	if err != nil {
		return fmt.Errorf("storing status.%s of %s %s/%s: %w", outcomes[0].Step, k.GVK.Kind, newest.GetNamespace(), newest.GetName(), err)
	}
	return nil
}

func (c *Client) acknowledge(ctx context.Context, k *Kind, newest *unstructured.Unstructured, outcomes []Outcome) error {
	stored, err := c.buildAndPatch(ctx, k, newest, func(u *unstructured.Unstructured) ([]operation, error) {
		now, err := k.SnapshotOf(u)
		if err != nil {
			return nil, err
		}
		before, reported := now.Status.DeepCopy(), []operation(nil)
		for _, o := range outcomes {
			if !equality.Semantic.DeepEqual(now.Status.Step(o.Step), o.Before) {
				return nil, ErrStepChanged
			}
			status := o.Status.DeepCopy()
			if operations := observe(u, now.Status.ObservedRevision, o.Feedback); operations != nil {
				if o.Step == StepPolicy && status.ObservedRevision == now.Status.ObservedRevision {
					status.ObservedRevision++ // It knows what it reports. What others have reported meanwhile it does not.
				}
				now.Status.ObservedRevision++
				reported = operations
			}
			now.Status.SetStep(o.Step, status)
		}
		SetConditions(now)
		if equality.Semantic.DeepEqual(before, &now.Status) {
			return nil, nil
		}
		return statusPatch(u, &now.Status, outcomes, reported)
	}, "status")
	if err != nil {
		return err
	}
	err = c.updateConditions(ctx, k, stored)
	if IsGone(err) {
		return nil // It was removed after the outcome was stored.
	}
	return err
}

// statusPatch makes the steps' parts of the status, and the conditions, like wanted, and adds what was
// reported.
func statusPatch(u *unstructured.Unstructured, wanted *Status, outcomes []Outcome, reported []operation) ([]operation, error) {
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(wanted)
	if err != nil {
		return nil, err
	}
	existing, ok := u.Object["status"].(map[string]any)
	if !ok {
		// The definition has no default for the status, and this is the first one.
		return append([]operation{test("/status", u.Object["status"]), add("/status", status)}, reported...), nil
	}
	var operations []operation
	for _, o := range outcomes {
		part := string(o.Step)
		operations = append(operations, test("/status/"+part, existing[part]), add("/status/"+part, status[part]))
	}
	operations = append(operations, add("/status/conditions", status["conditions"]), add("/status/observedGeneration", status["observedGeneration"]))
	return append(operations, reported...), nil
}

// updateConditions computes the conditions of an object again. If both steps were stored at the same
// time, the conditions of each write lack the other step.
func (c *Client) updateConditions(ctx context.Context, k *Kind, u *unstructured.Unstructured) error {
	_, err := c.buildAndPatch(ctx, k, u, func(u *unstructured.Unstructured) ([]operation, error) {
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
		operations := []operation{test("/metadata/resourceVersion", u.GetResourceVersion())}
		if _, ok := u.Object["status"]; !ok {
			operations = append(operations, add("/status", map[string]any{}))
		}
		return append(operations,
			add("/status/conditions", status["conditions"]),
			add("/status/observedGeneration", status["observedGeneration"])), err
	}, "status")
	return err
}

// Report writes the conditions and the observed generation of the object that was read, and removes the
// finalizers of steps that its kind no longer has. If the object is gone that is not an error.
func (c *Client) Report(ctx context.Context, k *Kind, u *unstructured.Unstructured) error {
	err := c.updateConditions(ctx, k, u)
	if err == nil {
		_, err = c.removeFinalizer(ctx, k, u)
	}
	if err == nil || IsGone(err) {
		return nil
	}
	return fmt.Errorf("storing the conditions of %s %s/%s: %w", k.GVK.Kind, u.GetNamespace(), u.GetName(), err)
}

// AddFinalizer adds the steps' finalizers, which it lacks, to the object that was read, and returns the object as it is
// then. [IsOutdated] is true for the error if the object was deleted or replaced, or has other
// finalizers: the caller has to read it again.
func (c *Client) AddFinalizer(ctx context.Context, k *Kind, u *unstructured.Unstructured, steps ...Step) (*unstructured.Unstructured, error) {
	// The test is for the whole list: two runs of a step must not add its finalizer twice.
	finalizers := u.GetFinalizers()
	operations := []operation{test("/metadata/finalizers", finalizers)}
	if len(finalizers) == 0 {
		operations[0].Value = nil
	}
	for _, step := range steps {
		finalizers = append(finalizers, step.Finalizer())
	}
	operations = append(operations, add("/metadata/finalizers", finalizers))
	marked, err := c.jsonPatch(ctx, k, u, operations)
	if err != nil {
		return nil, fmt.Errorf("adding the finalizer of %s %s/%s: %w", k.GVK.Kind, u.GetNamespace(), u.GetName(), err)
	}
	return marked, nil
}

// IsOutdated reports whether an error of [Client.AddFinalizer] says that the object is no longer as it
// was read. That includes the answer of the API server to a new finalizer for an object that is being
// deleted: 422 with the cause metadata.finalizers.
func IsOutdated(err error) bool {
	return IsGone(err) || testFailed(err) || apierrors.HasStatusCause(err, metav1.CauseTypeForbidden)
}

// RemoveFinalizer removes the steps' finalizers from the object. It also removes those of steps that the
// object's kind no longer has: nobody else does. It reports whether no finalizer of a step is left. If
// the object is gone that is not an error.
func (c *Client) RemoveFinalizer(ctx context.Context, k *Kind, u *unstructured.Unstructured, steps ...Step) (last bool, err error) {
	last, err = c.removeFinalizer(ctx, k, u, steps...)
	if IsGone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("removing the finalizer of %s %s/%s: %w", k.GVK.Kind, u.GetNamespace(), u.GetName(), err)
	}
	return last, nil
}

func (c *Client) removeFinalizer(ctx context.Context, k *Kind, u *unstructured.Unstructured, steps ...Step) (last bool, err error) {
	remove := func(f string) bool {
		return k.lost(f) || slices.ContainsFunc(steps, func(s Step) bool { return f == s.Finalizer() })
	}
	left, err := c.buildAndPatch(ctx, k, u, func(u *unstructured.Unstructured) (operations []operation, err error) {
		// From the end, so that a removal does not change the indices that follow.
		for i, f := range slices.Backward(u.GetFinalizers()) {
			if path := "/metadata/finalizers/" + strconv.Itoa(i); remove(f) {
				operations = append(operations, test(path, f), operation{Op: "remove", Path: path})
			}
		}
		return operations, nil
	})
	return err == nil && !hasStepFinalizer(left), err
}

// hasStepFinalizer reports whether the object has a finalizer of any step.
func hasStepFinalizer(u *unstructured.Unstructured) bool {
	return slices.ContainsFunc(Steps(), func(s Step) bool { return slices.Contains(u.GetFinalizers(), s.Finalizer()) })
}
