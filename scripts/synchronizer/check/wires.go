package check

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/eventing/pkg/eventfilter"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/xos-knative/synchronizer/pkg/local/broker"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// fixMissing is for what refers to an object that is not there.
const fixMissing = "correct namespace and name, or check the directory that has it together with this one"

// trigger is a Trigger, with its filter as Knative evaluates it.
type trigger struct {
	of[*eventingv1.Trigger]
	filter eventfilter.Filter
}

func newTrigger(t of[*eventingv1.Trigger]) trigger {
	return trigger{t, broker.NewFilter(filtersOf(t.obj), zap.NewNop())}
}

// ownTriggers are those of the synchronizer.
func (c *checker) ownTriggers() []trigger {
	return slices.DeleteFunc(slices.Clone(c.triggers), func(t trigger) bool { return t.Core })
}

const (
	// elsewhere stands for any namespace that nothing names.
	elsewhere = "a-namespace-elsewhere"
	// otherType stands for any type of event that nothing names.
	otherType = "a.type.of.others"
	// replyType is what a function of models replies with; see the EventTypes of the core.
	replyType = "dev.xos-knative.model.synced"
)

// modelTypes are the types of events of the model source.
var modelTypes = []string{model.EventCreated, model.EventUpdated, model.EventDeleted}

// wires checks that events reach the steps that they are for, and nobody else.
func (c *checker) wires() {
	for _, t := range c.ownTriggers() {
		before := len(c.findings)
		c.trigger(t)
		if len(c.findings) > before {
			c.flawed.Insert(t.obj)
		}
	}
	c.doubles()
	for _, f := range c.ownFunctions() {
		if f.Description == nil {
			continue
		}
		for _, d := range f.Steps {
			c.reached(f, d)
		}
	}
	c.unreached()
	c.sources()
}

// trigger checks one Trigger by itself.
func (c *checker) trigger(t trigger) {
	if _, ok := lookup[*eventingv1.Broker](c, t.obj.Namespace, t.obj.Spec.Broker); !ok && !c.unread("brokers.eventing.knative.dev", t.obj.Namespace) {
		c.report(t.Resource, Finding{Field: "spec.broker", Expected: "a Broker in the Trigger's own namespace " + t.obj.Namespace, Found: fmt.Sprintf("%q, which is not there", t.obj.Spec.Broker),
			Fix: fmt.Sprintf("put a Trigger for models into namespace %s, and one for what micro-services publish into that of Broker events", System)})
		return
	}
	if problem := c.missing(t.obj.Spec.Subscriber, t.obj.Namespace); problem != "" {
		c.report(t.Resource, Finding{Field: "spec.subscriber", Expected: "a function that is there", Found: problem, Fix: fixMissing})
		return
	}
	f, known := c.subscriber(t)
	if !onModels(t) {
		if known {
			c.eventTrigger(t, f)
		}
		return
	}
	if c.leaves(t) {
		return
	}
	for _, namespace := range c.namespaces {
		for _, k := range c.models {
			if c.lets(t, k, "", namespace) {
				c.report(t.Resource, Finding{Field: "spec.filters", Expected: "a filter on attribute step, which only events of the model source have", Found: "filters that the replies of functions pass",
					Fix: "add `exact: {step: sync}`, or policy: replies would wake the function again"})
				return
			}
		}
	}
	if held := c.holdsBack(t); held != "" {
		c.report(t.Resource, Finding{Field: "spec.filters", Expected: "filters that let all types of events of the model source through", Found: "filters that hold " + held + " back",
			Fix: "take the filter on type out: a step is for new, changed and deleted objects"})
		return
	}
	c.modelTrigger(t, f, known)
}

