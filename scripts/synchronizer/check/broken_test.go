package check_test

import (
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/check"
)

var definitions = map[string]breakage{
	"a step in the annotation that no function has": {func(w *world) {
		edit(w, services, func(d definition) { annotate(d, model.AnnotationSteps, "sync,policy") })
	},
		"CustomResourceDefinition helloworldservices.helloworld.xos-knative.dev: metadata.annotations[synchronizer.xos-knative.dev/steps]: expected steps that a Trigger of Broker models sends events for, found policy, which no Trigger leads to"},
	"a step that the annotation does not know": {func(w *world) {
		edit(w, services, func(d definition) { annotate(d, model.AnnotationSteps, "sync,polcy") })
	},
		`CustomResourceDefinition helloworldservices.helloworld.xos-knative.dev: metadata.annotations[synchronizer.xos-knative.dev/steps]: expected sync, policy or sync,policy, got "polcy"`},
	"a step of a function that the annotation does not name": {func(w *world) {
		edit(w, instances, func(d definition) { annotate(d, model.AnnotationSteps, "sync") })
	},
		`Service helloworld/policy: spec.template.spec.containers[0].image: expected policy in annotation synchronizer.xos-knative.dev/steps of the definition of HelloWorldServiceInstance, for which the program has a policy step, found "sync"`},
	"no label": {func(w *world) {
		edit(w, services, func(d definition) { d.Labels = nil })
	},
		`CustomResourceDefinition helloworldservices.helloworld.xos-knative.dev: metadata.labels: expected synchronizer.xos-knative.dev/model: "true", found no such label on a definition with a sync step in function sync`},
	"no label and no annotation": {func(w *world) {
		edit(w, services, func(d definition) { d.Labels, d.Annotations = nil, nil })
	},
		`CustomResourceDefinition helloworldservices.helloworld.xos-knative.dev: metadata.labels: expected synchronizer.xos-knative.dev/model: "true", found no such label on a definition with a sync step in function sync`},
	"not in a namespace": {func(w *world) {
		edit(w, services, func(d definition) { d.Spec.Scope = apiextensionsv1.ClusterScoped })
	},
		`CustomResourceDefinition helloworldservices.helloworld.xos-knative.dev: spec.scope: expected Namespaced, got "Cluster"`},
	"no status subresource": {func(w *world) {
		edit(w, services, func(d definition) { d.Spec.Versions[0].Subresources = nil })
	},
		"CustomResourceDefinition helloworldservices.helloworld.xos-knative.dev: spec.versions[0].subresources: expected status: {}, found no status subresource in version v1alpha1"},
	"a status that the API drops": {func(w *world) {
		edit(w, instances, func(d definition) { delete(properties(d, "status"), "policy") })
	},
		"CustomResourceDefinition helloworldserviceinstances.helloworld.xos-knative.dev: spec.versions[0].schema: expected the fields of model.Status in status, found no policy"},
	"a memory of events that the API drops": {func(w *world) {
		edit(w, instances, func(d definition) { delete(properties(d, "status"), "lastEvents") })
	},
		"CustomResourceDefinition helloworldserviceinstances.helloworld.xos-knative.dev: spec.versions[0].schema: expected the fields of model.Status in status, found no lastEvents"},
	"no category": {func(w *world) {
		edit(w, services, func(d definition) { d.Spec.Names.Categories = nil })
	},
		"CustomResourceDefinition helloworldservices.helloworld.xos-knative.dev: spec.names.categories: expected models, found none"},
	"no name for recipes": {func(w *world) {
		edit(w, services, func(d definition) { delete(properties(d, "spec"), "name") })
	},
		"CustomResourceDefinition helloworldservices.helloworld.xos-knative.dev: spec.versions[name=v1alpha1].schema: expected a field spec.name of type string, found none"},
	"a dependency on a kind that is not there": {func(w *world) {
		edit(w, instances, func(d definition) { annotate(d, model.AnnotationDependsOn, "HelloWorldServise=spec.owner.name") })
	},
		"CustomResourceDefinition helloworldserviceinstances.helloworld.xos-knative.dev: metadata.annotations[synchronizer.xos-knative.dev/depends-on]: expected the kind of a model, found HelloWorldServise.helloworld.xos-knative.dev, of which there is no definition"},
	"a dependency at a path that is not there": {func(w *world) {
		edit(w, instances, func(d definition) { annotate(d, model.AnnotationDependsOn, "HelloWorldService=spec.owner.nam") })
	},
		"CustomResourceDefinition helloworldserviceinstances.helloworld.xos-knative.dev: metadata.annotations[synchronizer.xos-knative.dev/depends-on]: expected the path of a field in version v1alpha1, the oldest one that is served, found spec.owner.nam, which is not in its schema"},
	"a dependency at a path that is no string": {func(w *world) {
		edit(w, instances, func(d definition) { annotate(d, model.AnnotationDependsOn, "HelloWorldService=spec.owner") })
	},
		"CustomResourceDefinition helloworldserviceinstances.helloworld.xos-knative.dev: metadata.annotations[synchronizer.xos-knative.dev/depends-on]: expected a field with the name of a HelloWorldService, a string, found spec.owner, which is of type object in version v1alpha1"},
	"a path that only a newer version has": {func(w *world) {
		edit(w, instances, func(d definition) {
			newer := d.Spec.Versions[0].DeepCopy()
			newer.Name = "v1"
			d.Spec.Versions = append(d.Spec.Versions, *newer)
			delete(properties(d, "spec"), "owner")
		})
	},
		"CustomResourceDefinition helloworldserviceinstances.helloworld.xos-knative.dev: metadata.annotations[synchronizer.xos-knative.dev/depends-on]: expected the path of a field in version v1alpha1, the oldest one that is served, found spec.owner.name, which is not in its schema"},
	"a circle": {func(w *world) {
		edit(w, services, func(d definition) { annotate(d, model.AnnotationDependsOn, "HelloWorldServiceInstance=spec.helloFrom") })
		edit(w, "sync", func(r role) {
			r.Rules = append(r.Rules, rbacv1.PolicyRule{APIGroups: []string{"helloworld.xos-knative.dev"}, Resources: []string{"helloworldservices"}, Verbs: []string{"delete"}})
		})
	},
		"CustomResourceDefinition helloworldserviceinstances.helloworld.xos-knative.dev: metadata.annotations[synchronizer.xos-knative.dev/depends-on]: expected no circle, found HelloWorldServiceInstance depends on HelloWorldService depends on HelloWorldServiceInstance"},
	"a report that is used and not there": {func(w *world) {
		edit(w, instances, func(d definition) { annotate(d, model.AnnotationUsesObserved, "spec.owner.name") })
	},
		"CustomResourceDefinition helloworldserviceinstances.helloworld.xos-knative.dev: metadata.annotations[synchronizer.xos-knative.dev/uses-observed]: expected a dependency on which steps report, found HelloWorldService, which has no field status.observed"},
}

