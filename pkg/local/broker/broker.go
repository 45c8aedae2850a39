package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	meternoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	"knative.dev/eventing/pkg/apis/eventing"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	messagingv1 "knative.dev/eventing/pkg/apis/messaging/v1"
	"knative.dev/eventing/pkg/broker"
	"knative.dev/eventing/pkg/broker/filter"
	"knative.dev/eventing/pkg/broker/ingress"
	"knative.dev/eventing/pkg/channel/fanout"
	"knative.dev/eventing/pkg/client/clientset/versioned/fake"
	"knative.dev/eventing/pkg/client/informers/externalversions"
	"knative.dev/eventing/pkg/eventingtls"
	"knative.dev/eventing/pkg/kncloudevents"
	"knative.dev/eventing/pkg/reconciler/broker/resources"
	"knative.dev/eventing/pkg/reconciler/sugar/trigger/path"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/network"
	"knative.dev/pkg/system"

	"github.com/xos-knative/synchronizer/pkg/local/manifest"
)

// maxTTL is how many Brokers an event and the replies to it may go through (MAX_TTL of Knative's ingress).
const maxTTL = 255

// Options are what stays the same as long as there are Brokers.
type Options struct {
	// Logger takes what Knative's handlers log.
	Logger *zap.Logger
	// Failed is told about each delivery to a subscriber that does not succeed, before it is tried again or becomes a
	// dead letter. Default: nobody is.
	Failed func(trigger types.NamespacedName, status int)
}

// Wires are the Brokers and Triggers. Everything that they refer to has been checked by package manifest.
type Wires struct {
	Brokers  []*eventingv1.Broker
	Triggers []*eventingv1.Trigger
	// Resolve finds the address of a destination, as seen from a namespace.
	Resolve func(d duckv1.Destination, namespace string) (*apis.URL, error)
}

// Broker is the data plane of all Brokers.
type Broker struct {
	o      Options
	ctx    context.Context // of deliveries that nobody waits for; ends with Stop
	cancel context.CancelFunc
	down   atomic.Bool
	plane  atomic.Pointer[plane]
}

// plane is the handlers for some Wires. It is never changed: other Wires get another plane.
type plane struct {
	hosts map[string]http.Handler
	// forget stops the caches that the handlers look their Brokers and Triggers up in; what is in them stays.
	forget context.CancelFunc
}

// New makes a data plane without Brokers. Its handlers send their requests to the cluster-local names of the participants
// by http.DefaultTransport, so the caller has to route these names to Handler and to the subscribers.
func New(o Options) (*Broker, error) {
	// Knative's handlers ask for the namespace that they run in, and panic without an answer.
	if os.Getenv(system.NamespaceEnvKey) == "" {
		if err := os.Setenv(system.NamespaceEnvKey, "knative-eventing"); err != nil {
			return nil, err
		}
	}
	if o.Failed == nil {
		o.Failed = func(types.NamespacedName, int) {}
	}
	b := &Broker{o: o}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.plane.Store(&plane{forget: func() {}})
	return b, nil
}

// Set replaces all Brokers and Triggers. Deliveries under way go on: each Trigger that stays gets its events, and those of
// a Trigger that is gone fail. After an error the Brokers are what they were before.
func (b *Broker) Set(w Wires) error {
	ctx, forget := context.WithCancel(b.ctx)
	p := &plane{hosts: map[string]http.Handler{}, forget: forget}
	if err := b.setUp(ctx, p, w); err != nil {
		forget()
		return fmt.Errorf("cannot set up the Brokers: %w", err)
	}
	b.plane.Swap(p).forget()
	return nil
}

