package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"go.uber.org/zap"
	"k8s.io/utils/lru"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/network"

	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// Replay syncs DeadLetters: it sends those again that spec.replay asks for.
type Replay struct {
	models *model.Client
	// fallback is where letters without a destination go.
	fallback string
	// sinks has a *function.Sink for each of the destinations that were used last,
	// so that connections are used again.
	sinks *lru.Cache

	// Token returns a token for an audience, which says who sends. It is asked for
	// destinations that are Services of the letter's own namespace, and for no
	// others: whoever can write a DeadLetter says where it goes. Default (nil):
	// replays have no token.
	Token func(ctx context.Context, audience string) (string, error)
}

// rememberedSinks is how many destinations keep their connections.
const rememberedSinks = 64

// NewReplay makes the step. fallback is the URL for letters without a destination;
// {namespace} in it stands for the namespace of the letter. It may be empty.
func NewReplay(models *model.Client, fallback string) *Replay {
	return &Replay{models: models, fallback: fallback, sinks: lru.New(rememberedSinks)}
}

var _ step.Syncer[*v1alpha1.DeadLetter] = &Replay{}

// Sync sends the event as it was. The letter of an event that is accepted is
// deleted. If the event is refused, the letter is kept with the new reason, and
// has to be corrected before the next attempt. Without an answer it is tried
// again, with growing waits.
func (r *Replay) Sync(ctx context.Context, letter *v1alpha1.DeadLetter) (string, error) {
	if !letter.Spec.Replay {
		return "", nil
	}
	event, err := restore(letter.Spec.Event)
	if err != nil {
		return "", step.Permanent(err)
	}
	sink, err := r.sink(letter.Namespace, letter.Spec.Destination)
	if err != nil {
		return "", step.Permanent(err)
	}

	log := logging.FromContext(ctx).With(zap.String("event", event.ID()), zap.String("type", event.Type()))
	err = sink.Send(ctx, event)
	if err == nil {
		log.Info("Dead letter accepted")
		return "", model.For[*v1alpha1.DeadLetter](r.models).Delete(ctx, letter)
	}
	answer := new(function.RefusedError)
	if !errors.As(err, &answer) || !refused(answer.Code) {
		return "", fmt.Errorf("replaying: %w", err)
	}
	log.Warnw("Dead letter refused again", zap.Int("code", answer.Code), zap.String("reason", answer.Reason))
	return "", r.keep(ctx, letter, answer)
}

// keep takes the wish for a replay back and says why.
func (r *Replay) keep(ctx context.Context, letter *v1alpha1.DeadLetter, answer *function.RefusedError) error {
	letters := model.For[*v1alpha1.DeadLetter](r.models)
	_, _, err := letters.Modify(ctx, letter.Namespace, letter.Name, func(live *v1alpha1.DeadLetter) error {
		// If it was changed meanwhile, it is due again for that.
		if live.UID == letter.UID && live.Generation == letter.Generation {
			live.Spec.Replay, live.Spec.Code, live.Spec.Reason = false, int32(answer.Code), reason(answer.Reason)
		}
		return nil
	})
	if model.IsGone(err) {
		return nil
	}
	return err
}

// sink finds where a letter of the namespace goes.
func (r *Replay) sink(namespace, destination string) (*function.Sink, error) {
	destination = cmp.Or(destination, strings.ReplaceAll(r.fallback, "{namespace}", namespace))
	if destination == "" {
		return nil, errors.New("spec.destination: expected the URL to send the event to, got none")
	}
	u, err := url.Parse(destination)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("spec.destination: expected an http or https URL, got %q", destination)
	}
	// Of two namespaces that send to one place, only one may show a token there.
	key := namespace + " " + destination
	if kept, ok := r.sinks.Get(key); ok {
		return kept.(*function.Sink), nil
	}
	sink, err := function.NewSink(function.SinkSettings{URL: destination}, 1, function.WithToken(r.tokenFor(audience(u.Hostname(), namespace))))
	if err != nil {
		return nil, err
	}
	r.sinks.Add(key, sink)
	return sink, nil
}

func (r *Replay) tokenFor(audience string) function.TokenSource {
	return func(ctx context.Context) (string, error) {
		if r.Token == nil || audience == "" {
			return "", nil
		}
		return r.Token(ctx, audience)
	}
}

// audience is what Knative calls the Service behind a host when it makes tokens
// for it, if that is a Service of the namespace, such as
// event.NAMESPACE.svc.cluster.local; otherwise it is empty.
func audience(host, namespace string) string {
	parts := strings.Split(host, ".")
	if len(parts) < 3 || parts[0] == "" || parts[1] != namespace || parts[2] != "svc" {
		return ""
	}
	if len(parts) > 3 && strings.Join(parts[3:], ".") != network.GetClusterDomainName() {
		return "" // Another cluster's, or somebody else's.
	}
	return "serving.knative.dev/service/" + namespace + "/" + parts[0]
}
