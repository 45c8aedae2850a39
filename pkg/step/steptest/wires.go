package steptest

import (
	"slices"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/eventing/pkg/eventfilter"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/xos-knative/synchronizer/pkg/local/broker"
	"github.com/xos-knative/synchronizer/pkg/local/manifest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// CheckWires checks that the function gets the events that it has steps for, and no others. It reads
// the YAML files in the directories, strictly, and compares the function with the definitions of the
// models and with the Triggers and PingSources that send to it. There the function is the Knative
// Service namespace/service.
func (w *World) CheckWires(namespace, service string, dirs ...string) {
	w.Helper()
	set, err := manifest.Load(manifest.Options{Dirs: dirs})
	if err != nil {
		w.Fatalf("the resources are not valid:\n%v", err)
	}
	c := wires{w, set, manifest.ServiceURL(namespace, service).String(), namespace}
	for _, work := range w.Function.Work() {
		c.check(work)
	}
	c.checkTriggers()
}

type wires struct {
	*World
	set *manifest.Set
	// url of the function in a cluster.
	url       string
	namespace string
}

// check checks that something wakes a step.
func (c wires) check(work step.Work) {
	c.Helper()
	switch work.Step {
	case "pull":
		if !slices.ContainsFunc(c.set.PingSources, func(p *sourcesv1.PingSource) bool { return c.isFunction(p.Spec.Sink, p.Namespace) }) {
			c.Errorf("pull: no PingSource has %s as its sink", c.url)
		}
	case "event":
		for _, t := range work.EventTypes {
			if len(c.passing(Event(t, nil))) == 0 {
				c.Errorf("event: no Trigger lets events of type %s through to %s", t, c.url)
			}
		}
	default:
		k, err := c.Models.Kind(c.Context(), work.GroupKind)
		if err != nil {
			c.Fatal(err)
		}
		if !k.Has(model.Step(work.Step)) {
			c.Errorf("%s: expected it in annotation %s of the definition of %s", work.Step, model.AnnotationSteps, work.GroupKind)
		}
		if n := len(c.passing(c.wake(k, model.Step(work.Step), c.namespace))); n != 1 {
			c.Errorf("%s: expected one Trigger that sends events about %s to %s, got %d", work.Step, work.GroupKind, c.url, n)
		}
	}
}

// checkTriggers checks that no Trigger sends events that the function has no step for.
func (c wires) checkTriggers() {
	c.Helper()
	kinds, err := c.Models.Kinds(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	for _, k := range kinds {
		for _, s := range model.Steps() {
			here := slices.ContainsFunc(c.Function.Work(), func(work step.Work) bool {
				return work.Step == string(s) && work.GroupKind == k.GVK.GroupKind()
			})
			for _, namespace := range []string{c.namespace, "elsewhere"} {
				if here && namespace == c.namespace {
					continue
				}
				for _, t := range c.passing(c.wake(k, s, namespace)) {
					c.Errorf("Trigger %s sends events for %s of %s in namespace %s to %s, which has no such step there", t, s, k.GVK.Kind, namespace, c.url)
				}
			}
		}
	}
}

// wake is the event that the model source sends for an object of the kind.
func (c wires) wake(k *model.Kind, s model.Step, namespace string) cloudevents.Event {
	obj := &model.Snapshot{Kind: k, ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "name", UID: "uid", Generation: 1}}
	return obj.WakeEvent(s, 1, time.Time{}.Add(time.Hour))
}

// passing lists the Triggers that send the event to the function.
func (c wires) passing(event cloudevents.Event) (names []string) {
	for _, t := range c.set.Triggers {
		if c.isFunction(t.Spec.Subscriber, t.Namespace) && c.passes(t, event) {
			names = append(names, t.Namespace+"/"+t.Name)
		}
	}
	return names
}

func (c wires) passes(t *eventingv1.Trigger, event cloudevents.Event) bool {
	return broker.NewFilter(t.Spec.Filters, zap.NewNop()).Filter(c.Context(), event) != eventfilter.FailFilter
}

// isFunction reports whether a sink or a subscriber in the namespace is the function.
func (c wires) isFunction(d duckv1.Destination, namespace string) bool {
	u, err := c.set.Resolve(d, namespace)
	if err != nil {
		c.Fatal(err) // Load has resolved it.
	}
	return u.String() == c.url
}
