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
		step.OnObject(env.Namespace, announcements{}, "dev.xos-knative.workflow.device.announced"),
		step.OnObject(env.Namespace, authentications{}, "dev.xos-knative.workflow.device.authenticated"),
		step.OnObject(env.Namespace, addresses{}, "dev.xos-knative.workflow.device.dhcp"),
	}, err
}
