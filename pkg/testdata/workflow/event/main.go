// Command event is the event function of the workflow driver.
package main

import (
	"context"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/workflow/api/v1alpha1"
)

type settings struct {
	Namespace string `envconfig:"NAMESPACE" required:"true"`
}

func main() { step.Main("event", steps, v1alpha1.AddToScheme) }

func steps(context.Context, *model.Client) ([]step.Registration, error) {
	env, err := function.Env[settings]()
	return []step.Registration{
		step.OnObject(env.Namespace, announcements{}, "device.announced"),
		step.OnObject(env.Namespace, authentications{}, "device.authenticated"),
		step.OnObject(env.Namespace, addresses{}, "device.dhcp"),
	}, err
}