// holdsBack lists the types of events that a Trigger of Broker models does not let through while it does others.
func (c *checker) holdsBack(t trigger) string {
	if !hasExpression(t.obj.Spec.Filters) && !slices.ContainsFunc(leavesOf(t.obj), func(l leaf) bool { return l.attribute == "type" }) {
		return ""
	}
	for _, k := range c.models {
		for _, s := range k.Steps {
			for _, namespace := range c.namespaces {
				held := slices.DeleteFunc(slices.Clone(modelTypes), func(typ string) bool {
					event := wake(k, s, namespace)
					event.SetType(typ)
					return passes(t, event)
				})
				if len(held) > 0 && len(held) < len(modelTypes) {
					return list(held)
				}
			}
		}
	}
	return ""
}

// modelTrigger compares a Trigger on Broker models with the steps that the kinds have, and with those of its function.
func (c *checker) modelTrigger(t trigger, f function, known bool) {
	reaches, everywhere := false, false
	wrong := sets.New[string]()
	for _, k := range c.models {
		for _, s := range model.Steps() {
			for _, namespace := range c.namespaces {
				if !c.lets(t, k, s, namespace) {
					continue
				}
				has := f.stepOf(s, k.GVK.GroupKind()) != nil
				reaches = reaches || has || k.Has(s)
				everywhere = everywhere || namespace == elsewhere && k.Has(s)
				if known && f.Description != nil && !has && k.Has(s) {
					wrong.Insert(fmt.Sprintf("%s of %s", s, k.GVK.Kind))
				}
			}
		}
	}
	switch {
	case !reaches && !c.unread("customresourcedefinitions.apiextensions.k8s.io", ""):
		c.report(t.Resource, Finding{Field: "spec.filters", Expected: "filters that events of a step that a kind has pass", Found: "filters that let none of them through",
			Fix: "compare them with annotation " + model.AnnotationSteps + " of the definitions"})
	case len(wrong) > 0:
		c.report(t.Resource, Finding{Field: "spec.filters", Expected: "events of steps that function " + f.obj.Name + " has", Found: list(sets.List(wrong)),
			Fix: "take them out of the filters, or add the steps to the function"})
	case everywhere && known && f.obj.Namespace != System && !c.mayEverywhere(f):
		c.report(t.Resource, Finding{Field: "spec.filters", Expected: "a filter on attribute namespace", Found: "events about models of all namespaces, where the account of function " + f.obj.Name + " has no rights",
			Fix: fmt.Sprintf("add `exact: {namespace: %s}`, or give the account its rights in all namespaces", f.obj.Namespace)})
	}
}

// eventTrigger compares a Trigger on another Broker with the event steps of its function.
func (c *checker) eventTrigger(t trigger, f function) {
	if f.Description == nil {
		return
	}
	handled := f.eventTypes()
	field, found := "spec.filters", ""
	for _, l := range leavesOf(t.obj) {
		if l.attribute == "type" && !slices.Contains(handled, l.value) {
			field, found = l.path, l.value
		}
	}
	switch {
	case len(handled) == 0:
		c.report(t.Resource, Finding{Field: "spec.subscriber", Expected: "a function with event steps", Found: f.obj.Name + ", which has none",
			Fix: "send the events to the function that handles them"})
	case found != "":
		c.report(t.Resource, Finding{Field: field, Expected: "a type that function " + f.obj.Name + " has an event step for (" + list(handled) + ")", Found: found,
			Fix: "correct it, or add the step to the function"})
	case passes(t, published(t, otherType)):
		c.report(t.Resource, Finding{Field: "spec.filters", Expected: "a filter on attribute type", Found: "filters that events of any type pass, also the function's own replies",
			Fix: "name what function " + f.obj.Name + " handles: " + list(handled)})
	}
}

