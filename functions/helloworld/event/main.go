// Command event is the function that turns the greetings which the greeter's
// users ask for into hello-world models: the event step of the XOS tutorial.
// It is woken by the greeter's events, and by records of a Kafka topic.
package main

import (
	"context"
	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"net/http"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// typeKafka is the type of what a KafkaSource makes of a record; the data is
// the record's value. (XOS gets its events over a Kafka topic only.)
const typeKafka = "dev.knative.kafka.event"

type settings struct {
	// Namespace that the models are made in.
	Namespace string `envconfig:"NAMESPACE" required:"true"`
}

func main() { function.Main("event", build) }

func build(context.Context) (http.Handler, error) {
	env, err := function.Env[settings]()
	if err != nil {
		return nil, err
	}
	models, err := step.Models(v1alpha1.AddToScheme)
	if err != nil {
		return nil, err
	}
	engine, err := step.NewEventEngine([]step.EventStep{
		step.On(Requested{Models: models, Namespace: env.Namespace}, api.TypeRequested, typeKafka),
	})
	if err != nil {
		return nil, err
	}
	return engine.HTTP()
}
