package model

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// OptedOut reports whether the object's annotations keep the step from running on it.
func OptedOut(obj metav1.Object, step Step) bool { return set(obj.GetAnnotations(), step.OptOut()) }

// Paused reports whether all steps of the object are held back.
func Paused(obj metav1.Object) bool { return set(obj.GetAnnotations(), AnnotationPaused) }