// doubles finds events about models that two Triggers send to steps.
func (c *checker) doubles() {
	type pair struct{ a, b string }
	said := map[pair]bool{}
	for _, k := range c.models {
		for _, s := range model.Steps() {
			if !k.Has(s) {
				continue
			}
			for _, namespace := range c.namespaces {
				passing := c.passing(k, s, namespace)
				if len(passing) < 2 {
					continue
				}
				i := max(slices.IndexFunc(passing, func(t trigger) bool { return !t.Core }), 0)
				t := passing[i]
				other := passing[(i+1)%len(passing)]
				p := pair{t.obj.Name, other.obj.Name}
				if said[p] || c.flawed.HasAny(t.obj, other.obj) {
					continue
				}
				said[p] = true
				c.report(t.Resource, Finding{Field: "spec.filters", Expected: "one Trigger for each step of a kind in a namespace", Found: fmt.Sprintf("Trigger %s, which sends events for %s of %s too", other.obj.Name, s, k.GVK.Kind),
					Fix: "take one of them away, or tell them apart by their filters: the step would run twice"})
			}
		}
	}
}

// reached checks that something wakes a step of a function.
func (c *checker) reached(f function, d step.Described) {
	finding := Finding{Field: fieldImage}
	switch d.Step {
	case "pull":
		if !c.isPinged(f) && !c.unread("pingsources.sources.knative.dev", f.obj.Namespace) {
			c.report(f.Resource, Finding{Field: fieldImage, Expected: "a PingSource for the program's pull step", Found: "none whose sink is this Service", Fix: "add one, for example with schedule \"*/5 * * * *\""})
		}
		return
	case "event":
		c.reachedByTypes(f, d)
		return
	}
	s, gk := model.Step(d.Step), d.GroupKind()
	k, ok := c.kindOf(gk)
	switch {
	case !ok && (c.isDefined(gk) || c.unread("customresourcedefinitions.apiextensions.k8s.io", "")):
		return // The definition has a finding of its own.
	case !ok:
		finding.Expected, finding.Found = "a definition of "+gk.String()+", for which the program has a "+d.Step+" step", "none"
		finding.Fix = "add the definition, or take the step out"
	case !k.Has(s):
		finding.Expected, finding.Found = fmt.Sprintf("%s in annotation %s of the definition of %s, for which the program has a %s step", s, model.AnnotationSteps, gk.Kind, s), quoted(k)
		finding.Fix = "add the step to the annotation, or take it out of the program: it is never called"
	case !slices.Contains(k.Versions, d.Version):
		finding.Expected, finding.Found = fmt.Sprintf("a Go type of a version of %s that is served (%s)", gk.Kind, list(k.Versions)), "one of version "+d.Version+" for step "+d.Step
		finding.Fix = "serve that version, or write the step for one that is served"
	case c.anyTrigger(k, s) || c.unread("triggers.eventing.knative.dev", System) || c.hasFlawed(f):
		return // Where it leads to was looked at.
	default:
		finding.Expected, finding.Found = fmt.Sprintf("a Trigger of Broker %s that sends events for %s of %s here", modelsBroker, s, gk.Kind), "none"
		finding.Fix = fmt.Sprintf("add one in namespace %s with filters on namespace, step: %s and kind: %s", System, s, gk.Kind)
	}
	c.report(f.Resource, finding)
}

// quoted is the annotation of a kind's steps.
func quoted(k kind) string {
	return fmt.Sprintf("%q", k.definition.obj.Annotations[model.AnnotationSteps])
}

// reachedByTypes checks that a Trigger lets each of the types of an event step through.
func (c *checker) reachedByTypes(f function, d step.Described) {
	if c.unread("triggers.eventing.knative.dev", f.obj.Namespace) || c.hasFlawed(f) {
		return
	}
	if slices.ContainsFunc(all[*unstructured.Unstructured](c), func(o of[*unstructured.Unstructured]) bool { return c.sourceLeadsTo(o.obj, f) }) {
		return // Which types it sends is not known.
	}
	c.doublesOf(f, d)
	missing := slices.DeleteFunc(slices.Clone(d.EventTypes), func(typ string) bool {
		return slices.ContainsFunc(c.triggers, func(t trigger) bool {
			// One with a finding may lead to another function by mistake.
			return !onModels(t) && (c.leadsTo(t.obj.Spec.Subscriber, t.obj.Namespace, f) || c.flawed.Has(t.obj)) && mayPass(t, typ)
		})
	})
	if len(missing) > 0 {
		c.report(f.Resource, Finding{Field: fieldImage, Expected: "a Trigger that lets events of type " + list(missing) + " through to the program's event step", Found: "none",
			Fix: "add the type to the filters of its Trigger, or add a Trigger"})
	}
}

