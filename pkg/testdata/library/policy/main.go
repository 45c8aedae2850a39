// Command policy is the policy function of the library. Its policy for books has no rules.
package main

import (
	"context"
	"net/http"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

func main() { function.Main("policy", build) }

func build(ctx context.Context) (http.Handler, error) {
	models, err := step.Models(v1alpha1.AddToScheme)
	if err != nil {
		return nil, err
	}
	engine, err := step.NewPolicyEngine(ctx, models, []step.PolicyStep{
		step.Policies(step.PolicyFuncs[*v1alpha1.Book]{}),
	})
	if err != nil {
		return nil, err
	}
	return engine.HTTP()
}
