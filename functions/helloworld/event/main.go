// Command event makes hello-world models of the greetings that the greeter's users ask for.
package main

import (
	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/step"
)

func main() { step.Main("event", steps, v1alpha1.AddToScheme) }