// doublesOf finds types that two Triggers of one Broker send to an event step.
func (c *checker) doublesOf(f function, d step.Described) {
	triggers := slices.DeleteFunc(slices.Clone(c.triggers), func(t trigger) bool {
		return onModels(t) || !c.leadsTo(t.obj.Spec.Subscriber, t.obj.Namespace, f)
	})
	for i, t := range triggers {
		for _, other := range triggers[:i] {
			for _, typ := range d.EventTypes {
				event := published(t, typ)
				if t.obj.Namespace != other.obj.Namespace || t.obj.Spec.Broker != other.obj.Spec.Broker || !passes(t, event) || !passes(other, event) {
					continue
				}
				c.report(t.Resource, Finding{Field: "spec.filters", Expected: "one Trigger for each type of event", Found: fmt.Sprintf("Trigger %s, which sends events of type %s to function %s too", other.obj.Name, typ, f.obj.Name),
					Fix: "take one of them away, or tell them apart by their filters: the step would run twice"})
				break
			}
		}
	}
}

// sourceLeadsTo reports whether a source or a subscription of a kind that is not looked at leads to a function.
func (c *checker) sourceLeadsTo(u *unstructured.Unstructured, f function) bool {
	for _, field := range []string{"sink", "subscriber"} {
		var d duckv1.Destination
		content, ok, err := unstructured.NestedMap(u.Object, "spec", field)
		if err != nil || !ok || runtime.DefaultUnstructuredConverter.FromUnstructured(content, &d) != nil {
			continue
		}
		if c.leadsTo(d, u.GetNamespace(), f) {
			return true
		}
	}
	return false
}

// unreached finds steps of kinds that no function has and no Trigger leads to.
func (c *checker) unreached() {
	if c.unread("triggers.eventing.knative.dev", System) {
		return
	}
	for _, k := range c.models {
		for _, s := range k.Steps {
			has := slices.ContainsFunc(c.programs, func(f function) bool { return f.stepOf(s, k.GVK.GroupKind()) != nil })
			if k.definition.Core || has || c.anyTrigger(k, s) || c.flawedFor(k, s) {
				continue
			}
			c.report(k.definition.Resource, Finding{Field: "metadata.annotations[" + model.AnnotationSteps + "]", Expected: fmt.Sprintf("steps that a Trigger of Broker %s sends events for", modelsBroker), Found: fmt.Sprintf("%s, which no Trigger leads to", s),
				Fix: "add the step to a function and a Trigger for it, or take it out of the annotation: its objects never become Ready"})
		}
	}
}

// flawedFor reports whether a Trigger with a finding may be meant for a step of a kind.
func (c *checker) flawedFor(k kind, s model.Step) bool {
	for t := range c.flawed {
		kinds, steps := false, false
		for _, l := range leavesOf(t) {
			kinds = kinds || l.attribute == model.ExtensionKind && l.value == k.GVK.Kind
			steps = steps || l.attribute == model.ExtensionStep && l.value == string(s)
		}
		if kinds || steps {
			return true
		}
	}
	return false
}

// hasFlawed reports whether one of the Triggers that lead to a function has a finding, or one that leads nowhere: that
// is why the function gets nothing.
func (c *checker) hasFlawed(f function) bool {
	for t := range c.flawed {
		if c.leadsTo(t.Spec.Subscriber, t.Namespace, f) || c.missing(t.Spec.Subscriber, t.Namespace) != "" {
			return true
		}
	}
	return false
}

// anyTrigger reports whether a Trigger lets events for a step of a kind through, in any namespace.
func (c *checker) anyTrigger(k kind, s model.Step) bool {
	return slices.ContainsFunc(c.namespaces, func(namespace string) bool { return len(c.passing(k, s, namespace)) > 0 })
}

