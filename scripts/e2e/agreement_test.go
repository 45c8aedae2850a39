package main

import (
	"cmp"
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingv1beta2 "knative.dev/eventing/pkg/apis/eventing/v1beta2"
	"knative.dev/eventing/pkg/eventfilter"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/xos-knative/synchronizer/pkg/local/broker"
	"github.com/xos-knative/synchronizer/pkg/model"
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
	// parties are the synchronizers of the project, and those of the tests.
	parties = []party{
		{namespace, helloworldFolders, []string{"functions/helloworld"}},
		ofTests(library),
		ofTests(workflow),
		ofTests("testservice"),
		ofTests("device"),
	}
)

// ofTests is a synchronizer of the tests.
func ofTests(name string) party {
	dir := "pkg/testdata/" + name
	return party{name, []string{dir + "/config", dir + "/eventing"}, []string{dir}}
}

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
		if broker.NewFilter(trigger.Spec.Filters, zap.NewNop()).Filter(context.Background(), event) != eventfilter.FailFilter {
			found[trigger.Name] = trigger
		}
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

// TestDeadLettersStayInTheirNamespace checks where Brokers and Triggers send what they give up.
func TestDeadLettersStayInTheirNamespace(t *testing.T) {
	found := sets.New[string]()
	for key, o := range everything(t) {
		sink, ok, _ := unstructured.NestedMap(o.Object, "spec", "delivery", "deadLetterSink")
		if !ok {
			continue
		}
		found.Insert(o.GetNamespace())
		ns, _, _ := unstructured.NestedString(sink, "ref", "namespace")
		name, _, _ := unstructured.NestedString(sink, "ref", "name")
		if got, want := ns+"/"+name, system+"/deadletter"; got != want {
			t.Errorf("%s: expected dead letters to go to function %s, got %s", key, want, got)
		}
		if want := "/letters/" + o.GetNamespace(); sink["uri"] != want {
			t.Errorf("%s: expected dead letters to go to path %s, got %v", key, want, sink["uri"])
		}
	}
	if want := sets.New(namespace, library, workflow); !found.Equal(want) {
		t.Errorf("expected dead letter sinks in %v, got %v", sets.List(want), sets.List(found))
	}
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
