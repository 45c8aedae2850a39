package broker

import (
	"context"
	"fmt"
	"net/http"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"knative.dev/eventing/pkg/apis"
	"knative.dev/eventing/pkg/broker"
	"knative.dev/eventing/pkg/channel"
	"knative.dev/eventing/pkg/channel/fanout"
	"knative.dev/eventing/pkg/kncloudevents"
)

// fanOutTimeout is how long all deliveries of an event may take, retries and all, as in Knative's channel.
const fanOutTimeout = 15 * time.Minute

// fanOut is the in-memory channel of a Broker. Receiving and sending are Knative's; what is between them is our own for
// two reasons: Knative's fan-out lets concurrent deliveries write to the same address (harmless, but the race detector
// reports it), and goes on with deliveries when nobody waits for them any more.
type fanOut struct {
	async         bool
	subscriptions []fanout.Subscription
	filters       filters
	dispatcher    *kncloudevents.Dispatcher
	logger        *zap.Logger
	ctx           context.Context // of deliveries that nobody waits for
}

// newChannel makes the handler of a channel. ctx ends the deliveries of an asynchronous channel.
func newChannel(ctx context.Context, c fanOut, meters metric.MeterProvider, traces trace.TracerProvider) (http.Handler, error) {
	c.ctx = ctx
	return channel.NewEventReceiver(c.receive, c.logger, channel.MeterProvider(meters), channel.TraceProvider(traces))
}

// receive takes an event: an error makes the answer 500, none 202.
func (c *fanOut) receive(ctx context.Context, _ channel.ChannelReference, event cloudevents.Event, headers http.Header) error {
	if c.async {
		go func() { _ = c.dispatch(c.ctx, event, headers) }()
		return nil
	}
	return c.dispatch(ctx, event, headers)
}

// dispatch sends an event to all subscriptions at once, and returns when the last of them is done with it. The error is
// the first of those that could be delivered neither to the subscriber nor to the dead letter sink.
func (c *fanOut) dispatch(ctx context.Context, event cloudevents.Event, headers http.Header) error {
	ctx, cancel := context.WithTimeout(ctx, fanOutTimeout)
	defer cancel()
	seen := event.Clone()
	// A filter must not see the Broker's own attribute. This fails only for a name that no event can have.
	_ = broker.DeleteTTL(seen.Context)
	var group errgroup.Group
	for _, sub := range c.subscriptions {
		if !c.filters.pass(ctx, sub, seen) {
			continue // A delivery would end with 200, without more.
		}
		group.Go(func() error {
			err := c.send(ctx, sub, event, headers)
			if err != nil {
				c.logger.Error("Cannot deliver an event", zap.String("trigger", sub.Name), zap.String("event", event.ID()), zap.Error(err))
			}
			return err
		})
	}
	return group.Wait()
}

// send delivers an event to one subscription.
//
// Knative's dispatcher (0.50) panics when a subscriber answers a failed delivery with more than 768 bytes and there is a
// dead letter sink (event_dispatcher.go: the base64 of the answer does not fit into its buffer). On a cluster that ends
// the dispatcher's process; here only the delivery fails.
func (c *fanOut) send(ctx context.Context, sub fanout.Subscription, event cloudevents.Event, headers http.Header) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the dispatcher of Knative panicked, as it does when the answer to a failed delivery is longer than 768 bytes: %v", p)
		}
	}()
	h := headers.Clone()
	h.Set(apis.KnNamespaceHeader, sub.Namespace)
	_, err = c.dispatcher.SendEvent(ctx, event, *sub.Subscriber.DeepCopy(),
		kncloudevents.WithHeader(h),
		kncloudevents.WithReply(sub.Reply.DeepCopy()),
		kncloudevents.WithDeadLetterSink(sub.DeadLetter.DeepCopy()),
		kncloudevents.WithRetryConfig(sub.RetryConfig))
	return err
}
