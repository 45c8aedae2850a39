package step_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

// TestInOrder makes a book of 20 events without a time, each sent twice.
func TestInOrder(t *testing.T) {
	b := &book{}
	b.Annotations = map[string]string{"mine": "kept", step.AnnotationLastEvents: "{not ours"}
	shared := b.Annotations
	changes := 0
	for i := range 40 {
		event := steptest.Event("order", "{}")
		event.SetID(fmt.Sprint(i / 2))
		err := step.InOrder(t.Context(), event, b, func() error {
			changes++
			b.Spec.Title = event.ID()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if changes != 20 || b.Spec.Title != "19" {
		t.Errorf("each event changes the object once: got %d changes, %q", changes, b.Spec.Title)
	}
	if n := len(b.Annotations[step.AnnotationLastEvents]); n > 200 {
		t.Errorf("the memory has an end: got %d bytes", n)
	}
	if b.Annotations["mine"] != "kept" || shared[step.AnnotationLastEvents] != "{not ours" {
		t.Errorf("other annotations, and other copies of the object, stay as they are: got %v, %v", b.Annotations, shared)
	}

	before := b.DeepCopy()
	if err := step.InOrder(t.Context(), steptest.Event("order", "{}"), b, func() error { return errors.New("no") }); err == nil || err.Error() != "no" {
		t.Errorf("the error of a change is returned: got %v", err)
	}
	if diff := cmp.Diff(before, b); diff != "" {
		t.Errorf("and its event is not remembered: -want, +got:\n%s", diff)
	}
}
