// Command steps is the function of the device: its sync step and its poll.
package main

import (
	"context"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/device/api/v1alpha1"
)

func main() { step.Main("steps", steps, v1alpha1.AddToScheme) }

// settings are the environment variables of the function, in config/steps.yaml.
type settings struct {
	// Controller is the address of the micro-service, which knows the devices.
	Controller controller `envconfig:"CONTROLLER_URL" required:"true"`
	// Namespace of the models.
	Namespace string `envconfig:"NAMESPACE" required:"true"`
}

func steps(context.Context, *model.Client) ([]step.Registration, error) {
	env, err := function.Env[settings]()
	if err != nil {
		return nil, err
	}
	return []step.Registration{step.Sync(activation{env.Controller}), step.Compare(poll(env.Controller, env.Namespace))}, nil
}
