// Command steps is the function of the test service: its sync step and its policies.
package main

import (
	"context"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/testservice/api/v1alpha1"
)

func main() { step.Main("steps", steps, v1alpha1.AddToScheme) }

func steps(_ context.Context, models *model.Client) ([]step.Registration, error) {
	order := order{model.For[*instance](models)}
	duplicates := duplicates{model.For[*duplicate](models)}
	return []step.Registration{
		step.Sync(order),
		step.Policies(always(order.police), always(duplicates.follow)),
	}, nil
}
