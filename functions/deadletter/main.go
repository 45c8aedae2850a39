// Command deadletter is the function that keeps the events which could not be
// delivered, so that none is lost. It has two doors: /letters takes what a
// Broker gives up, and stores each as a DeadLetter; / is the sync step of that
// model, which sends a dead letter again when spec.replay says so.
package main

import (
	"context"
	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"net/http"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

type settings struct {
	// Namespace that the dead letters are kept in.
	Namespace string `envconfig:"NAMESPACE" required:"true"`
	// Max is how many are kept; beyond that the oldest are dropped.
	Max int `envconfig:"MAX_DEAD_LETTERS" default:"1000"`
	// ReplaySink is the URL that dead letters without a destination are sent to.
	ReplaySink string `envconfig:"REPLAY_SINK"`
	// Token is sent along with replays, where destinations want to know who sends.
	Token function.TokenSettings
}

// maxEvent is the largest event that is taken, in bytes. It is far more than an
// object can hold: of such an event it must at least be known that it was there.
const maxEvent = 16 << 20

func main() { function.Main("deadletter", build) }

func build(ctx context.Context) (http.Handler, error) {
	env, err := function.Env[settings]()
	if err != nil {
		return nil, err
	}
	config, err := function.KubeConfig()
	if err != nil {
		return nil, err
	}
	models, err := model.NewClient(config, v1alpha1.AddToScheme)
	if err != nil {
		return nil, err
	}
	anything, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	names, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	limit, err := newLimit(env.Namespace, env.Max, names, anything)
	if err != nil {
		return nil, err
	}
	letters, err := function.Events(Letters{Models: models, Namespace: env.Namespace, Stored: limit.Enforce}.Handle, function.WithMaxBody(maxEvent))
	if err != nil {
		return nil, err
	}
	replay, err := step.New(ctx, models, []step.Registration{
		step.Sync(&Replay{Models: models, Sink: env.ReplaySink, Token: env.Token, Namespace: env.Namespace}),
	})
	if err != nil {
		return nil, err
	}
	sync, err := replay.HTTP()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/letters", letters)
	mux.Handle("/", sync)
	return mux, nil
}
