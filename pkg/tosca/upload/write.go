package upload

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// effect is what becomes of a write.
type effect bool

const (
	// stored: the API server stores it.
	stored effect = true
	// checked: the API server checks it and does not store it.
	checked effect = false
)

// write makes the change of a step, and returns the object as it is then; nil if the step deletes
// it.
func (u *Uploader) write(ctx context.Context, s *Step, becomes effect) (*unstructured.Unstructured, error) {
	r := u.resource(s.Node.Type)
	changes, dryRun := u.changes, []string(nil)
	if becomes == checked {
		changes, dryRun = u.trial, []string{metav1.DryRunAll}
	}
	switch s.Action {
	case Create:
		return r.Create(ctx, s.want, metav1.CreateOptions{DryRun: dryRun, FieldManager: fieldManager, FieldValidation: metav1.FieldValidationStrict})
	case Update:
		changed, _, err := changes.Modify(ctx, s.Node.Type.Kind, u.namespace, s.Object, s.change)
		return changed, err
	case Delete:
		// With the UID, another object that has the name by then is not deleted.
		uid := s.live.GetUID()
		return nil, r.Delete(ctx, s.Object, metav1.DeleteOptions{DryRun: dryRun, Preconditions: &metav1.Preconditions{UID: &uid}})
	}
	return s.live, nil
}

// change puts the recipe's values into the newest object. Steps write statuses all the time, which
// is no reason to fail. A new generation is one: somebody else has changed what the recipe is
// about, and the dry run no longer says what would come out. (A deletion is a new generation, too.)
func (s *Step) change(now *unstructured.Unstructured) error {
	if now.GetUID() != s.live.GetUID() || now.GetGeneration() != s.live.GetGeneration() {
		return s.changedMeanwhile()
	}
	return s.set(now)
}
