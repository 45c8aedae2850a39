package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/lru"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/network"

	"github.com/xos-knative/synchronizer/functions/deadletter/envelope"
	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// Replay syncs DeadLetters: it sends those again that spec.replay asks for.
type Replay struct {
	models *model.Client
	// names deletes letters by their version.
	names metadata.Interface
	// fallback is where letters without a destination go.
	fallback string
	// sinks has a *function.Sink for each of the destinations that were used last, so that
	// connections are used again.
	sinks *lru.Cache

	// Token returns a token for an audience. It is used only for destinations that are Services of
	// the letter's own namespace. Default (nil): replays have no token.
	Token func(ctx context.Context, audience string) (string, error)
}

// rememberedSinks is how many destinations keep their connections.
const rememberedSinks = 64

// NewReplay makes the step. fallback is the URL for letters without a destination; {namespace} in
// it stands for the namespace of the letter. It may be empty.
func NewReplay(models *model.Client, names metadata.Interface, fallback string) *Replay {
	return &Replay{models: models, names: names, fallback: fallback, sinks: lru.New(rememberedSinks)}
}

var _ step.Syncer[*v1alpha1.DeadLetter] = &Replay{}

// Sync sends the event as it was. The letter of an event that is accepted is deleted. If the event
// is refused, the letter is kept with the new reason, and has to be corrected before the next
// attempt. Without an answer it is tried again, with growing waits.
func (r *Replay) Sync(ctx context.Context, letter *v1alpha1.DeadLetter) (string, error) {
	if !letter.Spec.Replay {
		return "", nil
	}
	event, err := envelope.Restore(letter.Spec.Event)
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
		return "", r.remove(ctx, letter)
	}
	answer := new(function.RefusedError)
	if !errors.As(err, &answer) || !refused(answer.Code) {
		return "", fmt.Errorf("replaying: %w", err)
	}
	log.Warnw("Dead letter refused again", zap.Int("code", answer.Code), zap.String("reason", answer.Reason))
	return "", r.settle(ctx, letter, func(spec *v1alpha1.DeadLetterSpec) {
		spec.Code, spec.Reason = int32(answer.Code), envelope.Reason(answer.Reason)
	})
}

// remove deletes a letter whose event was accepted, if it is still the version that was replayed. A
// Broker also accepts an event that then fails at the same subscriber as before: that is in the letter
// by now, often before the Broker has answered. The letter then stays.
func (r *Replay) remove(ctx context.Context, letter *v1alpha1.DeadLetter) error {
	letters := r.names.Resource(v1alpha1.GroupVersion.WithResource("deadletters")).Namespace(letter.Namespace)
	version := letter.ResourceVersion
	for {
		err := letters.Delete(ctx, letter.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &letter.UID, ResourceVersion: &version}})
		if model.IsGone(err) {
			return nil
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		live, err := model.For[*v1alpha1.DeadLetter](r.models).Get(ctx, letter.Namespace, letter.Name)
		if model.IsGone(err) || err == nil && live.UID != letter.UID {
			return nil
		}
		if err != nil {
			return err
		}
		if !sameEvent(live, letter) || live.Annotations[annotationFailed] != letter.Annotations[annotationFailed] {
			logging.FromContext(ctx).Warnw("Dead letter kept: it was changed, or its event has failed again, during the replay")
			return r.settle(ctx, letter, func(*v1alpha1.DeadLetterSpec) {})
		}
		version = live.ResourceVersion // Something else was changed, for example a label.
	}
}

// settle ends a replay whose letter stays: it sets spec.replay to false, and says why. If somebody
// has corrected the event or its destination meanwhile, the letter is due again for that.
func (r *Replay) settle(ctx context.Context, letter *v1alpha1.DeadLetter, say func(*v1alpha1.DeadLetterSpec)) error {
	letters := model.For[*v1alpha1.DeadLetter](r.models)
	_, _, err := letters.Modify(ctx, letter.Namespace, letter.Name, func(live *v1alpha1.DeadLetter) error {
		if live.UID == letter.UID && sameEvent(live, letter) {
			live.Spec.Replay = false
			say(&live.Spec)
		}
		return nil
	})
	if model.IsGone(err) {
		return nil
	}
	return err
}

// sameEvent reports whether two versions of a letter send the same to the same destination.
func sameEvent(a, b *v1alpha1.DeadLetter) bool {
	return a.Spec.Destination == b.Spec.Destination && equality.Semantic.DeepEqual(a.Spec.Event, b.Spec.Event)
}

// sink finds where a letter of the namespace goes: to a Service of its namespace, or to the fallback.
// Whoever can reach this function, or write a DeadLetter, can choose its destination and read a part
// of the answer in it. So a letter must not reach what is not its namespace's own.
func (r *Replay) sink(namespace, destination string) (*function.Sink, error) {
	fallback := strings.ReplaceAll(r.fallback, "{namespace}", namespace)
	destination = cmp.Or(destination, fallback)
	if destination == "" {
		return nil, errors.New("spec.destination: expected the URL to send the event to, got none")
	}
	u, err := url.Parse(destination)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("spec.destination: expected an http or https URL, got %q", destination)
	}
	service := serviceOf(u.Hostname(), namespace)
	if service == "" && destination != fallback {
		return nil, fmt.Errorf("spec.destination: expected a Service of the letter's namespace, such as http://NAME.%s.svc.%s, or none for the namespace's Broker, got %q",
			namespace, network.GetClusterDomainName(), destination)
	}
	// Two namespaces can send to one destination, but only its own shows a token there.
	key := namespace + " " + destination
	if kept, ok := r.sinks.Get(key); ok {
		return kept.(*function.Sink), nil
	}
	sink, err := function.NewSink(function.SinkSettings{URL: destination}, 1, function.WithToken(r.tokenFor(namespace, service)))
	if err != nil {
		return nil, err
	}
	r.sinks.Add(key, sink)
	return sink, nil
}

// tokenFor makes tokens that only the Service accepts, by the name that Knative has for its audience.
// Nobody else gets a token.
func (r *Replay) tokenFor(namespace, service string) function.TokenSource {
	return func(ctx context.Context) (string, error) {
		if r.Token == nil || service == "" {
			return "", nil
		}
		return r.Token(ctx, "serving.knative.dev/service/"+namespace+"/"+service)
	}
}

// serviceOf is the name of the Service behind a host, if it is a Service of the namespace, such as
// event.NAMESPACE.svc.cluster.local; otherwise it is empty.
func serviceOf(host, namespace string) string {
	name, rest, _ := strings.Cut(host, ".")
	own := namespace + ".svc"
	if rest != own && rest != own+"."+network.GetClusterDomainName() {
		return "" // Another namespace's, another cluster's, or somebody else's.
	}
	return name
}
