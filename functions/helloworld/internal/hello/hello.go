// Package hello holds what the functions of the hello-world example agree on:
// which greeting an instance stands for, and who is not greeted.
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

// Unwelcome tells whether the policy deletes instances that greet this guest.
func Unwelcome(helloTo string) bool { return helloTo == Later || helloTo == Never }

// GreetingID is the greeter's id for an instance: its UID, so that an instance
// that is created again under the same name is another greeting.
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

// AnnotationGreetingID, on an instance that pull has made, is the id of the
// greeting that it mirrors.
const AnnotationGreetingID = "helloworld.xos-knative.dev/greeting-id"

// MirrorName is the name of the instance that mirrors a greeting which is not
// ours: always the same for the same greeting, so that it is pulled once.
func MirrorName(greetingID string) string {
	sum := sha256.Sum256([]byte(greetingID))
	return "pulled-" + hex.EncodeToString(sum[:8])
}

// Mirrors tells whether the instance only shows what the greeter has. Once
// somebody has taken no-sync away it is declared like any other, and no longer
// follows the greeting it was made of.
func Mirrors(instance *v1alpha1.HelloWorldServiceInstance) bool {
	id, ok := instance.Annotations[AnnotationGreetingID]
	return ok && instance.Name == MirrorName(id) && model.OptedOut(instance, model.StepSync)
}