var functions = map[string]breakage{
	"a step that no Trigger leads to": {func(w *world) { drop[trigger](w, "helloworld-policy") },
		"Service helloworld/policy: spec.template.spec.containers[0].image: expected a Trigger of Broker models that sends events for policy of HelloWorldServiceInstance here, found none"},
	"a step that the function has not": {func(w *world) {
		d := w.Functions[image("sync")]
		d.Steps = slices.DeleteFunc(d.Steps, func(s step.Described) bool { return s.Kind == "HelloWorldService" })
	},
		"Trigger synchronizer-system/helloworld-sync: spec.filters: expected events of steps that function sync has, found sync of HelloWorldService"},
	"a step for a kind that is not there": {func(w *world) {
		d := w.Functions[image("sync")]
		d.Steps = append(d.Steps, step.Described{Step: "sync", Group: "helloworld.xos-knative.dev", Version: "v1alpha1", Kind: "Goodbye"})
	},
		"Service helloworld/sync: spec.template.spec.containers[0].image: expected a definition of Goodbye.helloworld.xos-knative.dev, for which the program has a sync step, found none"},
	"a Go type of another version": {func(w *world) { w.Functions[image("policy")].Steps[0].Version = "v1alpha2" },
		"Service helloworld/policy: spec.template.spec.containers[0].image: expected a Go type of a version of HelloWorldServiceInstance that is served (v1alpha1), found one of version v1alpha2 for step policy"},
	"no PingSource": {func(w *world) { drop[*sourcesv1.PingSource](w, "pull") },
		"Service helloworld/pull: spec.template.spec.containers[0].image: expected a PingSource for the program's pull step, found none whose sink is this Service"},
	"a PingSource for nobody": {func(w *world) {
		edit(w, "pull", func(p *sourcesv1.PingSource) { p.Spec.Sink.Ref.Name = "poll" })
	},
		"PingSource helloworld/pull: spec.sink: expected a Broker or a function that is there, found Service helloworld/poll, which is not there"},
	"a PingSource for a function without a pull": {func(w *world) {
		other := (*sourcesv1.PingSource)(nil)
		edit(w, "pull", func(p *sourcesv1.PingSource) { other = p.DeepCopy() })
		other.Name, other.Spec.Sink.Ref.Name = "policy", "policy"
		w.Resources = append(w.Resources, check.Resource{Object: other, File: "added.yaml"})
	},
		"PingSource helloworld/policy: spec.sink: expected a function with a pull step, found policy, which has none"},
	"an event type that no Trigger lets through": {func(w *world) {
		d := w.Functions[image("event")]
		d.Steps[0].EventTypes = append(slices.Clone(d.Steps[0].EventTypes), "dev.example.more")
	},
		"Service helloworld/event: spec.template.spec.containers[0].image: expected a Trigger that lets events of type dev.example.more through to the program's event step, found none"},
	"a program that does not start": {func(w *world) {
		delete(w.Functions, image("pull"))
		w.Undescribed[image("pull")] = errors.New("GREETER_URL: expected a URL")
	},
		"Service helloworld/pull: spec.template.spec.containers[0].image: expected a program that starts with the environment of this Service, found GREETER_URL: expected a URL"},
	"a program whose settings are in a Secret": {func(w *world) {
		delete(w.Functions, image("pull"))
		w.Undescribed[image("pull")] = errors.New("GREETER_TOKEN: expected it to be set\n\tmore")
		edit(w, "pull", func(s service) {
			c := &s.Spec.Template.Spec.Containers[0]
			c.Env = append(c.Env, corev1.EnvVar{Name: "GREETER_TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "token"}}})
		})
	},
		"unchecked: " + root + "/config/helloworld/pull.yaml: Service helloworld/pull: spec.template.spec.containers[0].image: expected a program that starts with the environment of this Service, found GREETER_TOKEN: expected it to be set; what env takes"},
	"a SinkBinding to nobody": {func(w *world) {
		edit(w, "greeter", func(b *sourcesv1.SinkBinding) { b.Spec.Sink.Ref.Name = "event" })
	},
		"SinkBinding helloworld/greeter: spec.sink: expected a Broker or a function that is there, found Broker helloworld/event, which is not there"},
	"a SinkBinding of nobody": {func(w *world) {
		edit(w, "greeter", func(b *sourcesv1.SinkBinding) { b.Spec.Subject.Name = "greter" })
	},
		"SinkBinding helloworld/greeter: spec.subject: expected a Deployment that is there, found greter"},
}

var triggers = map[string]breakage{
	"a kind that is not there": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) { t.Spec.Filters[2] = exact("kind", "HelloWorldServiceInstanse") })
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters[2].exact.kind: expected the kind of a model (DeadLetter, HelloWorldService, HelloWorldServiceInstance, ServiceGraphConstraint), found HelloWorldServiceInstanse"},
	"one kind of two that is not there": {func(w *world) {
		edit(w, "helloworld-sync", func(t trigger) { t.Spec.Filters[2].Any[1] = exact("kind", "HelloWorldServiceInstanse") })
	},
		"Trigger synchronizer-system/helloworld-sync: spec.filters[2].any[1].exact.kind: expected the kind of a model (DeadLetter, HelloWorldService, HelloWorldServiceInstance, ServiceGraphConstraint), found HelloWorldServiceInstanse"},
	"a step that is not there": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) { t.Spec.Filters[1] = exact("step", "polices") })
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters[1].exact.step: expected sync or policy, found polices"},
	"a namespace that is not there": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) { t.Spec.Filters[0] = exact("namespace", "helloword") })
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters[0].exact.namespace: expected a namespace that is there (helloworld, synchronizer-system), found helloword"},
	"a type that the source does not send": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) {
			t.Spec.Filters = append(t.Spec.Filters, exact("type", "dev.xos-knative.model.changed"))
		})
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters[3].exact.type: expected a type that the model source sends (dev.xos-knative.model.created, dev.xos-knative.model.updated, dev.xos-knative.model.deleted), found dev.xos-knative.model.changed"},
	"a filter on one type of three": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) { t.Spec.Filters = append(t.Spec.Filters, exact("type", model.EventUpdated)) })
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters: expected filters that let all types of events of the model source through, found filters that hold dev.xos-knative.model.created, dev.xos-knative.model.deleted back"},
	"an expression that holds deletions back": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) {
			t.Spec.Filters = append(t.Spec.Filters, eventingv1.SubscriptionsAPIFilter{CESQL: "type <> '" + model.EventDeleted + "'"})
		})
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters: expected filters that let all types of events of the model source through, found filters that hold dev.xos-knative.model.deleted back"},
	"an attribute that is not there": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) { t.Spec.Filters[2] = exact("kin", "HelloWorldServiceInstance") })
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters[2].exact.kin: expected an attribute of events about models (step, kind, namespace, type, count, datacontenttype, generation, id, name, partitionkey, source, specversion, subject, time, uid), found kin"},
	"a kind in an old filter that is not there": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) {
			t.Spec.Filters, t.Spec.Filter = nil, &eventingv1.TriggerFilter{Attributes: map[string]string{"step": "policy", "kind": "Goodbye"}}
		})
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filter.attributes.kind: expected the kind of a model ("},
	"filters that exclude each other": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) { t.Spec.Filters = append(t.Spec.Filters, exact("step", "sync")) })
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters: expected filters that events of a step that a kind has pass, found filters that let none of them through"},
	"an old filter that excludes everything": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) {
			t.Spec.Filters, t.Spec.Filter = nil, &eventingv1.TriggerFilter{Attributes: map[string]string{"step": "policy", "kind": "HelloWorldService"}}
		})
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters: expected filters that events of a step that a kind has pass, found filters that let none of them through"},
	"no filter on the step": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) { t.Spec.Filters = slices.Delete(t.Spec.Filters, 1, 2) })
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters: expected a filter on attribute step, which only events of the model source have, found filters that the replies of functions pass"},
	"no filter at all": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) { t.Spec.Filters = nil })
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters: expected a filter on attribute step, which only events of the model source have, found filters that the replies of functions pass"},
	"no filter on the kind": {func(w *world) {
		edit(w, "helloworld-sync", func(t trigger) { t.Spec.Filters = t.Spec.Filters[:2] })
	},
		"Trigger synchronizer-system/helloworld-sync: spec.filters: expected events of steps that function sync has, found sync of DeadLetter"},
	"no filter on the namespace": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) { t.Spec.Filters = t.Spec.Filters[1:] })
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters: expected a filter on attribute namespace, found events about models of all namespaces, where the account of function policy has no rights"},
	"a subscriber that is not there": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) { t.Spec.Subscriber.Ref.Name = "police" })
	},
		"Trigger synchronizer-system/helloworld-policy: spec.subscriber: expected a function that is there, found Service helloworld/police, which is not there"},
	"another function as subscriber": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) { t.Spec.Subscriber.Ref.Name = "sync" })
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters: expected events of steps that function sync has, found policy of HelloWorldServiceInstance"},
	"a Broker that is not there": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) { t.Spec.Broker = "model" })
	},
		`Trigger synchronizer-system/helloworld-policy: spec.broker: expected a Broker in the Trigger's own namespace synchronizer-system, found "model", which is not there`},
	"a Trigger in the namespace of the function": {func(w *world) {
		edit(w, "helloworld-policy", func(t trigger) { t.Namespace = "helloworld" })
	},
		`Trigger helloworld/helloworld-policy: spec.broker: expected a Broker in the Trigger's own namespace helloworld, found "models", which is not there`},
	"two Triggers for one step": {func(w *world) {
		var other trigger
		edit(w, "helloworld-policy", func(t trigger) { other = t.DeepCopy() })
		other.Name = "policy-again"
		w.Resources = append(w.Resources, check.Resource{Object: other, File: "added.yaml"})
	},
		"Trigger synchronizer-system/helloworld-policy: spec.filters: expected one Trigger for each step of a kind in a namespace, found Trigger policy-again, which sends events for policy of HelloWorldServiceInstance too"},
	"two Triggers for one type": {func(w *world) {
		var other trigger
		edit(w, "event", func(t trigger) { other = t.DeepCopy() })
		other.Name, other.Spec.Filters = "event-again", []eventingv1.SubscriptionsAPIFilter{exact("type", "dev.knative.kafka.event")}
		w.Resources = append(w.Resources, check.Resource{Object: other, File: "added.yaml"})
	},
		"Trigger helloworld/event-again: spec.filters: expected one Trigger for each type of event, found Trigger event, which sends events of type dev.knative.kafka.event to function event too"},
	"a type that the function does not handle": {func(w *world) {
		edit(w, "event", func(t trigger) {
			t.Spec.Filters[0].Any[0] = exact("type", "dev.xos-knative.helloworld.greeting.request")
		})
	},
		"Trigger helloworld/event: spec.filters[0].any[0].exact.type: expected a type that function event has an event step for (dev.knative.kafka.event, dev.xos-knative.helloworld.greeting.requested), found dev.xos-knative.helloworld.greeting.request"},
	"no filter on the type": {func(w *world) {
		edit(w, "event", func(t trigger) { t.Spec.Filters = nil })
	},
		"Trigger helloworld/event: spec.filters: expected a filter on attribute type, found filters that events of any type pass, also the function's own replies"},
	"a function without event steps": {func(w *world) {
		edit(w, "event", func(t trigger) { t.Spec.Subscriber.Ref.Name = "sync" })
	},
		"Trigger helloworld/event: spec.subscriber: expected a function with event steps, found sync, which has none"},
}

