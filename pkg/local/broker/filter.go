package broker

import (
	"context"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/channel/fanout"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"
)

// filters are the Triggers' spec.filters. The channel evaluates them before it sends an event to Knative's handler,
// which evaluates the older spec.filter only; see [NewFilter] for the reason.
type filters map[types.NamespacedName]eventfilter.Filter

// NewFilter makes the filter of a Trigger's spec.filters. Knative's filters "any" and "all" sort their
// parts by how often these decide, in a goroutine that races with Filter and Cleanup. So these two are
// our own, and all others are Knative's.
func NewFilter(descriptions []eventingv1.SubscriptionsAPIFilter, logger *zap.Logger) eventfilter.Filter {
	return all(materialize(descriptions, logger))
}

// take moves the filters of a Trigger from the Trigger to here.
func (f filters) take(t *eventingv1.Trigger, logger *zap.Logger) {
	if len(t.Spec.Filters) == 0 {
		return
	}
	f[types.NamespacedName{Namespace: t.Namespace, Name: t.Name}] = NewFilter(t.Spec.Filters, logger)
	t.Spec.Filters = nil
}

// pass reports whether an event passes the filters of the subscription's Trigger.
func (f filters) pass(ctx context.Context, sub fanout.Subscription, event cloudevents.Event) bool {
	filter := f[types.NamespacedName{Namespace: sub.Namespace, Name: sub.Name}]
	return filter == nil || filter.Filter(ctx, event) != eventfilter.FailFilter
}

// materialize makes filters of their descriptions.
func materialize(descriptions []eventingv1.SubscriptionsAPIFilter, logger *zap.Logger) []eventfilter.Filter {
	var made []eventfilter.Filter
	for _, d := range descriptions {
		if f := materializeOne(d, logger); f != nil {
			made = append(made, f)
		}
	}
	return made
}

func materializeOne(d eventingv1.SubscriptionsAPIFilter, logger *zap.Logger) eventfilter.Filter {
	switch {
	case len(d.All) > 0:
		return all(materialize(d.All, logger))
	case len(d.Any) > 0:
		return anyOf(materialize(d.Any, logger))
	case d.Not != nil:
		return subscriptionsapi.NewNotFilter(materializeOne(*d.Not, logger))
	default:
		return subscriptionsapi.MaterializeSubscriptionsAPIFilter(logger, d)
	}
}

// all fails when one of its filters fails.
type all []eventfilter.Filter

// Filter asks the filters in order, and says what the last one asked says.
func (a all) Filter(ctx context.Context, event cloudevents.Event) eventfilter.FilterResult {
	result := eventfilter.NoFilter
	for _, f := range a {
		if result = f.Filter(ctx, event); result == eventfilter.FailFilter {
			return result
		}
	}
	return result
}

// Cleanup has nothing to do.
func (all) Cleanup() {}

// anyOf passes when one of its filters passes.
type anyOf []eventfilter.Filter

// Filter asks the filters in order, and says what the last one asked says.
func (a anyOf) Filter(ctx context.Context, event cloudevents.Event) eventfilter.FilterResult {
	result := eventfilter.NoFilter
	for _, f := range a {
		if result = f.Filter(ctx, event); result == eventfilter.PassFilter {
			return result
		}
	}
	return result
}

// Cleanup has nothing to do.
func (anyOf) Cleanup() {}