// setUp does what Knative's controllers do: it writes the addresses into the statuses, where the handlers look for them.
func (b *Broker) setUp(ctx context.Context, p *plane, w Wires) error {
	meters, traces := meternoop.NewMeterProvider(), tracenoop.NewTracerProvider()
	asIs := func(ctx context.Context) context.Context { return ctx }
	wanted := filters{}
	var objects []runtime.Object
	for _, original := range w.Brokers {
		br := original.DeepCopy()
		if err := reconcileBroker(br, w.Resolve); err != nil {
			return fmt.Errorf("broker %s/%s: %w", br.Namespace, br.Name, err)
		}
		triggers, subscriptions, err := reconcileTriggers(br, w)
		if err != nil {
			return err
		}
		objects = append(objects, br)
		for _, t := range triggers {
			wanted.take(t, b.o.Logger)
			objects = append(objects, t)
		}
		dispatcher := kncloudevents.NewDispatcher(eventingtls.NewDefaultClientConfig(), nil, kncloudevents.WithMeterProvider(meters), kncloudevents.WithTraceProvider(traces))
		channel, err := newChannel(b.ctx, fanOut{
			async: Async(br), subscriptions: subscriptions, filters: wanted, dispatcher: dispatcher, logger: b.o.Logger.Named("channel"),
		}, meters, traces)
		if err != nil {
			return fmt.Errorf("broker %s/%s: %w", br.Namespace, br.Name, err)
		}
		p.hosts[channelHost(br)] = channel
	}

	factory := externalversions.NewSharedInformerFactory(fake.NewSimpleClientset(objects...), 0)
	brokers, triggers := factory.Eventing().V1().Brokers(), factory.Eventing().V1().Triggers()
	in, err := ingress.NewHandler(b.o.Logger.Named("ingress"), broker.TTLDefaulter(b.o.Logger, maxTTL), brokers, nil, nil, nil, asIs, meters, traces)
	if err != nil {
		return err
	}
	out, err := filter.NewHandler(b.o.Logger.Named("filter"), nil, nil, triggers, brokers, factory.Messaging().V1().Subscriptions(), nil, asIs, meters, traces)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("the cache of %s did not fill", kind)
		}
	}
	p.hosts[manifest.BrokerIngressHost] = b.whenUp(front(in))
	p.hosts[filterHost()] = observe(out, b.o.Failed)
	return nil
}

// reconcileTriggers returns the Triggers of a Broker with their statuses, and the subscriptions of its channel.
func reconcileTriggers(br *eventingv1.Broker, w Wires) (triggers []*eventingv1.Trigger, subscriptions []fanout.Subscription, err error) {
	for _, original := range w.Triggers {
		if original.Namespace != br.Namespace || original.Spec.Broker != br.Name {
			continue
		}
		t := original.DeepCopy()
		sub, err := reconcileTrigger(t, br, w.Resolve)
		if err != nil {
			return nil, nil, fmt.Errorf("trigger %s/%s: %w", t.Namespace, t.Name, err)
		}
		triggers = append(triggers, t)
		subscriptions = append(subscriptions, *sub)
	}
	return triggers, subscriptions, nil
}

// Handler returns the handler of a host, without a port, or nil if the host is none of the Brokers' names.
func (b *Broker) Handler(host string) http.Handler { return b.plane.Load().hosts[host] }

// SetDown makes the Brokers refuse everything with 503, as on a cluster whose broker ingress has no pod, until it is
// called with false.
func (b *Broker) SetDown(down bool) { b.down.Store(down) }