var deliveries = map[string]breakage{
	"a Broker without delivery": {func(w *world) { edit(w, "events", func(b brokerObj) { b.Spec.Delivery = nil }) },
		"Broker helloworld/events: spec.delivery: expected retry, backoffPolicy, backoffDelay, timeout and deadLetterSink, found no retry, backoffPolicy, backoffDelay, timeout, deadLetterSink"},
	"a Broker without a dead letter sink": {func(w *world) { edit(w, "events", func(b brokerObj) { b.Spec.Delivery.DeadLetterSink = nil }) },
		"Broker helloworld/events: spec.delivery: expected retry, backoffPolicy, backoffDelay, timeout and deadLetterSink, found no deadLetterSink"},
	"a Trigger without retry": {func(w *world) {
		edit(w, "helloworld-sync", func(t trigger) { t.Spec.Delivery.Retry = nil })
	},
		"Trigger synchronizer-system/helloworld-sync: spec.delivery: expected retry, backoffPolicy, backoffDelay and timeout, found no retry"},
	"a Trigger without backoff": {func(w *world) {
		edit(w, "helloworld-sync", func(t trigger) { t.Spec.Delivery.BackoffDelay, t.Spec.Delivery.BackoffPolicy = nil, nil })
	},
		"Trigger synchronizer-system/helloworld-sync: spec.delivery: expected retry, backoffPolicy, backoffDelay and timeout, found no backoffPolicy, backoffDelay"},
	"a Trigger without timeout": {func(w *world) {
		edit(w, "helloworld-sync", func(t trigger) { t.Spec.Delivery.Timeout = nil })
	},
		"Trigger synchronizer-system/helloworld-sync: spec.delivery: expected retry, backoffPolicy, backoffDelay and timeout, found no timeout"},
	"a Trigger of published events without a dead letter sink": {func(w *world) {
		edit(w, "event", func(t trigger) { t.Spec.Delivery.DeadLetterSink = nil })
	},
		"Trigger helloworld/event: spec.delivery: expected retry, backoffPolicy, backoffDelay, timeout and deadLetterSink, found no deadLetterSink"},
	"a time that is none": {func(w *world) {
		edit(w, "helloworld-sync", func(t trigger) { t.Spec.Delivery.BackoffDelay = ptr.To("500ms") })
	},
		"Trigger synchronizer-system/helloworld-sync: spec.delivery: expected times in ISO 8601, such as PT0.5S, found failed to parse Spec.BackoffDelay: expected 'P' period mark at the start: 500ms"},
	"a dead letter sink that is not there": {func(w *world) {
		edit(w, "event", func(t trigger) { t.Spec.Delivery.DeadLetterSink.Ref.Name = "deadletters" })
	},
		"Trigger helloworld/event: spec.delivery.deadLetterSink: expected a function that is there, found Service synchronizer-system/deadletters, which is not there"},
	"a dead letter sink for another namespace": {func(w *world) {
		edit(w, "events", func(b brokerObj) { b.Spec.Delivery.DeadLetterSink.URI.Path = "/letters/library" })
	},
		`Broker helloworld/events: spec.delivery.deadLetterSink.uri: expected /letters/helloworld, found "/letters/library"`},
}