// sources checks what sends events without a Broker, and what sends them to one.
func (c *checker) sources() {
	for _, p := range own[*sourcesv1.PingSource](c) {
		for _, f := range c.programs {
			if c.leadsTo(p.obj.Spec.Sink, p.obj.Namespace, f) && f.Description != nil && !f.has("pull") {
				c.report(p.Resource, Finding{Field: "spec.sink", Expected: "a function with a pull step", Found: f.obj.Name + ", which has none", Fix: "lead the ticks to the function that pulls, or delete the PingSource"})
			}
		}
		c.sink(p.Resource, p.obj.Spec.Sink)
	}
	for _, s := range own[*sourcesv1.ContainerSource](c) {
		c.sink(s.Resource, s.obj.Spec.Sink)
	}
	for _, b := range own[*sourcesv1.SinkBinding](c) {
		c.sink(b.Resource, b.obj.Spec.Sink)
		subject := b.obj.Spec.Subject
		if _, ok := lookup[*appsv1.Deployment](c, cmp.Or(subject.Namespace, b.obj.Namespace), subject.Name); !ok && subject.Kind == "Deployment" && subject.Name != "" && !c.unread("deployments.apps", b.obj.Namespace) {
			c.report(b.Resource, Finding{Field: "spec.subject", Expected: "a Deployment that is there", Found: subject.Name, Fix: "correct namespace and name: it gets no K_SINK"})
		}
	}
}

// sink checks that what a source sends to is there.
func (c *checker) sink(r Resource, d duckv1.Destination) {
	if problem := c.missing(d, r.Object.GetNamespace()); problem != "" {
		c.report(r, Finding{Field: "spec.sink", Expected: "a Broker or a function that is there", Found: problem, Fix: fixMissing})
	}
}

// isPinged reports whether a PingSource leads to a function, or nowhere, which is a finding of its own.
func (c *checker) isPinged(f function) bool {
	return slices.ContainsFunc(all[*sourcesv1.PingSource](c), func(p of[*sourcesv1.PingSource]) bool {
		return c.leadsTo(p.obj.Spec.Sink, p.obj.Namespace, f) || c.missing(p.obj.Spec.Sink, p.obj.Namespace) != ""
	})
}

// isReached reports whether a Trigger or PingSource leads to a function.
func (c *checker) isReached(f function) bool {
	return c.isPinged(f) || slices.ContainsFunc(c.triggers, func(t trigger) bool { return c.leadsTo(t.obj.Spec.Subscriber, t.obj.Namespace, f) })
}

// knownNamespaces are those that events about models are tried with: those of functions, those that Triggers name, and one
// that nothing names.
func (c *checker) knownNamespaces() []string {
	found := sets.New(elsewhere)
	for _, f := range c.programs {
		found.Insert(f.obj.Namespace)
	}
	for _, t := range c.triggers {
		for _, l := range leavesOf(t.obj) {
			if l.attribute == model.ExtensionNamespace {
				found.Insert(l.value)
			}
		}
	}
	return sets.List(found)
}

// wake is the event that the model source sends for an object of the kind.
func wake(k kind, s model.Step, namespace string) cloudevents.Event {
	obj := &model.Snapshot{Kind: k.Kind, ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "name", UID: "uid", Generation: 1}}
	return obj.WakeEvent(s, 1, time.Time{}.Add(time.Hour))
}

// published is an event of a type that a Trigger's other filters let through, as far as they say what they want.
func published(t trigger, typ string) cloudevents.Event {
	event := cloudevents.NewEvent()
	event.SetID("id")
	event.SetSource("/source")
	for _, l := range leavesOf(t.obj) {
		switch l.attribute {
		case "type", "id", "specversion", "time":
		case "source":
			event.SetSource(l.value)
		case "subject":
			event.SetSubject(l.value)
		default:
			event.SetExtension(l.attribute, l.value)
		}
	}
	event.SetType(typ)
	return event
}

