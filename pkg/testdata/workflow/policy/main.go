// Command policy is the policy function of the workflow driver.
package main

import (
	"context"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/workflow/api/v1alpha1"
)

func main() { step.Main("policy", steps, v1alpha1.AddToScheme) }

func steps(_ context.Context, models *model.Client) ([]step.Registration, error) {
	d := driver{models}
	return []step.Registration{
		step.Policies[*device](step.PolicyFuncs[*device]{OnCreate: d.admit, OnUpdate: d.admit}),
		step.Policies[*entry](entries{d}),
	}, nil
}
