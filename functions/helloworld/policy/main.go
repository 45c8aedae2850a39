// Command policy is the function that runs the model policies of the
// hello-world example. It is woken by model events with step=policy.
package main

import (
	"context"
	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"net/http"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/step"
)

func main() { function.Main("policy", build) }

func build(ctx context.Context) (http.Handler, error) {
	models, err := step.Models(v1alpha1.AddToScheme)
	if err != nil {
		return nil, err
	}
	engine, err := step.NewPolicyEngine(ctx, models, []step.PolicyStep{
		step.Policies(Instance{Models: models}),
	})
	if err != nil {
		return nil, err
	}
	return engine.HTTP()
}