// mayPass reports whether events of a type pass a Trigger. What an expression makes of it is not known.
func mayPass(t trigger, typ string) bool {
	return passes(t, published(t, typ)) || hasExpression(t.obj.Spec.Filters)
}

func hasExpression(filters []eventingv1.SubscriptionsAPIFilter) bool {
	return slices.ContainsFunc(filters, func(f eventingv1.SubscriptionsAPIFilter) bool {
		return f.CESQL != "" || f.Not != nil || hasExpression(f.Any) || hasExpression(f.All)
	})
}

// filtersOf are a Trigger's filters. The older spec.filter counts if there are no others.
func filtersOf(t *eventingv1.Trigger) []eventingv1.SubscriptionsAPIFilter {
	if len(t.Spec.Filters) == 0 && t.Spec.Filter != nil && len(t.Spec.Filter.Attributes) > 0 {
		return []eventingv1.SubscriptionsAPIFilter{{Exact: t.Spec.Filter.Attributes}}
	}
	return t.Spec.Filters
}

// passes asks the filter that Knative would ask.
func passes(t trigger, event cloudevents.Event) bool {
	return t.filter.Filter(context.Background(), event) != eventfilter.FailFilter
}

// sent is what the model source sends for objects of a kind in a namespace, or with no step what a function replies.
type sent struct {
	kind      schema.GroupKind
	step      model.Step
	namespace string
}

// passing are the Triggers of Broker models that let an event through. Each is asked once.
func (c *checker) passing(k kind, s model.Step, namespace string) []trigger {
	key := sent{k.GVK.GroupKind(), s, namespace}
	if found, ok := c.passed[key]; ok {
		return found
	}
	event := wake(k, s, namespace)
	if s == "" {
		event.SetType(replyType)
		event.SetExtension(model.ExtensionStep, nil)
	}
	found := slices.DeleteFunc(slices.Clone(c.triggers), func(t trigger) bool { return !onModels(t) || !passes(t, event) })
	c.passed[key] = found
	return found
}

// lets reports whether a Trigger of Broker models lets an event through.
func (c *checker) lets(t trigger, k kind, s model.Step, namespace string) bool {
	return slices.ContainsFunc(c.passing(k, s, namespace), func(other trigger) bool { return other.obj == t.obj })
}

// onModels reports whether a Trigger is one of the core's Broker.
func onModels(t trigger) bool {
	return t.obj.Namespace == System && t.obj.Spec.Broker == modelsBroker
}

// leaf is an attribute and its value that a filter asks for.
type leaf struct{ path, attribute, value string }

// leavesOf are all attributes that a Trigger's filters ask for, also where others would do.
func leavesOf(t *eventingv1.Trigger) []leaf {
	found := leavesIn("spec.filters", filtersOf(t))
	for i := range found {
		if len(t.Spec.Filters) == 0 {
			found[i].path = "spec.filter.attributes." + found[i].attribute
		}
	}
	return found
}

func leavesIn(path string, filters []eventingv1.SubscriptionsAPIFilter) (found []leaf) {
	for i, f := range filters {
		at := fmt.Sprintf("%s[%d]", path, i)
		for _, name := range slices.Sorted(maps.Keys(f.Exact)) {
			found = append(found, leaf{at + ".exact." + name, name, f.Exact[name]})
		}
		found = slices.Concat(found, leavesIn(at+".any", f.Any), leavesIn(at+".all", f.All))
	}
	return found
}

// attributes of events about models, besides step, kind, namespace and type.
var attributes = sets.New("id", "source", "specversion", "subject", "time", "datacontenttype", model.ExtensionName, model.ExtensionUID, model.ExtensionGeneration, model.ExtensionPartitionKey, model.ExtensionCount)

