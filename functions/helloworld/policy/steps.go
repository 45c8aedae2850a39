package main

import (
	"context"

	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// steps are the model policies of the XOS tutorial. They delete those who are not to be greeted.
//
// +kubebuilder:rbac:groups=helloworld.xos-knative.dev,resources=helloworldserviceinstances,verbs=delete
func steps(_ context.Context, models *model.Client) ([]step.Registration, error) {
	return []step.Registration{step.Policies(hello.Policy{Models: models})}, nil
}
