package main

import (
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

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingv1beta2 "knative.dev/eventing/pkg/apis/eventing/v1beta2"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	checker "github.com/xos-knative/synchronizer/scripts/synchronizer/check"
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

// TestNothingIsWrong checks the core and all synchronizers together, with what authors check theirs with.
func TestNothingIsWrong(t *testing.T) {
	var dirs []string
	for _, p := range append([]party{core}, parties...) {
		for _, folder := range p.resources {
			dirs = append(dirs, filepath.Join(project, folder))
		}
	}
	layout, err := checker.Find(t.Context(), dirs...)
	if err != nil {
		t.Fatal(err)
	}
	in, err := checker.Files(layout)
	if err == nil {
		err = in.Describe(t.Context(), layout.Module)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range checker.Check(in) {
		switch {
		case f.Severity == checker.Warning && strings.Contains(f.Expected, "spec.name"): // Not all models are for recipes.
		case f.Object == "Trigger library/lost": // It is there to be wrong: its events become dead letters.
		default:
			t.Error(f)
		}
	}
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
