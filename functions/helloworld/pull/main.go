// Command pull compares what the greeter has with the hello-world models.
package main

import (
	"context"
	"strings"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

func main() { step.Main("pull", steps, v1alpha1.AddToScheme) }

type instance = v1alpha1.HelloWorldServiceInstance

// settings are the environment variables of this function.
type settings struct {
	Greeter client.Settings
	// Namespace of the models.
	Namespace string `envconfig:"NAMESPACE" required:"true"`
}

// steps are the pull steps of the XOS tutorial.
//
// +synchronizer:env:name=GREETER_URL,value="http://greeter.helloworld.svc.cluster.local"
// +synchronizer:schedule="*/5 * * * *"
func steps(context.Context, *model.Client) ([]step.Registration, error) {
	env, err := function.Env[settings]()
	if err != nil {
		return nil, err
	}
	greeter, err := env.Greeter.Client()
	if err != nil {
		return nil, err
	}
	return []step.Registration{step.Compare(greetings(greeter, env.Namespace))}, nil
}

// greetings compares the greeter's greetings with the instances of a namespace.
func greetings(greeter *client.Client, namespace string) step.Comparison[*instance, api.Greeting] {
	return step.Comparison[*instance, api.Greeting]{
		Namespace: namespace,
		Items:     greeter.Greetings,
		// Greetings of models in other namespaces are left alone. Of those that the greeter's users request,
		// function event makes instances. All others without a model get a mirror.
		Match: func(g api.Greeting) step.Match {
			if g.Model == nil && !g.Requested {
				return step.Match{UID: g.ID, Mirror: g.ID}
			}
			return step.Match{UID: g.ID, Synced: g.Model != nil && g.Model.Namespace == namespace && g.Model.UID == g.ID}
		},
		Want: func(ctx context.Context, i *instance) (any, error) {
			service, err := step.Dependency[*v1alpha1.HelloWorldService](ctx)
			if err != nil {
				return nil, err
			}
			return hello.GreetingOf(i, service), nil
		},
		Have: func(g api.Greeting) any { return g.PutRequest() },
		Get: func(ctx context.Context, i *instance) (*api.Greeting, error) {
			return greeter.Find(ctx, hello.GreetingID(i))
		},
		// The policy would delete the mirror of an unwelcome guest, and each round would make it again.
		Adopt: func(g api.Greeting, i *instance) error {
			if i.UID == "" && hello.Unwelcome(g.HelloTo) {
				return step.ErrIgnore
			}
			// The greeter accepts a blank name, which the model refuses: the mirror then has none.
			i.Spec.Name, i.Spec.HelloTo = strings.TrimSpace(g.Name), g.HelloTo
			return nil
		},
		// With the generation, so that a late sync cannot bring it back.
		Remove: func(ctx context.Context, g api.Greeting) error { return greeter.Delete(ctx, g.ID, g.Generation) },
	}
}
