// Command policy runs the policies of the hello-world models.
package main

import (
	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/step"
)

func main() { step.Main("policy", steps, v1alpha1.AddToScheme) }
