package manifest

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"knative.dev/eventing/pkg/apis/config"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	"knative.dev/eventing/pkg/apis/eventing"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/feature"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/eventing/pkg/kncloudevents"
	mtbroker "knative.dev/eventing/pkg/reconciler/broker"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// brokerDefaults is what Knative Eventing is installed with (ConfigMap config-br-defaults).
const brokerDefaults = `
clusterDefault:
  brokerClass: MTChannelBasedBroker
  apiVersion: v1
  kind: ConfigMap
  name: config-br-default-channel
  namespace: knative-eventing
  delivery:
    retry: 10
    backoffPolicy: exponential
    backoffDelay: PT0.2S
`

// knative is what Knative's types need to default and validate themselves.
type knative interface {
	metav1.Object
	apis.Defaultable
	apis.Validatable
}

// knativeContext has what Knative's defaulting and validation look up: the defaults of Brokers and the features that
// Knative Eventing is installed with (ConfigMap config-features: nothing switched on or off).
func knativeContext() (context.Context, error) {
	defaults, err := config.NewDefaultsConfigFromMap(map[string]string{config.BrokerDefaultsKey: brokerDefaults})
	if err != nil {
		return nil, fmt.Errorf("cannot read the defaults of Brokers: %w", err)
	}
	features, err := feature.NewFlagsConfigFromMap(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the features of Knative Eventing: %w", err)
	}
	ctx := feature.ToContext(apis.WithinCreate(context.Background()), features)
	return config.ToContext(ctx, &config.Config{Defaults: defaults}), nil
}

// admit defaults and validates each object as Knative's webhooks do.
func (s *Set) admit() (errs []error) {
	ctx, err := knativeContext()
	if err != nil {
		return []error{err}
	}
	for _, o := range s.knativeObjects() {
		o.SetDefaults(ctx)
		found := o.Validate(ctx)
		if err := found.Filter(apis.ErrorLevel); err != nil {
			errs = append(errs, s.errorf(o, "%w", err))
		}
		// What a cluster only warns of does not keep a file from working here either.
		if warning := found.Filter(apis.WarningLevel); warning != nil {
			s.Warnings = append(s.Warnings, s.errorf(o, "%w", warning).Error())
		}
	}
	return errs
}

func (s *Set) knativeObjects() []knative {
	var all []knative
	all = appendAll(all, s.Services)
	all = appendAll(all, s.Brokers)
	all = appendAll(all, s.Triggers)
	all = appendAll(all, s.ContainerSources)
	all = appendAll(all, s.PingSources)
	all = appendAll(all, s.SinkBindings)
	return all
}

func appendAll[T knative](all []knative, some []T) []knative {
	for _, o := range some {
		all = append(all, o)
	}
	return all
}

// refuse finds what is valid, but cannot be done here.
func (s *Set) refuse() (errs []error) {
	ctx, err := knativeContext()
	if err != nil {
		return []error{err}
	}
	sink := field.NewPath("spec", "sink")
	for _, b := range s.Brokers {
		errs = append(errs, s.wrap(b, s.checkBroker(ctx, b))...)
	}
	for _, t := range s.Triggers {
		errs = append(errs, s.wrap(t, s.checkTrigger(t))...)
	}
	for _, p := range s.PingSources {
		errs = append(errs, s.wrap(p, s.checkDestination(&p.Spec.Sink, p.Namespace, sink))...)
	}
	for _, c := range s.ContainerSources {
		errs = append(errs, s.wrap(c, s.checkDestination(&c.Spec.Sink, c.Namespace, sink))...)
	}
	for _, b := range s.SinkBindings {
		errs = append(errs, s.wrap(b, s.checkSinkBinding(b))...)
	}
	for _, svc := range s.CoreServices {
		errs = append(errs, s.wrap(svc, s.checkCoreService(svc))...)
	}
	errs = append(errs, s.checkPrograms()...)
	return errs
}

func (s *Set) checkTrigger(t *eventingv1.Trigger) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if t.Spec.Broker == "" {
		errs = append(errs, field.Required(spec.Child("broker"), "a Trigger names its Broker here; brokerRef is not honoured locally"))
	} else if !has(s.Brokers, t.Namespace, t.Spec.Broker) {
		errs = append(errs, field.NotFound(spec.Child("broker"), t.Spec.Broker))
	}
	errs = append(errs, s.checkDestination(&t.Spec.Subscriber, t.Namespace, spec.Child("subscriber"))...)
	return append(errs, s.checkDelivery(t.Spec.Delivery, t.Namespace, spec.Child("delivery"))...)
}

func (s *Set) checkSinkBinding(b *sourcesv1.SinkBinding) field.ErrorList {
	spec := field.NewPath("spec")
	errs := s.checkDestination(&b.Spec.Sink, b.Namespace, spec.Child("sink"))
	if b.Spec.Subject.APIVersion != "apps/v1" || b.Spec.Subject.Kind != "Deployment" {
		errs = append(errs, field.NotSupported(spec.Child("subject", "kind"), b.Spec.Subject.APIVersion+" "+b.Spec.Subject.Kind, []string{"apps/v1 Deployment"}))
	} else if subjects, err := s.subjects(b); err != nil || len(subjects) == 0 {
		errs = append(errs, field.NotFound(spec.Child("subject"), b.Spec.Subject.Name))
	}
	return errs
}

