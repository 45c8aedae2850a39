package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/eventing/pkg/kncloudevents"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// less checks one link of the chain of time limits.
func less(t *testing.T, short time.Duration, shortIs string, long time.Duration, longIs string) {
	t.Helper()
	if short >= long {
		t.Errorf("expected %s (%s) to be shorter than %s (%s)", shortIs, short, longIs, long)
	}
}

// constant is a duration that is defined in a program, where no test can import it.
func constant(t *testing.T, file, pattern string) time.Duration {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(project, file))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(pattern).FindSubmatch(content)
	if match == nil {
		t.Fatalf("%s: expected %s", file, pattern)
	}
	number, unit, _ := strings.Cut(string(match[1]), " * time.")
	d, err := time.ParseDuration(number + map[string]string{"Second": "s", "Minute": "m"}[unit])
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return d
}

// drainOf is how long a program lets requests under way go on after it was told to end.
func drainOf(t *testing.T, container corev1.Container) time.Duration {
	t.Helper()
	field, ok := reflect.TypeFor[function.Settings]().FieldByName("DrainTimeout")
	if !ok {
		t.Fatal("function.Settings has no DrainTimeout")
	}
	value := field.Tag.Get("default")
	for _, e := range container.Env {
		if e.Name == field.Tag.Get("envconfig") {
			value = e.Value
		}
	}
	drain, err := time.ParseDuration(value)
	if err != nil {
		t.Fatalf("DRAIN_TIMEOUT: %v", err)
	}
	return drain
}

// timeoutOf is how long a Broker waits for the answer to one delivery to a Trigger.
func timeoutOf(t *testing.T, all objects, trigger *eventingv1.Trigger) time.Duration {
	t.Helper()
	delivery := trigger.Spec.Delivery
	if delivery == nil {
		for _, b := range typed[eventingv1.Broker](t, all, eventingv1.SchemeGroupVersion.WithKind("Broker")) {
			if b.Namespace == trigger.Namespace && b.Name == trigger.Spec.Broker {
				delivery = b.Spec.Delivery
			}
		}
	}
	if delivery == nil || delivery.Timeout == nil {
		t.Errorf("Trigger %s/%s: expected a delivery timeout of its own or of its Broker", trigger.Namespace, trigger.Name)
		return 0
	}
	return requestTimeout(t, delivery)
}

func requestTimeout(t *testing.T, delivery *eventingduckv1.DeliverySpec) time.Duration {
	t.Helper()
	config, err := kncloudevents.RetryConfigFromDeliverySpec(*delivery)
	if err != nil {
		t.Fatal(err)
	}
	return config.RequestTimeout
}

// limitOf is how long Knative lets a request to a function take. A pod that ends gets as
// long for those that are under way.
func limitOf(t *testing.T, service *unstructured.Unstructured) time.Duration {
	t.Helper()
	var s servingv1.Service
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(service.Object, &s); err != nil {
		t.Fatal(err)
	}
	if s.Spec.Template.Spec.TimeoutSeconds == nil {
		t.Fatalf("%s: expected timeoutSeconds", keyOf(service))
	}
	return time.Duration(*s.Spec.Template.Spec.TimeoutSeconds) * time.Second
}

// TestStepsEndInTime checks that a step has ended before the source loses patience. (That its
// Trigger and its function have as much is checked by TestNothingIsWrong.)
func TestStepsEndInTime(t *testing.T) {
	all := everything(t)
	visibility := constant(t, "functions/modelsource/main.go", `envconfig:"VISIBILITY_TIMEOUT" default:"(\w+)"`)
	for _, source := range typed[sourcesv1.ContainerSource](t, all, sourcesv1.SchemeGroupVersion.WithKind("ContainerSource")) {
		for _, e := range source.Spec.Template.Spec.Containers[0].Env {
			if e.Name == "VISIBILITY_TIMEOUT" {
				t.Errorf("ContainerSource %s: VISIBILITY_TIMEOUT: this test expects the default", source.Name)
			}
		}
	}
	less(t, step.Deadline, "a step's deadline", visibility, "the source's visibility timeout")
}

