// Command deadletter is the function that keeps the events which could not be delivered, so that
// none is lost. It has two doors:
//
//   - /letters/NAMESPACE takes what a Broker gives up, and stores each event as a DeadLetter in
//     that namespace (letters.go, limit.go);
//   - / is the sync step of that model, which sends a dead letter again when spec.replay says so
//     (replay.go).
package main

import (
	"context"
	"net/http"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/function/account"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// settings are the environment variables of this function, in config/core/deadletter.yaml.
type settings struct {
	// Max is how many dead letters a namespace keeps; beyond that the oldest tenth is dropped.
	Max int `envconfig:"MAX_DEAD_LETTERS" default:"1000"`
	// MaxBytes is how many bytes of dead letters a namespace keeps, likewise. Default: 64 MiB.
	MaxBytes int64 `envconfig:"MAX_DEAD_LETTER_BYTES" default:"67108864"`
	// BytesPerSecond is how many bytes of dead letters a pod writes for a namespace in a second, after
	// 64 seconds' worth at once; what comes beyond that waits, or has to come again. Default: 256 KiB.
	BytesPerSecond int `envconfig:"DEAD_LETTER_BYTES_PER_SECOND" default:"262144"`
	// ReplaySink is the URL that dead letters without a destination are sent to; {namespace} in it
	// stands for the namespace of the letter.
	ReplaySink string `envconfig:"REPLAY_SINK"`
	// OIDCReplay sends a token with replays to Knative Services of the letter's own namespace. The
	// function's account then needs the right to create serviceaccounts/token for itself.
	OIDCReplay bool `envconfig:"OIDC_REPLAY"`
}

// drainer makes the function a [function.Drainer].
type drainer struct {
	http.Handler
	*step.Function
}

func main() { function.Main("deadletter", build) }

func build(ctx context.Context, env settings) (http.Handler, error) {
	config, err := function.KubeConfig()
	if err != nil {
		return nil, err
	}
	return newFunction(ctx, config, env)
}

func newFunction(ctx context.Context, config *rest.Config, env settings) (http.Handler, error) {
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
	replay := NewReplay(models, names, env.ReplaySink)
	if env.OIDCReplay {
		replay.Token = account.NewTokens(anything, nil).For
	}
	steps, err := step.New(ctx, models, []step.Registration{step.Sync(replay)})
	if err != nil {
		return nil, err
	}
	sync, err := steps.HTTP()
	if err != nil {
		return nil, err
	}
	limits, err := newLimits(env, names, steps.Record)
	if err != nil {
		return nil, err
	}
	letters, err := Letters{models, limits}.HTTP()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/letters", letters)
	mux.Handle("/letters/", letters)
	mux.Handle("/", sync)
	return drainer{mux, steps}, nil
}