// without takes verbs on a resource away from rules.
func without(rules []rbacv1.PolicyRule, resource string, verbs ...string) (left []rbacv1.PolicyRule) {
	for _, r := range rules {
		for _, one := range r.Resources {
			kept := slices.DeleteFunc(slices.Clone(r.Verbs), func(v string) bool { return one == resource && slices.Contains(verbs, v) })
			left = append(left, rbacv1.PolicyRule{APIGroups: r.APIGroups, Resources: []string{one}, Verbs: kept})
		}
	}
	return left
}

func lacks(name, resource string, verbs ...string) func(w *world) {
	return func(w *world) { edit(w, name, func(r role) { r.Rules = without(r.Rules, resource, verbs...) }) }
}

var rights = map[string]breakage{
	"sync may not get": {lacks("sync", "helloworldservices", "get"),
		"Service helloworld/sync: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found sync, which may not get helloworldservices.helloworld.xos-knative.dev"},
	"sync may not patch": {lacks("sync", "helloworldservices", "patch"),
		"Service helloworld/sync: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found sync, which may not patch helloworldservices.helloworld.xos-knative.dev"},
	"sync may not acknowledge": {lacks("sync", "helloworldservices/status", "patch"),
		"Service helloworld/sync: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found sync, which may not patch helloworldservices.helloworld.xos-knative.dev/status"},
	"policy may not list what it waits for": {lacks("policy", "helloworldservices", "list"),
		"Service helloworld/policy: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found policy, which may not list helloworldservices.helloworld.xos-knative.dev"},
	"sync may not list what depends": {lacks("sync", "helloworldserviceinstances", "list"),
		"Service helloworld/sync: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found sync, which may not list helloworldserviceinstances.helloworld.xos-knative.dev"},
	"sync may not delete what depends": {lacks("sync", "helloworldserviceinstances", "delete"),
		"Service helloworld/sync: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found sync, which may not delete helloworldserviceinstances.helloworld.xos-knative.dev"},
	"sync may not list dependencies": {lacks("sync", "helloworldservices", "list"),
		"Service helloworld/sync: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found sync, which may not list helloworldservices.helloworld.xos-knative.dev"},
	"sync may not write Events": {lacks("sync", "events", "create"),
		"Service helloworld/sync: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found sync, which may not create events.events.k8s.io"},
	"policy may not acknowledge": {lacks("policy", "helloworldserviceinstances/status", "patch"),
		"Service helloworld/policy: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found policy, which may not patch helloworldserviceinstances.helloworld.xos-knative.dev/status"},
	"policy may not write Events": {lacks("policy", "events", "patch"),
		"Service helloworld/policy: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found policy, which may not patch events.events.k8s.io"},
	"pull may not create": {lacks("pull", "helloworldserviceinstances", "create"),
		"Service helloworld/pull: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found pull, which may not create helloworldserviceinstances.helloworld.xos-knative.dev"},
	"pull may not get dependencies": {lacks("pull", "helloworldservices", "get"),
		"Service helloworld/pull: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found pull, which may not get helloworldservices.helloworld.xos-knative.dev"},
	"event may not create": {lacks("event", "helloworldserviceinstances", "create"),
		"Service helloworld/event: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found event, which may not create helloworldserviceinstances.helloworld.xos-knative.dev"},
	"event may not remember": {lacks("event", "helloworldserviceinstances/status", "patch"),
		"Service helloworld/event: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found event, which may not patch helloworldserviceinstances.helloworld.xos-knative.dev/status"},
	"the source may not watch": {func(w *world) {
		edit(w, "helloworld-modelsource", func(r clusterRole) { r.Rules = without(r.Rules, "helloworldservices", "watch") })
	},
		"CustomResourceDefinition helloworldservices.helloworld.xos-knative.dev: spec.names.plural: expected a kind that the model source may read in all namespaces, found account modelsource, which may not watch helloworldservices.helloworld.xos-knative.dev"},
	"the source may not read a kind": {func(w *world) {
		edit(w, "helloworld-modelsource", func(r clusterRole) { r.Rules[0].Resources = []string{"helloworldservices"} })
	},
		"CustomResourceDefinition helloworldserviceinstances.helloworld.xos-knative.dev: spec.names.plural: expected a kind that the model source may read in all namespaces, found account modelsource, which may not get, list, watch helloworldserviceinstances.helloworld.xos-knative.dev"},
	"functions may not list definitions": {func(w *world) {
		edit(w, "helloworld-model-definitions", func(b *rbacv1.ClusterRoleBinding) {
			b.Subjects = slices.DeleteFunc(b.Subjects, func(s rbacv1.Subject) bool { return s.Name == "event" })
		})
	},
		"Service helloworld/event: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found event, which may not list customresourcedefinitions.apiextensions.k8s.io"},
	"a role that nobody is bound to": {func(w *world) { drop[*rbacv1.RoleBinding](w, "pull") },
		"Service helloworld/pull: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found pull, which may not create, get, list, patch helloworldserviceinstances.helloworld.xos-knative.dev; create, patch events.events.k8s.io; get helloworldservices.helloworld.xos-knative.dev"},
	"a binding to another role": {func(w *world) {
		edit(w, "event", func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "events" })
	},
		"Service helloworld/event: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found event, which may not create, get, list, patch helloworldserviceinstances.helloworld.xos-knative.dev; patch helloworldserviceinstances.helloworld.xos-knative.dev/status"},
	"a right for one name only": {func(w *world) {
		edit(w, "pull", func(r role) {
			r.Rules = without(r.Rules, "helloworldservices", "get")
			r.Rules = append(r.Rules, rbacv1.PolicyRule{APIGroups: []string{"helloworld.xos-knative.dev"}, Resources: []string{"helloworldservices"}, Verbs: []string{"get"}, ResourceNames: []string{"one"}})
		})
	},
		"Service helloworld/pull: spec.template.spec.serviceAccountName: expected an account that may do what the function's engine does in namespace helloworld, found pull, which may not get helloworldservices.helloworld.xos-knative.dev"},
	"dead letters may not be kept": {func(w *world) { drop[*rbacv1.RoleBinding](w, "deadletter") },
		"Broker helloworld/events: spec.delivery.deadLetterSink: expected a function that may keep dead letters in namespace helloworld, found account synchronizer-system/deadletter, which may not create, delete, get, list, patch deadletters.core.xos-knative.dev; patch deadletters.core.xos-knative.dev/status"},
	"an account that is not there": {func(w *world) { drop[*corev1.ServiceAccount](w, "pull") },
		"Service helloworld/pull: spec.template.spec.serviceAccountName: expected a ServiceAccount in namespace helloworld, found pull, which is not there"},
}

