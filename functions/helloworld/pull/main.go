// Command pull is the function that copies what the greeter has into the
// hello-world models, and finds out what is no longer as the models say: the
// pull step of the XOS tutorial. It is woken by a PingSource.
package main

import (
	"context"
	"fmt"
	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"net/http"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/step"
)

type settings struct {
	// GreeterURL is where the greeter listens, e.g. http://greeter.helloworld.svc.cluster.local.
	GreeterURL string `envconfig:"GREETER_URL" required:"true"`
	// Namespace of the models.
	Namespace string `envconfig:"NAMESPACE" required:"true"`
}

func main() { function.Main("pull", build) }

func build(context.Context) (http.Handler, error) {
	env, err := function.Env[settings]()
	if err != nil {
		return nil, err
	}
	greeter, err := client.New(env.GreeterURL)
	if err != nil {
		return nil, fmt.Errorf("GREETER_URL: %w", err)
	}
	models, err := step.Models(v1alpha1.AddToScheme)
	if err != nil {
		return nil, err
	}
	return step.NewPullEngine(Greetings{Models: models, Greeter: greeter, Namespace: env.Namespace}).HTTP()
}