// TestDeadLettersEndInTime checks that a dead letter is stored before the Broker gives it up.
func TestDeadLettersEndInTime(t *testing.T) {
	all := everything(t)
	stored := constant(t, "functions/deadletter/letters.go", `\bstoring = (\d+ \* time\.\w+)`)
	less(t, stored, "the storing of a dead letter", limitOf(t, all["Service "+system+"/deadletter"]), "timeoutSeconds of function deadletter")
	for _, b := range typed[eventingv1.Broker](t, all, eventingv1.SchemeGroupVersion.WithKind("Broker")) {
		if b.Spec.Delivery != nil && b.Spec.Delivery.DeadLetterSink != nil {
			less(t, stored, "the storing of a dead letter", requestTimeout(t, b.Spec.Delivery), "the delivery timeout of Broker "+b.Namespace+"/"+b.Name)
		}
	}
	for _, trigger := range triggersOf(t, all) {
		if trigger.Spec.Delivery != nil && trigger.Spec.Delivery.DeadLetterSink != nil {
			less(t, stored, "the storing of a dead letter", timeoutOf(t, all, &trigger), "the delivery timeout of Trigger "+trigger.Namespace+"/"+trigger.Name)
		}
	}
}

// TestPodsDrainInTime checks that requests under way have ended before Kubernetes kills
// the pod.
func TestPodsDrainInTime(t *testing.T) {
	all := everything(t)
	for _, s := range servicesOf(t, all) {
		service := all["Service "+s.Namespace+"/"+s.Name]
		less(t, drainOf(t, container(t, service))+function.LastTimeout, "the drain timeout and what comes after it", limitOf(t, service), "timeoutSeconds of function "+s.Namespace+"/"+s.Name)
	}
	tosca := all["Service "+system+"/tosca"]
	wait := constant(t, "pkg/tosca/server/action.go", `\bmaxWait = (\d+ \* time\.\w+)`)
	less(t, wait, "the longest ?wait= of function tosca", drainOf(t, container(t, tosca)), "its drain timeout")
	pods := map[string]corev1.PodSpec{}
	for _, d := range typed[appsv1.Deployment](t, all, appsv1.SchemeGroupVersion.WithKind("Deployment")) {
		pods["Deployment "+d.Name] = d.Spec.Template.Spec
	}
	for _, s := range typed[sourcesv1.ContainerSource](t, all, sourcesv1.SchemeGroupVersion.WithKind("ContainerSource")) {
		pods["ContainerSource "+s.Name] = s.Spec.Template.Spec
	}
	if len(pods) < 2 {
		t.Errorf("expected a Deployment and a ContainerSource, got %v", pods)
	}
	for name, pod := range pods {
		grace := 30 * time.Second // Kubernetes' default.
		if pod.TerminationGracePeriodSeconds != nil {
			grace = time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
		}
		less(t, drainOf(t, pod.Containers[0]), "the drain timeout", grace, "the grace period of the pods of "+name)
	}
}

// TestJetStreamWaits checks that an event is not delivered again while Knative still tries.
func TestJetStreamWaits(t *testing.T) {
	channel := jetStreamChannel(t)
	value, _, _ := unstructured.NestedString(channel.Object, "spec", "consumerConfigTemplate", "ackWait")
	wait, err := time.ParseDuration(value)
	if err != nil {
		t.Fatalf("ackWait: %v", err)
	}
	for _, trigger := range triggersOf(t, build(t, "config/overlays/jetstream")) {
		if trigger.Spec.Broker == models {
			continue
		}
		config, err := kncloudevents.RetryConfigFromDeliverySpec(*trigger.Spec.Delivery)
		if err != nil {
			t.Fatal(err)
		}
		tries := config.RequestTimeout
		for n := range config.RetryMax {
			tries += config.Backoff(n, nil) + config.RequestTimeout
		}
		less(t, tries, "all attempts of Trigger "+trigger.Name, wait, "ackWait")
	}
}
