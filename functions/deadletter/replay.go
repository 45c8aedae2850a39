package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/network"

	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// Replay syncs DeadLetters: it sends those again that spec.replay asks for.
type Replay struct {
	Models *model.Client
	// Sink is where those go that have no destination; may be empty.
	Sink string
	// Token says who sends, to destinations in this namespace. Anybody who can
	// write a DeadLetter says where it goes, and must not be sent our token.
	Token function.TokenSettings
	// Namespace that the function is in.
	Namespace string

	// sinks has a function.Sink for each URL, so that connections are used again.
	sinks sync.Map
}

var _ step.Syncer[*v1alpha1.DeadLetter] = &Replay{}

// Sync sends the event as it was. The letter of an event that is accepted is
// deleted; if the event is refused it is kept, with the new reason, and has to
// be mended before the next attempt; without an answer it is tried again, with
// growing waits.
func (r *Replay) Sync(ctx context.Context, letter *v1alpha1.DeadLetter) (string, error) {
	if !letter.Spec.Replay {
		return "", nil
	}
	event, err := restore(letter.Spec.Event)
	if err != nil {
		return "", step.Permanent(err)
	}
	sink, err := r.sink(letter.Spec.Destination)
	if err != nil {
		return "", step.Permanent(err)
	}

	log := logging.FromContext(ctx)
	err = sink.Send(ctx, event)
	if err == nil {
		log.Infow("Dead letter accepted", zap.String("event", event.ID()), zap.String("type", event.Type()))
		return "", model.For[*v1alpha1.DeadLetter](r.Models).Delete(ctx, letter)
	}
	answer := new(function.RefusedError)
	if !errors.As(err, &answer) || !refused(answer.Code) {
		return "", fmt.Errorf("replaying: %w", err)
	}
	log.Warnw("Dead letter refused again", zap.String("event", event.ID()), zap.Int("code", answer.Code), zap.String("reason", answer.Reason))
	return "", r.keep(ctx, letter, answer)
}

// keep takes the wish for a replay back and says why.
func (r *Replay) keep(ctx context.Context, letter *v1alpha1.DeadLetter, answer *function.RefusedError) error {
	letters := model.For[*v1alpha1.DeadLetter](r.Models)
	_, _, err := letters.Modify(ctx, letter.Namespace, letter.Name, func(live *v1alpha1.DeadLetter) error {
		if live.UID == letter.UID && live.Generation == letter.Generation {
			live.Spec.Replay, live.Spec.Code, live.Spec.Reason = false, int32(answer.Code), reason(answer.Reason)
		}
		return nil // Otherwise it was fixed meanwhile, and is due again for that.
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// Delete has nothing to do: whoever deletes a dead letter gives the event up.
func (r *Replay) Delete(context.Context, *v1alpha1.DeadLetter) error { return nil }

func (r *Replay) sink(destination string) (*function.Sink, error) {
	if destination == "" {
		destination = r.Sink
	}
	if destination == "" {
		return nil, errors.New("spec.destination: expected the URL to send the event to, got none")
	}
	u, err := url.Parse(destination)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("spec.destination: expected an http or https URL, got %q", destination)
	}
	if sink, ok := r.sinks.Load(destination); ok {
		return sink.(*function.Sink), nil
	}
	settings := function.SinkSettings{URL: destination}
	if inNamespace(u.Hostname(), r.Namespace) {
		settings.Token = r.Token
	}
	sink, err := function.NewSink(settings, 1)
	if err != nil {
		return nil, err
	}
	kept, _ := r.sinks.LoadOrStore(destination, sink)
	return kept.(*function.Sink), nil
}

// inNamespace tells whether a host is a Service of the namespace, such as
// event.helloworld.svc.cluster.local.
func inNamespace(host, namespace string) bool {
	parts := strings.Split(host, ".")
	return len(parts) > 2 && parts[1] == namespace && parts[2] == "svc" &&
		(len(parts) == 3 || strings.Join(parts[3:], ".") == network.GetClusterDomainName())
}