func (s *Set) checkBroker(ctx context.Context, b *eventingv1.Broker) (errs field.ErrorList) {
	annotations := field.NewPath("metadata", "annotations")
	if class := b.Annotations[eventing.BrokerClassKey]; class != eventing.MTChannelBrokerClassValue {
		errs = append(errs, field.NotSupported(annotations.Key(eventing.BrokerClassKey), class, []string{eventing.MTChannelBrokerClassValue}))
	}
	spec := field.NewPath("spec")
	errs = append(errs, s.checkBrokerConfig(ctx, b.Spec.Config, spec.Child("config"))...)
	return append(errs, s.checkDelivery(b.Spec.Delivery, b.Namespace, spec.Child("delivery"))...)
}

// checkBrokerConfig wants in-memory channels: the only ones that are here.
func (s *Set) checkBrokerConfig(ctx context.Context, ref *duckv1.KReference, path *field.Path) field.ErrorList {
	if ref == nil || ref.Namespace == "knative-eventing" && ref.Name == "config-br-default-channel" {
		return nil
	}
	if ref.Kind != "ConfigMap" {
		return field.ErrorList{field.NotSupported(path.Child("kind"), ref.Kind, []string{"ConfigMap"})}
	}
	for _, cm := range s.ConfigMaps {
		if cm.Namespace != ref.Namespace || cm.Name != ref.Name {
			continue
		}
		c, err := mtbroker.NewConfigFromConfigMapFunc(ctx)(cm)
		if err != nil {
			return field.ErrorList{field.Invalid(path, ref.Name, err.Error())}
		}
		if kind := c.DefaultChannelTemplate.Kind; kind != "InMemoryChannel" {
			return field.ErrorList{field.NotSupported(path, kind, []string{"InMemoryChannel"})}
		}
		for _, v := range cm.Data {
			// Knative takes only kind and spec from a template: an annotation in it would silently do nothing.
			if strings.Contains(v, "metadata:") {
				return field.ErrorList{field.Forbidden(path, fmt.Sprintf("the channel template in ConfigMap %s has metadata, which Knative ignores; "+
					"annotations of messaging.knative.dev that stand on the Broker itself are passed on to its channel", name(cm)))}
			}
		}
		return nil
	}
	return field.ErrorList{field.NotFound(path, ref.Namespace+"/"+ref.Name)}
}

// checkDelivery resolves the dead letter sink, and asks Knative whether it can carry out the rest.
func (s *Set) checkDelivery(d *eventingduckv1.DeliverySpec, namespace string, path *field.Path) (errs field.ErrorList) {
	if d == nil {
		return nil
	}
	if d.DeadLetterSink != nil {
		errs = append(errs, s.checkDestination(d.DeadLetterSink, namespace, path.Child("deadLetterSink"))...)
	}
	if _, err := kncloudevents.RetryConfigFromDeliverySpec(*d); err != nil {
		errs = append(errs, field.Invalid(path, "", err.Error()))
	}
	return errs
}

func (s *Set) checkDestination(d *duckv1.Destination, namespace string, path *field.Path) field.ErrorList {
	u, err := s.Resolve(*d, namespace)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(path, d.GetRef(), err.Error())}
	case u.Scheme != "http":
		return field.ErrorList{field.Invalid(path, u.String(), "only http is spoken here")}
	case d.CACerts != nil || d.Audience != nil:
		return field.ErrorList{field.Forbidden(path, "certificates and audiences are not honoured locally")}
	}
	return nil
}

// checkCoreService wants a Service to lead to exactly one Deployment, which is how requests find their process.
func (s *Set) checkCoreService(svc *corev1.Service) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return field.ErrorList{field.Forbidden(spec.Child("type"), "a name outside of the cluster cannot be served locally")}
	}
	if n := len(s.backends(svc)); n != 1 {
		errs = append(errs, field.Invalid(spec.Child("selector"), labels.Set(svc.Spec.Selector).String(), fmt.Sprintf("expected to select exactly 1 Deployment of the files, got %d", n)))
	}
	return errs
}

// subjects are the Deployments that a SinkBinding is about.
func (s *Set) subjects(b *sourcesv1.SinkBinding) ([]metav1.Object, error) {
	ref := b.Spec.Subject
	selector := labels.Nothing()
	if ref.Selector != nil {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(ref.Selector); err != nil {
			return nil, err
		}
	}
	ns := ref.Namespace
	if ns == "" {
		ns = b.Namespace
	}
	var found []metav1.Object
	for _, d := range s.Deployments {
		if d.Namespace == ns && (ref.Name != "" && d.Name == ref.Name || selector.Matches(labels.Set(d.Labels))) {
			found = append(found, d)
		}
	}
	return found, nil
}

// errorf puts file, kind and name before a message about o.
func (s *Set) errorf(o metav1.Object, format string, args ...any) error {
	return fmt.Errorf("%s: %s %s: %w", s.files[o], kindOf(o), name(o), fmt.Errorf(format, args...))
}

func (s *Set) wrap(o metav1.Object, list field.ErrorList) (errs []error) {
	for _, err := range list {
		errs = append(errs, s.errorf(o, "%w", err))
	}
	return errs
}

// kindOf is the kind of o as it stands in the file, or for defaulted types as Go calls it.
func kindOf(o metav1.Object) string {
	t := fmt.Sprintf("%T", o)
	return t[strings.LastIndex(t, ".")+1:]
}
