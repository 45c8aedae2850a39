package main

import (
	"cmp"
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/robfig/cron/v3"
	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingv1beta2 "knative.dev/eventing/pkg/apis/eventing/v1beta2"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"
	"knative.dev/eventing/pkg/kncloudevents"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// The tests of this file keep in agreement what is written in several places:
// definitions, Triggers, EventTypes, rights, time limits and the code.

// party is the core or a synchronizer: its namespace, its resources and its code.
type party struct {
	ns        string
	resources []string
	code      []string
}

var (
	core = party{system, coreFolders, []string{"functions/deadletter", "functions/modelsource", "functions/tosca"}}
	// parties are the synchronizers of the project.
	parties = []party{
		{namespace, helloworldFolders, []string{"functions/helloworld"}},
		{library, libraryFolders, []string{libraryDir}},
	}
)

// models is the name of the core's Broker.
const models = "models"

// everything is what all parties apply.
func everything(t *testing.T) objects {
	t.Helper()
	all := applied(t, core.resources...)
	for _, p := range parties {
		maps.Copy(all, applied(t, p.resources...))
	}
	return all
}

// typed are the resources of one kind.
func typed[T any](t *testing.T, all objects, gvk schema.GroupVersionKind) []T {
	t.Helper()
	var list []T
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if all[key].GroupVersionKind() != gvk {
			continue
		}
		var one T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(all[key].Object, &one); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		list = append(list, one)
	}
	return list
}

func triggersOf(t *testing.T, all objects) []eventingv1.Trigger {
	return typed[eventingv1.Trigger](t, all, eventingv1.SchemeGroupVersion.WithKind("Trigger"))
}

func servicesOf(t *testing.T, all objects) []servingv1.Service {
	return typed[servingv1.Service](t, all, servingv1.SchemeGroupVersion.WithKind("Service"))
}

