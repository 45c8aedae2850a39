package main

import (
	"context"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// settings are the environment variables of this function.
type settings struct {
	Greeter client.Settings
	// Policies has the function also run the policies of what it syncs, in the same run; see config/overlays/one-function.
	Policies bool `envconfig:"POLICIES" default:"false"`
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
	steps := []step.Registration{
		step.Sync(Service{}),
		step.Sync(Instance{Greeter: greeter, Models: models}),
	}
	if env.Policies {
		steps = append(steps, step.Policies(hello.Policy{Models: models}))
	}
	return steps, nil
}
