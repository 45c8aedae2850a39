package broker_test

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/local/broker"
	"github.com/xos-knative/synchronizer/pkg/local/manifest"
)

// present is where the names of the cluster lead, those of the rig that runs.
var present atomic.Pointer[url.URL]

func TestMain(m *testing.M) {
	transport := http.DefaultTransport.(*http.Transport)
	transport.Proxy = broker.ClusterProxy(present.Load, nil)
	os.Exit(m.Run())
}

const namespace = "ns"

// rig is a synchronous Broker "default" with Triggers, and their subscribers.
type rig struct {
	*testing.T
	broker *broker.Broker
	url    string

	// mu protects following.
	mu          sync.Mutex
	subscribers map[string]*subscriber // By host.
}

// subscriber answers what it is told to, and remembers what it got.
type subscriber struct {
	// answer answers the nth request, counted from 1. Default: 202.
	answer func(w http.ResponseWriter, n int)

	mu  sync.Mutex // protects following
	got []received
}

// received is a request to a subscriber.
type received struct {
	header http.Header
	event  *cloudevents.Event
	err    error
}

func (s *subscriber) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := r.Header.Clone()
	event, err := cloudevents.NewEventFromHTTPRequest(r)
	s.mu.Lock()
	s.got = append(s.got, received{header, event, err})
	n := len(s.got)
	s.mu.Unlock()
	if s.answer == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	s.answer(w, n)
}

// requests are those that came.
func (s *subscriber) requests() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.got...)
}

// trigger of the Broker.
type trigger struct {
	// eventType that it wants; empty for all.
	eventType string
	*subscriber
	// at is where the subscriber is. Default: a service of the rig.
	at *apis.URL
	// delivery of the Trigger; nil for that of the Broker.
	delivery *eventingduckv1.DeliverySpec
}

// newRig starts a Broker with this delivery, Triggers by their names, and other services.
func newRig(t *testing.T, delivery *eventingduckv1.DeliverySpec, triggers map[string]trigger, services map[string]*subscriber) *rig {
	t.Helper()
	b, err := broker.New(broker.Options{Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	r := &rig{T: t, broker: b, subscribers: map[string]*subscriber{}}
	for name, s := range services {
		r.subscribers[host(name)] = s
	}
	wires := broker.Wires{Resolve: resolve, Brokers: []*eventingv1.Broker{{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}, Spec: eventingv1.BrokerSpec{Delivery: delivery},
	}}}
	for name, tr := range triggers {
		r.subscribers[host(name)] = tr.subscriber
		wired := &eventingv1.Trigger{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: eventingv1.TriggerSpec{
			Broker: "default", Subscriber: *destination(name), Delivery: tr.delivery,
		}}
		if tr.at != nil {
			wired.Spec.Subscriber.URI = tr.at
		}
		if tr.eventType != "" {
			wired.Spec.Filter = &eventingv1.TriggerFilter{Attributes: eventingv1.TriggerFilterAttributes{"type": tr.eventType}}
		}
		wires.Triggers = append(wires.Triggers, wired)
	}
	if err := b.Set(wires); err != nil {
		t.Fatal(err)
	}
	r.url = functiontest.Serve(t, r)
	here, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	present.Store(here)
	return r
}

// ServeHTTP leads a request to what its host names, as the runner's router does.
func (r *rig) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	name := strings.ToLower(request.Host)
	if request.URL.Host != "" { // Through the proxy.
		name = request.URL.Hostname()
		request.URL = &url.URL{Path: request.URL.Path, RawPath: request.URL.RawPath, RawQuery: request.URL.RawQuery}
		request.RequestURI = request.URL.RequestURI()
	}
	if strings.HasPrefix(name, "127.0.0.1") {
		name = manifest.BrokerIngressHost
	}
	if h := r.broker.Handler(name); h != nil {
		h.ServeHTTP(w, request)
		return
	}
	r.mu.Lock()
	s := r.subscribers[name]
	r.mu.Unlock()
	if s == nil {
		http.Error(w, "no host "+name, http.StatusNotFound)
		return
	}
	s.ServeHTTP(w, request)
}

func host(name string) string { return name + "." + namespace + ".svc.cluster.local" }

// destination is a service of the rig.
func destination(name string) *duckv1.Destination {
	return &duckv1.Destination{URI: apis.HTTP(host(name))}
}

func resolve(d duckv1.Destination, _ string) (*apis.URL, error) { return d.URI, nil }

// good is an event in binary mode.
func good() cloudevents.Event {
	event := cloudevents.NewEvent()
	event.SetID("1")
	event.SetSource("/test")
	event.SetType("t")
	event.SetSubject("s")
	event.SetExtension("extra", "e")
	_ = event.SetData(cloudevents.ApplicationJSON, map[string]int{"a": 1})
	return event
}

// request is one to the Broker.
func request(event cloudevents.Event) *http.Request {
	r := functiontest.Request("/"+namespace+"/default", event)
	r.Host = manifest.BrokerIngressHost
	return r
}