func kindsOf(t *testing.T, all objects) []*model.Kind {
	t.Helper()
	var kinds []*model.Kind
	for _, crd := range typed[apiextensionsv1.CustomResourceDefinition](t, all, apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition")) {
		kind, err := model.ParseKind(&crd)
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

// wakeEvent is what the model source sends for an object of the kind.
func wakeEvent(kind *model.Kind, ns string, s model.Step) cloudevents.Event {
	obj := &model.Snapshot{Kind: kind, ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "one", UID: "uid", Generation: 1}}
	return obj.WakeEvent(s, 1, time.Now())
}

// passing are the Triggers on Broker models that let an event through, by name.
func passing(triggers []eventingv1.Trigger, event cloudevents.Event) map[string]eventingv1.Trigger {
	found := map[string]eventingv1.Trigger{}
	for _, trigger := range triggers {
		if trigger.Namespace != system || trigger.Spec.Broker != models {
			continue
		}
		filter := subscriptionsapi.CreateSubscriptionsAPIFilters(zap.NewNop(), trigger.Spec.Filters)
		if filter.Filter(context.Background(), event) != eventfilter.FailFilter {
			found[trigger.Name] = trigger
		}
		filter.Cleanup()
	}
	return found
}

// TestTriggersFollowDefinitions checks, for each kind, step and namespace, that a model
// event passes one Trigger if the kind has the step there, and otherwise none.
func TestTriggersFollowDefinitions(t *testing.T) {
	all := everything(t)
	triggers, namespaces := triggersOf(t, all), []string{"default", system}
	home := map[schema.GroupKind]string{}
	for _, p := range parties {
		namespaces = append(namespaces, p.ns)
		for _, kind := range kindsOf(t, applied(t, p.resources...)) {
			home[kind.GVK.GroupKind()] = p.ns
		}
	}
	for _, kind := range kindsOf(t, all) {
		for _, s := range model.Steps() {
			for _, ns := range namespaces {
				// The models of the core may be in any namespace.
				where := cmp.Or(home[kind.GVK.GroupKind()], ns)
				want := 0
				if kind.Has(s) && where == ns {
					want = 1
				}
				event := wakeEvent(kind, ns, s)
				found := passing(triggers, event)
				if len(found) != want {
					t.Errorf("step %s of %s in namespace %s: expected %d Triggers, got %v", s, kind.GVK.Kind, ns, want, slices.Sorted(maps.Keys(found)))
				}
				for name, trigger := range found {
					if subscriberOf(all, &trigger) == nil {
						t.Errorf("Trigger %s: its subscriber is not there", name)
					}
				}
				// What a function replies must not wake anybody.
				event.SetExtension(model.ExtensionStep, nil)
				if found := passing(triggers, event); len(found) > 0 {
					t.Errorf("a reply about %s in namespace %s passes %v", kind.GVK.Kind, ns, slices.Sorted(maps.Keys(found)))
				}
			}
		}
	}
}

// subscriberOf is the function that a Trigger leads to, nil if it is not there.
func subscriberOf(all objects, trigger *eventingv1.Trigger) *unstructured.Unstructured {
	ref := trigger.Spec.Subscriber.Ref
	if ref == nil {
		return nil
	}
	return all["Service "+cmp.Or(ref.Namespace, trigger.Namespace)+"/"+ref.Name]
}

// eventTypes are the types that EventTypes announce.
func eventTypes(t *testing.T, all objects) sets.Set[string] {
	t.Helper()
	names := sets.New[string]()
	for _, e := range typed[eventingv1beta2.EventType](t, all, eventingv1beta2.SchemeGroupVersion.WithKind("EventType")) {
		names.Insert(e.Spec.Type)
	}
	return names
}

// eventType is what a type of the project or of Knative looks like in the code.
var eventType = regexp.MustCompile(`^dev\.[a-z-]+(\.[a-z-]+)+$`)

// typesIn are the types of events that the code of some folders names, without tests.
func typesIn(t *testing.T, folders ...string) sets.Set[string] {
	t.Helper()
	names := sets.New[string]()
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(project, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if s, err := strconv.Unquote(literal.Value); err == nil && eventType.MatchString(s) {
						names.Insert(s)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func sameTypes(t *testing.T, what string, announced, inCode sets.Set[string]) {
	t.Helper()
	if diff := gocmp.Diff(sets.List(announced), sets.List(inCode)); diff != "" {
		t.Errorf("%s: EventTypes (-) and the code (+) differ:\n%s", what, diff)
	}
}

func TestEventTypes(t *testing.T) {
	engines := typesIn(t, "pkg/model", "pkg/step")
	const prefix = "dev.xos-knative.model."
	aboutModels := sets.New[string]()
	for name := range engines {
		if strings.HasPrefix(name, prefix) {
			aboutModels.Insert(name)
		}
	}
	sameTypes(t, "Broker models", eventTypes(t, applied(t, core.resources...)), aboutModels)
	for _, p := range parties {
		all := applied(t, p.resources...)
		announced := eventTypes(t, all)
		// What its own code names; the engines add their replies.
		sameTypes(t, p.ns, announced.Difference(engines), typesIn(t, p.code...))
		for _, trigger := range triggersOf(t, all) {
			for _, f := range filteredTypes(trigger.Spec.Filters) {
				if !announced.Has(f) {
					t.Errorf("Trigger %s/%s: filters on %s, which no EventType of %s announces", trigger.Namespace, trigger.Name, f, p.ns)
				}
			}
		}
	}
}

// filteredTypes are the types that filters ask for.
func filteredTypes(filters []eventingv1.SubscriptionsAPIFilter) (names []string) {
	for _, f := range filters {
		if name, ok := f.Exact["type"]; ok {
			names = append(names, name)
		}
		names = slices.Concat(names, filteredTypes(f.Any), filteredTypes(f.All))
	}
	return names
}

// grants are what the roles of the resources allow: a role's kind, namespace and name to
// its rules. A role that collects rules has those of the roles that it selects.
func grants(t *testing.T, all objects) map[string][]rbacv1.PolicyRule {
	t.Helper()
	granted := map[string][]rbacv1.PolicyRule{}
	for _, role := range typed[rbacv1.Role](t, all, rbacv1.SchemeGroupVersion.WithKind("Role")) {
		granted["Role "+role.Namespace+"/"+role.Name] = role.Rules
	}
	clusterRoles := typed[rbacv1.ClusterRole](t, all, rbacv1.SchemeGroupVersion.WithKind("ClusterRole"))
	for _, role := range clusterRoles {
		found := role.Rules
		if role.AggregationRule != nil {
			for _, labelled := range clusterRoles {
				if selects(t, role.AggregationRule, labelled.Labels) {
					found = slices.Concat(found, labelled.Rules)
				}
			}
		}
		granted["ClusterRole /"+role.Name] = found
	}
	return granted
}

func selects(t *testing.T, rule *rbacv1.AggregationRule, set labels.Set) bool {
	t.Helper()
	return slices.ContainsFunc(rule.ClusterRoleSelectors, func(s metav1.LabelSelector) bool {
		selector, err := metav1.LabelSelectorAsSelector(&s)
		if err != nil {
			t.Fatal(err)
		}
		return selector.Matches(set)
	})
}

// rulesIn are the rules of an account in a namespace.
func rulesIn(t *testing.T, all objects, ns string, account types.NamespacedName) (found []rbacv1.PolicyRule) {
	t.Helper()
	granted := grants(t, all)
	bound := func(subjects []rbacv1.Subject) bool {
		return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool { return s.Namespace == account.Namespace && s.Name == account.Name })
	}
	for _, b := range typed[rbacv1.ClusterRoleBinding](t, all, rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding")) {
		if bound(b.Subjects) {
			found = append(found, granted["ClusterRole /"+b.RoleRef.Name]...)
		}
	}
	for _, b := range typed[rbacv1.RoleBinding](t, all, rbacv1.SchemeGroupVersion.WithKind("RoleBinding")) {
		if b.Namespace == ns && bound(b.Subjects) {
			of := map[string]string{"Role": ns}[b.RoleRef.Kind]
			found = append(found, granted[b.RoleRef.Kind+" "+of+"/"+b.RoleRef.Name]...)
		}
	}
	return found
}

// needs reports the calls that an account makes in a namespace and may not make.
func needs(t *testing.T, all objects, ns string, account types.NamespacedName, group, resource string, verbs ...string) {
	t.Helper()
	found := rulesIn(t, all, ns, account)
	for _, verb := range verbs {
		if !slices.ContainsFunc(found, func(r rbacv1.PolicyRule) bool {
			return slices.Contains(r.APIGroups, group) && slices.Contains(r.Resources, resource) && slices.Contains(r.Verbs, verb)
		}) {
			t.Errorf("account %s: expected that it may %s %s.%s in namespace %s", account, verb, resource, group, ns)
		}
	}
}

// TestRights checks that the model source and the engines may make the calls that they
// make. (What the steps of an author need besides is not known here.)
func TestRights(t *testing.T) {
	all := everything(t)
	source := types.NamespacedName{Namespace: system, Name: "modelsource"}
	for _, kind := range kindsOf(t, all) {
		needs(t, all, "default", source, kind.GVK.Group, kind.Resource, "list", "watch")
	}
	for _, p := range parties {
		kinds := kindsOf(t, applied(t, p.resources...))
		for _, kind := range kinds {
			for _, s := range kind.Steps {
				for _, trigger := range passing(triggersOf(t, all), wakeEvent(kind, p.ns, s)) {
					engineNeeds(t, all, p.ns, accountOfSubscriber(t, all, &trigger), s, kind, kinds)
				}
			}
		}
		deadletter := types.NamespacedName{Namespace: system, Name: "deadletter"}
		needs(t, all, p.ns, deadletter, "core.xos-knative.dev", "deadletters", "get", "list", "create", "patch", "delete")
		needs(t, all, p.ns, deadletter, "core.xos-knative.dev", "deadletters/status", "patch")
	}
}

// engineNeeds checks what the engine of one step does with objects of the kind, and the
// engine of sync with what they depend on and what depends on them.
func engineNeeds(t *testing.T, all objects, ns string, account types.NamespacedName, s model.Step, kind *model.Kind, kinds []*model.Kind) {
	t.Helper()
	needs(t, all, ns, account, "apiextensions.k8s.io", "customresourcedefinitions", "list")
	needs(t, all, ns, account, kind.GVK.Group, kind.Resource, "get")
	needs(t, all, ns, account, kind.GVK.Group, kind.Resource+"/status", "patch")
	if s != model.StepSync {
		return
	}
	// The finalizer.
	needs(t, all, ns, account, kind.GVK.Group, kind.Resource, "patch")
	for _, other := range kinds {
		if dependsOn(kind, other) {
			needs(t, all, ns, account, other.GVK.Group, other.Resource, "get")
		}
		if dependsOn(other, kind) {
			needs(t, all, ns, account, other.GVK.Group, other.Resource, "list")
		}
	}
}

func dependsOn(kind, other *model.Kind) bool {
	return slices.ContainsFunc(kind.DependsOn, func(d model.DependsOn) bool { return d.Kind.Kind == other.GVK.Kind })
}

func accountOfSubscriber(t *testing.T, all objects, trigger *eventingv1.Trigger) types.NamespacedName {
	t.Helper()
	function := subscriberOf(all, trigger)
	if function == nil {
		t.Fatalf("Trigger %s: its subscriber is not there", trigger.Name)
	}
	name, _, _ := unstructured.NestedString(function.Object, "spec", "template", "spec", "serviceAccountName")
	return types.NamespacedName{Namespace: function.GetNamespace(), Name: name}
}

// storing is how long it may take to write the outcome of a step, after the step.
const storing = 10 * time.Second

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

// TestStepsEndInTime checks that a step has ended and its outcome is stored before anybody
// else loses patience.
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
	for _, trigger := range triggersOf(t, all) {
		name := trigger.Namespace + "/" + trigger.Name
		less(t, step.Deadline, "a step's deadline", timeoutOf(t, all, &trigger), "the delivery timeout of Trigger "+name)
		function := subscriberOf(all, &trigger)
		if function == nil {
			t.Errorf("Trigger %s: its subscriber is not there", name)
			continue
		}
		less(t, step.Deadline+storing, "a step's deadline and the storing of its outcome", limitOf(t, function), "timeoutSeconds of the subscriber of Trigger "+name)
		less(t, step.Deadline, "a step's deadline", drainOf(t, container(t, function)), "the drain timeout of the subscriber of Trigger "+name)
	}
}

// TestRoundsEndInTime checks that a pull round has ended before the next tick, and before
// Knative gives up the request.
func TestRoundsEndInTime(t *testing.T) {
	all := everything(t)
	parser := cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	for _, source := range typed[sourcesv1.PingSource](t, all, sourcesv1.SchemeGroupVersion.WithKind("PingSource")) {
		schedule, err := parser.Parse(source.Spec.Schedule)
		if err != nil {
			t.Fatalf("PingSource %s: %v", source.Name, err)
		}
		first := schedule.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
		less(t, step.PullDeadline, "a pull round's deadline", schedule.Next(first).Sub(first), "the period of PingSource "+source.Name)
		function := all["Service "+source.Namespace+"/"+source.Spec.Sink.Ref.Name]
		if function == nil {
			t.Fatalf("PingSource %s: its sink is not there", source.Name)
		}
		less(t, step.PullDeadline, "a pull round's deadline", limitOf(t, function), "timeoutSeconds of function "+function.GetName())
	}
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
		function := all["Service "+s.Namespace+"/"+s.Name]
		less(t, drainOf(t, container(t, function)), "the drain timeout", limitOf(t, function), "timeoutSeconds of function "+s.Namespace+"/"+s.Name)
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
