// Command sync is the function that pushes the hello-world models to the
// greeter: the sync steps of the XOS tutorial. It is woken by model events
// with step=sync.
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
}

func main() { function.Main("sync", build) }

func build(ctx context.Context) (http.Handler, error) {
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
	engine, err := step.NewSyncEngine(ctx, models, []step.SyncStep{
		step.Sync(Service{}),
		step.Sync(Instance{Models: models, Greeter: greeter}),
	})
	if err != nil {
		return nil, err
	}
	return engine.HTTP()
}
