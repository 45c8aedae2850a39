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

// settings are the environment variables of this function.
type settings struct {
	// Namespace of the instances.
	Namespace string `envconfig:"NAMESPACE" required:"true"`
}

// steps are the event steps of the XOS tutorial.
//
// +synchronizer:eventtype:type=dev.xos-knative.helloworld.greeting.requested,name=greeting-requested,description="A user of the greeter asks for a greeting; the data is name and hello_to."
// +synchronizer:eventtype:type=dev.knative.kafka.event,name=kafka-event,description="The same, as a record of a Kafka topic: what a KafkaSource makes of it."
func steps(context.Context, *model.Client) ([]step.Registration, error) {
	env, err := function.Env[settings]()
	if err != nil {
		return nil, err
	}
	return []step.Registration{
		step.OnObject(env.Namespace, Requested{}, api.TypeRequested, typeKafka),
	}, nil
}
