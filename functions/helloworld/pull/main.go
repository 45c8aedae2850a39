// Command pull compares what the greeter has with the hello-world models.
package main

import (
	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/step"
)

func main() { step.Main("pull", steps, v1alpha1.AddToScheme) }