func (b *Broker) whenUp(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.down.Load() {
			http.Error(w, "the broker is down", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Stop ends what runs in the background. Deliveries under way are given up.
func (b *Broker) Stop() { b.cancel() }

// Async reports whether a Broker answers before it delivers. Knative passes annotations of messaging.knative.dev from a
// Broker on to its channel, and the in-memory channel looks at this one.
func Async(b *eventingv1.Broker) bool {
	async, err := strconv.ParseBool(b.Annotations[messagingv1.AsyncHandlerAnnotation])
	return err == nil && async
}

// reconcileBroker fills in what Knative's controller of Brokers does.
func reconcileBroker(b *eventingv1.Broker, resolve func(duckv1.Destination, string) (*apis.URL, error)) error {
	b.UID = types.UID(b.Namespace + "-" + b.Name)
	b.Status.Address = &duckv1.Addressable{URL: manifest.BrokerURL(b.Namespace, b.Name)}
	b.Status.Annotations = map[string]string{
		eventing.BrokerChannelAddressStatusAnnotationKey: apis.HTTP(channelHost(b)).String(),
	}
	if b.Spec.Delivery != nil && b.Spec.Delivery.DeadLetterSink != nil {
		sink, err := resolve(*b.Spec.Delivery.DeadLetterSink, b.Namespace)
		if err != nil {
			return err
		}
		b.Status.DeliveryStatus = eventingduckv1.NewDeliveryStatusFromAddressable(&duckv1.Addressable{URL: sink})
	}
	return nil
}

// reconcileTrigger fills in what Knative's controllers of Triggers and Subscriptions do, and returns the subscription
// of the Broker's channel that comes out of it.
func reconcileTrigger(t *eventingv1.Trigger, b *eventingv1.Broker, resolve func(duckv1.Destination, string) (*apis.URL, error)) (*fanout.Subscription, error) {
	t.UID = types.UID(t.Namespace + "-" + t.Name)
	subscriber, err := resolve(t.Spec.Subscriber, t.Namespace)
	if err != nil {
		return nil, err
	}
	t.Status.SubscriberURI = subscriber

	// A Trigger's delivery replaces that of its Broker as a whole.
	delivery := t.Spec.Delivery.DeepCopy()
	if delivery == nil {
		delivery = b.Spec.Delivery.DeepCopy()
	}
	if delivery != nil && delivery.DeadLetterSink != nil {
		sink, err := resolve(*delivery.DeadLetterSink, t.Namespace)
		if err != nil {
			return nil, err
		}
		delivery.DeadLetterSink = &duckv1.Destination{URI: sink}
		t.Status.DeliveryStatus = eventingduckv1.NewDeliveryStatusFromAddressable(&duckv1.Addressable{URL: sink})
	}

	filterURL := apis.HTTP(filterHost())
	filterURL.Path = path.Generate(t)
	sub, err := fanout.SubscriberSpecToFanoutConfig(eventingduckv1.SubscriberSpec{
		Name:          &t.Name,
		UID:           t.UID,
		SubscriberURI: filterURL,
		ReplyURI:      b.Status.Address.URL,
		Delivery:      delivery,
	})
	if err != nil {
		return nil, err
	}
	sub.Namespace = t.Namespace
	return sub, nil
}

// channelHost is the host of a Broker's channel.
func channelHost(b *eventingv1.Broker) string {
	return network.GetServiceHostname(resources.BrokerChannelName(b.Name, "trigger")+"-kn-channel", b.Namespace)
}

// filterHost is the host of the filters of all Triggers. Knative looks at it to find the subscriber's own answer in the
// filter's, so it must be this one.
func filterHost() string { return network.GetServiceHostname("broker-filter", system.Namespace()) }

// observe reports the deliveries that fail.
func observe(next http.Handler, failed func(types.NamespacedName, int)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, r)
		if rec.status < 300 || errors.Is(r.Context().Err(), context.Canceled) {
			return
		}
		if ref, err := path.Parse(r.RequestURI); err == nil {
			failed(ref.NamespacedName, rec.status)
		}
	})
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// ClusterProxy returns the Proxy function of an http.Transport that leads cluster-local names to the present runner and
// everything else where next says.
func ClusterProxy(present func() *url.URL, next func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		if !strings.HasSuffix(r.URL.Hostname(), ".svc.cluster.local") {
			if next == nil {
				return nil, nil
			}
			return next(r)
		}
		runner := present()
		if runner == nil {
			return nil, errors.New("no local runner is there any more")
		}
		return runner, nil
	}
}
