// Command deadletter is the function that keeps the events which could not be
// delivered, so that none is lost. It has two doors:
//
//   - /letters/NAMESPACE takes what a Broker gives up, and stores each event as a
//     DeadLetter in that namespace (letters.go, limit.go);
//   - / is the sync step of that model, which sends a dead letter again when
//     spec.replay says so (replay.go).
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
	// Max is how many dead letters a namespace keeps; beyond that the oldest are
	// dropped.
	Max int `envconfig:"MAX_DEAD_LETTERS" default:"1000"`
	// ReplaySink is the URL that dead letters without a destination are sent to;
	// {namespace} in it stands for the namespace of the letter.
	ReplaySink string `envconfig:"REPLAY_SINK"`
	// OIDCReplay sends a token along with replays to Knative Services, which tells
	// who sends. The function's account then has to have the right to create
	// serviceaccounts/token for itself.
	OIDCReplay bool `envconfig:"OIDC_REPLAY"`
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
	limits, err := newLimits(env.Max, names, anything)
	if err != nil {
		return nil, err
	}
	letters, err := Letters{Models: models, Stored: limits.Enforce}.HTTP()
	if err != nil {
		return nil, err
	}
	replay := NewReplay(models, env.ReplaySink)
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
	mux := http.NewServeMux()
	mux.Handle("/letters", letters)
	mux.Handle("/letters/", letters)
	mux.Handle("/", sync)
	return mux, nil
}
