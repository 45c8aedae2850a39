package check

import (
	"strings"

	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/kncloudevents"
)

// deliveries checks that the delivery of Brokers and Triggers is complete: what is not said is Knative's default, which
// is not made for steps. A Trigger's block replaces its Broker's as a whole.
func (c *checker) deliveries() {
	for _, b := range own[*eventingv1.Broker](c) {
		c.delivery(b.Resource, b.obj.Spec.Delivery, b.obj.Namespace, b.obj.Namespace != System)
	}
	for _, t := range c.ownTriggers() {
		b, ok := lookup[*eventingv1.Broker](c, t.obj.Namespace, t.obj.Spec.Broker)
		switch {
		case !ok && !c.unread("brokers.eventing.knative.dev", t.obj.Namespace): // Found by wires.
		case t.obj.Spec.Delivery != nil:
			c.delivery(t.Resource, t.obj.Spec.Delivery, t.obj.Namespace, !onModels(t))
		case ok && b.Core && b.obj.Spec.Delivery == nil:
			c.delivery(t.Resource, nil, t.obj.Namespace, !onModels(t))
		}
	}
}

// delivery checks one delivery block. One for what micro-services publish needs a sink for what cannot be delivered.
func (c *checker) delivery(r Resource, d *eventingduckv1.DeliverySpec, namespace string, published bool) {
	var missing []string
	if d == nil {
		d = &eventingduckv1.DeliverySpec{}
	}
	for _, f := range []struct {
		name  string
		unset bool
	}{
		{"retry", d.Retry == nil}, {"backoffPolicy", d.BackoffPolicy == nil}, {"backoffDelay", d.BackoffDelay == nil}, {"timeout", d.Timeout == nil},
		{"deadLetterSink", published && d.DeadLetterSink == nil},
	} {
		if f.unset {
			missing = append(missing, f.name)
		}
	}
	const field = "spec.delivery"
	if len(missing) > 0 {
		expected := "retry, backoffPolicy, backoffDelay and timeout"
		if published {
			expected = "retry, backoffPolicy, backoffDelay, timeout and deadLetterSink"
		}
		c.report(r, Finding{Field: field, Expected: expected, Found: "no " + strings.Join(missing, ", "), Fix: "say it here; a Trigger's delivery replaces that of its Broker as a whole"})
	}
	if _, err := kncloudevents.RetryConfigFromDeliverySpec(*d); err != nil {
		c.report(r, Finding{Field: field, Expected: "times in ISO 8601, such as PT0.5S", Found: err.Error(), Fix: "correct it"})
	}
	c.deadLetterSink(r, d, namespace)
}

// deadLetterSink checks that what cannot be delivered is kept.
func (c *checker) deadLetterSink(r Resource, d *eventingduckv1.DeliverySpec, namespace string) {
	sink := d.DeadLetterSink
	if sink == nil {
		return
	}
	const field = "spec.delivery.deadLetterSink"
	if problem := c.missing(*sink, namespace); problem != "" {
		c.report(r, Finding{Field: field, Expected: "a function that is there", Found: problem, Fix: fixMissing})
		return
	}
	f, ok := c.functionAt(System, deadletter)
	if !ok || !c.leadsTo(*sink, namespace, f) {
		return
	}
	if want, got := "/letters/"+namespace, sink.URI.String(); got != want {
		c.report(r, Finding{Field: field + ".uri", Expected: want, Found: quote(got), Fix: "correct it: function deadletter keeps the event in the namespace that the path names"})
	}
}