func timeout(name string, seconds int64) func(w *world) {
	return func(w *world) { edit(w, name, func(s service) { s.Spec.Template.Spec.TimeoutSeconds = &seconds }) }
}

var limits = map[string]breakage{
	"a delivery shorter than a step": {func(w *world) {
		edit(w, "helloworld-sync", func(t trigger) { t.Spec.Delivery.Timeout = ptr.To("PT20S") })
	},
		"Trigger synchronizer-system/helloworld-sync: spec.delivery.timeout: expected more than 25s, a step's deadline, found PT20S"},
	"a Broker's delivery shorter than a step": {func(w *world) {
		edit(w, "events", func(b brokerObj) { b.Spec.Delivery.Timeout = ptr.To("PT25S") })
	},
		"Broker helloworld/events: spec.delivery.timeout: expected more than 25s, a step's deadline, found PT25S"},
	"a function shorter than a step": {timeout("sync", 35),
		"Service helloworld/sync: spec.template.spec.timeoutSeconds: expected more than 35, a step's deadline and the storing of its outcome, found 35"},
	"a function shorter than a pull": {timeout("pull", 240),
		"Service helloworld/pull: spec.template.spec.timeoutSeconds: expected more than 240, the deadline of a pull round, found 240"},
	"a function shorter than its drain": {func(w *world) {
		edit(w, "sync", func(s service) {
			s.Spec.Template.Spec.Containers[0].Env = append(s.Spec.Template.Spec.Containers[0].Env, corev1.EnvVar{Name: "DRAIN_TIMEOUT", Value: "60s"})
		})
	},
		"Service helloworld/sync: spec.template.spec.timeoutSeconds: expected more than 65, the drain timeout and what comes after it, found 40"},
	"a drain shorter than a step": {func(w *world) {
		edit(w, "sync", func(s service) {
			s.Spec.Template.Spec.Containers[0].Env = append(s.Spec.Template.Spec.Containers[0].Env, corev1.EnvVar{Name: "DRAIN_TIMEOUT", Value: "20s"})
		})
	},
		"Service helloworld/sync: spec.template.spec.containers[0].env[DRAIN_TIMEOUT]: expected more than 25s, a step's deadline, found 20s"},
	"ticks that overtake each other": {func(w *world) {
		edit(w, "pull", func(p *sourcesv1.PingSource) { p.Spec.Schedule = "*/10 * * * * *" })
	},
		`PingSource helloworld/pull: spec.schedule: expected a period of more than 4m0s, the deadline of a pull round, found "*/10 * * * * *", a period of 10s`},
	"a schedule that is none": {func(w *world) {
		edit(w, "pull", func(p *sourcesv1.PingSource) { p.Spec.Schedule = "often" })
	},
		`PingSource helloworld/pull: spec.schedule: expected a schedule such as "*/5 * * * *", found expected 5 to 6 fields, found 1: [often]`},
}
