package model

import (
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// OptedOut reports whether the object's annotations keep the step from running on it.
func OptedOut(obj metav1.Object, step Step) bool { return set(obj.GetAnnotations(), step.OptOut()) }

// Paused reports whether all steps of the object are held back.
func Paused(obj metav1.Object) bool { return set(obj.GetAnnotations(), AnnotationPaused) }

// Request asks for one more run of all steps of the object, once it is saved; the status says why.
func Request(obj metav1.Object, now time.Time, reason string) {
	annotations := maps.Clone(obj.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[AnnotationRequestedAt], annotations[AnnotationRequestReason] = now.UTC().Format(time.RFC3339Nano), reason
	obj.SetAnnotations(annotations)
}
