package main

import (
	"context"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// settings are the environment variables of this function.
type settings struct {
	Greeter client.Settings
}

// steps are the sync steps of the XOS tutorial.
//
// +synchronizer:env:name=GREETER_URL,value="http://greeter.helloworld.svc.cluster.local"
func steps(_ context.Context, models *model.Client) ([]step.Registration, error) {
	env, err := function.Env[settings]()
	if err != nil {
		return nil, err
	}
	greeter, err := env.Greeter.Client()
	if err != nil {
		return nil, err
	}
	return []step.Registration{
		step.Sync(Service{}),
		step.Sync(Instance{Greeter: greeter, Models: models}),
	}, nil
}
