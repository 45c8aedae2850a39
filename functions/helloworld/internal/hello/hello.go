// Package hello holds what the functions of the hello-world example agree on: which greeting an
// instance stands for, and who is not greeted.
package hello

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// The two guests of the XOS tutorial that are not greeted.
const (
	// Later is deferred by the sync step.
	Later = "Tyrion Lannister"
	// Never fails in the sync step.
	Never = "Joffrey Baratheon"
)

// Unwelcome reports whether the policy deletes instances that greet this guest.
func Unwelcome(helloTo string) bool { return helloTo == Later || helloTo == Never }

// GreetingID is the greeter's id for an instance: its UID, so that an instance that is created
// again under the same name is another greeting.
func GreetingID(instance *v1alpha1.HelloWorldServiceInstance) string { return string(instance.UID) }

// GreetingOf is the greeting that an instance of a service stands for.
func GreetingOf(instance *v1alpha1.HelloWorldServiceInstance, service *v1alpha1.HelloWorldService) api.PutRequest {
	return api.PutRequest{
		Name:       instance.DisplayName(),
		HelloFrom:  service.Spec.HelloFrom,
		HelloTo:    instance.Spec.HelloTo,
		Generation: instance.Generation,
		Model:      &api.ModelRef{Namespace: instance.Namespace, Name: instance.Name, UID: string(instance.UID)},
	}
}

// AnnotationGreetingID is on the mirrors that pull makes of the greeter's own greetings. Its value is
// the greeting's id.
const AnnotationGreetingID = "helloworld.xos-knative.dev/greeting-id"

// MirrorName is the name of the mirror of a greeting. It depends on the id alone, so that a greeting
// has one mirror however often it is pulled.
func MirrorName(greetingID string) string {
	sum := sha256.Sum256([]byte(greetingID))
	return "pulled-" + hex.EncodeToString(sum[:8])
}

// Mirrors reports whether the instance only shows what the greeter has. If somebody removes the
// annotation no-sync, it is declared like any other instance and no longer follows its greeting.
func Mirrors(instance *v1alpha1.HelloWorldServiceInstance) bool {
	id, ok := instance.Annotations[AnnotationGreetingID]
	return ok && instance.Name == MirrorName(id) && model.OptedOut(instance, model.StepSync)
}
