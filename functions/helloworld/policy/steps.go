package main

import (
	"context"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// steps are the model policies of the XOS tutorial.
func steps(_ context.Context, models *model.Client) ([]step.Registration, error) {
	return []step.Registration{step.Policies(Instance{Models: models})}, nil
}
