// Command sync pushes the hello-world models to the greeter.
package main

import (
	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/step"
)

func main() { step.Main("sync", steps, v1alpha1.AddToScheme) }
