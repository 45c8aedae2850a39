// Command policy is the policy function of the library. Its policy for books has no rules.
package main

import (
	"context"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

func main() { step.Main("policy", steps, v1alpha1.AddToScheme) }

func steps(context.Context, *model.Client) ([]step.Registration, error) {
	return []step.Registration{step.Policies(step.PolicyFuncs[*v1alpha1.Book]{})}, nil
}
