// Package hello holds what the functions of the hello-world example agree on: which greeting an
// instance stands for, and who is not greeted. The policy is here because two functions can have it.
package hello

import (
	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
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
		From:       &api.Version{UID: string(service.UID), Generation: service.Generation},
	}
}
