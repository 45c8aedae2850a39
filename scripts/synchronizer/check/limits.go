package check

import (
	"fmt"
	"reflect"
	"time"

	"github.com/robfig/cron/v3"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/eventing/pkg/kncloudevents"

	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	pkgfunction "github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/step"
)

const (
	// storing is how long it may take to write the outcome of a step, after the step.
	storing = 10 * time.Second
	// defaultTimeout is the timeoutSeconds of Knative Serving.
	defaultTimeout = 300 * time.Second
)

// limits checks the chain of time limits: a step has ended and its outcome is stored before anybody else loses patience.
func (c *checker) limits() {
	for _, b := range own[*eventingv1.Broker](c) {
		c.deliveryTimeout(b.Resource, b.obj.Spec.Delivery)
	}
	for _, t := range c.ownTriggers() {
		c.deliveryTimeout(t.Resource, t.obj.Spec.Delivery)
	}
	for _, f := range c.ownFunctions() {
		c.functionLimits(f)
	}
	for _, p := range own[*sourcesv1.PingSource](c) {
		c.period(p)
	}
}

func (c *checker) deliveryTimeout(r Resource, d *eventingduckv1.DeliverySpec) {
	if d == nil || d.Timeout == nil {
		return // What is missing is found by deliveries.
	}
	config, err := kncloudevents.RetryConfigFromDeliverySpec(*d)
	if err != nil || config.RequestTimeout > step.Deadline {
		return
	}
	c.report(r, Finding{Field: "spec.delivery.timeout", Expected: fmt.Sprintf("more than %s, a step's deadline", step.Deadline), Found: *d.Timeout,
		Fix: "raise it: the event would be delivered again while the step still runs"})
}

// functionLimits checks how long a request to a function may take, and how long its pod goes on after it was told to end.
func (c *checker) functionLimits(f function) {
	if f.Description == nil && !c.isReached(f) {
		return
	}
	drain, err := drainOf(f)
	if err != nil {
		c.report(f.Resource, Finding{Field: "spec.template.spec.containers[0].env[DRAIN_TIMEOUT]", Expected: "a duration such as 27s", Found: err.Error(), Fix: "correct it"})
		return
	}
	if drain <= step.Deadline {
		c.report(f.Resource, Finding{Field: "spec.template.spec.containers[0].env[DRAIN_TIMEOUT]", Expected: fmt.Sprintf("more than %s, a step's deadline", step.Deadline), Found: drain.String(),
			Fix: "raise it: a step is cut off when its pod ends"})
	}
	least, why := step.Deadline+storing, "a step's deadline and the storing of its outcome"
	if ends := drain + pkgfunction.LastTimeout; ends > least {
		least, why = ends, "the drain timeout and what comes after it"
	}
	if f.has("pull") && step.PullDeadline > least {
		least, why = step.PullDeadline, "the deadline of a pull round"
	}
	timeout := defaultTimeout
	if s := f.obj.Spec.Template.Spec.TimeoutSeconds; s != nil {
		timeout = time.Duration(*s) * time.Second
	}
	if timeout <= least {
		c.report(f.Resource, Finding{Field: "spec.template.spec.timeoutSeconds", Expected: fmt.Sprintf("more than %.0f, %s", least.Seconds(), why), Found: fmt.Sprintf("%.0f", timeout.Seconds()),
			Fix: "raise it: Knative gives up the request while it is worked on"})
	}
}

// drainOf is how long a function lets requests under way go on after it was told to end.
func drainOf(f function) (time.Duration, error) {
	value := ""
	field, ok := reflect.TypeFor[pkgfunction.Settings]().FieldByName("DrainTimeout")
	if ok {
		value = field.Tag.Get("default")
	}
	if v, ok := envOf(f.obj)[field.Tag.Get("envconfig")]; ok {
		value = v
	}
	return time.ParseDuration(value)
}

// envOf are the environment variables of a function with a value of their own.
func envOf(s *servingv1.Service) map[string]string {
	env := map[string]string{}
	for _, e := range containerOf(s).Env {
		if e.ValueFrom == nil {
			env[e.Name] = e.Value
		}
	}
	return env
}

// period checks that a pull round has ended before the next tick.
func (c *checker) period(p of[*sourcesv1.PingSource]) {
	parser := cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	schedule, err := parser.Parse(p.obj.Spec.Schedule)
	if err != nil {
		c.report(p.Resource, Finding{Field: "spec.schedule", Expected: "a schedule such as \"*/5 * * * *\"", Found: err.Error(), Fix: "correct it"})
		return
	}
	first := schedule.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if period := schedule.Next(first).Sub(first); period <= step.PullDeadline {
		c.report(p.Resource, Finding{Severity: Warning, Field: "spec.schedule", Expected: fmt.Sprintf("a period of more than %s, the deadline of a pull round", step.PullDeadline), Found: fmt.Sprintf("%q, a period of %s", p.obj.Spec.Schedule, period),
			Fix: "tick less often, unless the rounds are short: a tick during a round is skipped"})
	}
}