// leaves finds attributes that a Trigger of Broker models asks for and that no event has.
func (c *checker) leaves(t trigger) (found bool) {
	kinds, namespaces := sets.New[string](), sets.New[string]()
	for _, k := range c.models {
		kinds.Insert(k.GVK.Kind)
	}
	for _, n := range all[*corev1.Namespace](c) {
		namespaces.Insert(n.obj.Name)
	}
	for _, f := range c.programs {
		namespaces.Insert(f.obj.Namespace)
	}
	for _, l := range leavesOf(t.obj) {
		var expected string
		switch l.attribute {
		case model.ExtensionKind:
			if !kinds.Has(l.value) && !c.unread("customresourcedefinitions.apiextensions.k8s.io", "") && !c.isDefinedKind(l.value) {
				expected = "the kind of a model (" + list(sets.List(kinds)) + ")"
			}
		case model.ExtensionNamespace:
			if !namespaces.Has(l.value) && !c.unread("namespaces", "") {
				expected = "a namespace that is there (" + list(sets.List(namespaces)) + ")"
			}
		case model.ExtensionStep:
			if !slices.Contains(model.Steps(), model.Step(l.value)) {
				expected = "sync or policy"
			}
		case "type":
			if !slices.Contains(modelTypes, l.value) {
				expected = "a type that the model source sends (" + list(modelTypes) + ")"
			}
		default:
			if !attributes.Has(l.attribute) {
				expected = "an attribute of events about models (step, kind, namespace, type, " + list(sets.List(attributes)) + ")"
				l.value = l.attribute
			}
		}
		if expected != "" {
			found = true
			c.report(t.Resource, Finding{Field: l.path, Expected: expected, Found: l.value, Fix: "correct it: no event passes this filter"})
		}
	}
	return found
}

// isDefinedKind reports whether a definition has the kind. If it is no model, that is a finding of the definition.
func (c *checker) isDefinedKind(name string) bool {
	return slices.ContainsFunc(all[*apiextensionsv1.CustomResourceDefinition](c), func(d definition) bool { return d.obj.Spec.Names.Kind == name })
}

// subscriber is the function that a Trigger leads to.
func (c *checker) subscriber(t trigger) (function, bool) {
	for _, f := range c.programs {
		if c.leadsTo(t.obj.Spec.Subscriber, t.obj.Namespace, f) {
			return f, true
		}
	}
	return function{}, false
}

// leadsTo reports whether a destination that a resource in a namespace gives is a function.
func (*checker) leadsTo(d duckv1.Destination, namespace string, f function) bool {
	if d.Ref == nil {
		return d.URI != nil && d.URI.Host == f.obj.Name+"."+f.obj.Namespace+".svc.cluster.local"
	}
	return d.Ref.Kind == "Service" && groupOf(d.Ref) == "serving.knative.dev" && cmp.Or(d.Ref.Namespace, namespace) == f.obj.Namespace && d.Ref.Name == f.obj.Name
}

func groupOf(ref *duckv1.KReference) string {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return ref.APIVersion
	}
	return cmp.Or(ref.Group, gv.Group)
}

// missing says that what a destination refers to is not there, empty if it is, or if that cannot be known.
func (c *checker) missing(d duckv1.Destination, namespace string) string {
	if d.Ref == nil {
		return ""
	}
	ns := cmp.Or(d.Ref.Namespace, namespace)
	ok, resource := true, ""
	switch groupOf(d.Ref) + " " + d.Ref.Kind {
	case "serving.knative.dev Service":
		_, ok = c.functionAt(ns, d.Ref.Name)
		resource = "services.serving.knative.dev"
	case " Service":
		_, ok = lookup[*corev1.Service](c, ns, d.Ref.Name)
		resource = "services"
	case "eventing.knative.dev Broker":
		_, ok = lookup[*eventingv1.Broker](c, ns, d.Ref.Name)
		resource = "brokers.eventing.knative.dev"
	}
	if ok || c.unread(resource, ns) {
		return ""
	}
	return fmt.Sprintf("%s %s/%s, which is not there", strings.TrimSpace(d.Ref.Kind), ns, d.Ref.Name)
}
