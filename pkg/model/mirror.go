package model

import (
	"crypto/sha256"
	"encoding/hex"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MirrorName is the name of the mirror of an item of the micro-service. It depends on what the
// micro-service calls the item alone, so that an item has one mirror however often it is pulled.
func MirrorName(item string) string {
	sum := sha256.Sum256([]byte(item))
	return "pulled-" + hex.EncodeToString(sum[:8])
}

// Mirrors reports whether the object only shows an item of the micro-service. If somebody removes the
// annotation no-sync, it is declared like any other object and no longer follows its item.
func Mirrors(obj metav1.Object) bool {
	item, ok := obj.GetAnnotations()[AnnotationMirrors]
	return ok && obj.GetName() == MirrorName(item) && OptedOut(obj, StepSync)
}
