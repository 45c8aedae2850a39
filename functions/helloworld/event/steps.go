package main

import (
	"context"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// typeKafka is the event type of a KafkaSource; the data is the value of the Kafka record. (XOS gets
// its events from a Kafka topic only.)
const typeKafka = "dev.knative.kafka.event"

// settings are the environment variables of this function, in config/helloworld/event.yaml.
type settings struct {
	// Namespace of the instances.
	Namespace string `envconfig:"NAMESPACE" required:"true"`
}

// steps are the event steps of the XOS tutorial.
func steps(context.Context, *model.Client) ([]step.Registration, error) {
	env, err := function.Env[settings]()
	if err != nil {
		return nil, err
	}
	return []step.Registration{
		step.OnObject(env.Namespace, Requested{}, api.TypeRequested, typeKafka),
	}, nil
}
