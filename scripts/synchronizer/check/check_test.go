package check_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/check"
)

const root = "../../.."

// load reads the resources of a synchronizer, and asks its programs.
func load(t *testing.T, dirs ...string) check.Input {
	t.Helper()
	l, err := check.Find(t.Context(), dirs...)
	if err != nil {
		t.Fatal(err)
	}
	in, err := check.Files(l)
	if err == nil {
		err = in.Describe(t.Context(), l.Module)
	}
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// world is an Input to break.
type world struct {
	*testing.T
	check.Input
}

var (
	once       sync.Once
	helloworld check.Input
)

// newWorld is a copy of hello-world.
func newWorld(t *testing.T) world {
	t.Helper()
	once.Do(func() { helloworld = load(t, root) })
	w := world{t, helloworld}
	w.Functions, w.Resources, w.Undescribed = map[string]*step.Description{}, nil, map[string]error{}
	for image, d := range helloworld.Functions {
		d := *d
		d.Steps = slices.Clone(d.Steps)
		w.Functions[image] = &d
	}
	for _, r := range helloworld.Resources {
		if o, ok := r.Object.(runtime.Object); ok {
			r.Object, _ = o.DeepCopyObject().(metav1.Object)
		}
		w.Resources = append(w.Resources, r)
	}
	return w
}

// edit changes the object of a type with a name.
func edit[T metav1.Object](w *world, name string, change func(T)) {
	w.Helper()
	for _, r := range w.Resources {
		if o, ok := r.Object.(T); ok && o.GetName() == name && !r.Core {
			change(o)
			return
		}
	}
	w.Fatalf("no %s %s", reflect.TypeFor[T](), name)
}

// drop takes objects of a type with a name away.
func drop[T metav1.Object](w *world, name string) {
	w.Helper()
	before := len(w.Resources)
	w.Resources = slices.DeleteFunc(w.Resources, func(r check.Resource) bool {
		o, ok := r.Object.(T)
		return ok && o.GetName() == name && !r.Core
	})
	if len(w.Resources) == before {
		w.Fatalf("no %s %s", reflect.TypeFor[T](), name)
	}
}

func image(name string) string {
	return "ko://github.com/xos-knative/synchronizer/functions/helloworld/" + name
}

const (
	services  = "helloworldservices.helloworld.xos-knative.dev"
	instances = "helloworldserviceinstances.helloworld.xos-knative.dev"
)

type (
	definition  = *apiextensionsv1.CustomResourceDefinition
	trigger     = *eventingv1.Trigger
	brokerObj   = *eventingv1.Broker
	service     = *servingv1.Service
	role        = *rbacv1.Role
	clusterRole = *rbacv1.ClusterRole
)

func annotate(d definition, key, value string) {
	metav1.SetMetaDataAnnotation(&d.ObjectMeta, key, value)
}

func properties(d definition, path ...string) map[string]apiextensionsv1.JSONSchemaProps {
	s := d.Spec.Versions[0].Schema.OpenAPIV3Schema
	for _, name := range path {
		next := s.Properties[name]
		s = &next
	}
	return s.Properties
}

func exact(key, value string) eventingv1.SubscriptionsAPIFilter {
	return eventingv1.SubscriptionsAPIFilter{Exact: map[string]string{key: value}}
}

type breakage struct {
	breaks func(w *world)
	want   string
}

// broken are the things that check knows, by what is broken.
var broken = []map[string]breakage{definitions, functions, triggers, deliveries, rights, limits}

func TestEachThingThatIsBrokenIsFoundOnce(t *testing.T) {
	for _, cases := range broken {
		for _, name := range slices.Sorted(maps.Keys(cases)) {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				cases[name].breaks(&w)
				findings := check.Check(w.Input)
				if len(findings) != 1 || !strings.Contains(findings[0].String(), cases[name].want) {
					t.Errorf("want one finding that says %q, got %d:\n%s", cases[name].want, len(findings), lines(findings))
				}
				for _, f := range findings {
					if f.Fix == "" || f.File == "" {
						t.Errorf("want a finding that says where it is, and how it is fixed, got %+v", f)
					}
				}
			})
		}
	}
}

func lines(findings []check.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

func TestNothingIsFoundInHelloWorld(t *testing.T) {
	if findings := check.Check(newWorld(t).Input); len(findings) > 0 {
		t.Errorf("want nothing, got:\n%s", lines(findings))
	}
}

func TestWhatIsNotKnownIsNotChecked(t *testing.T) {
	w := newWorld(t)
	w.Functions = nil
	findings := check.Check(w.Input)
	if len(findings) != 4 {
		t.Errorf("want one of each function, got:\n%s", lines(findings))
	}
	for _, f := range findings {
		if f.Severity != check.Unchecked || !strings.Contains(f.Found, "is not known, so Triggers and rights are compared with the definitions only") {
			t.Errorf("want what is not checked, got %s", f)
		}
	}
	drop[trigger](&w, "helloworld-policy")
	lacks("sync", "helloworldservices/status", "patch")(&w)
	found := lines(check.Check(w.Input))
	for _, want := range []string{
		"found policy, which no Trigger leads to",
		"found sync, which may not patch helloworldservices.helloworld.xos-knative.dev/status",
	} {
		if !strings.Contains(found, want) {
			t.Errorf("want %q, got:\n%s", want, found)
		}
	}
	for _, resource := range []string{"triggers.eventing.knative.dev", "rolebindings.rbac.authorization.k8s.io"} {
		w.Unread = append(w.Unread, check.Unread{Resource: resource, Why: "cannot list " + resource})
	}
	if findings = check.Check(w.Input); len(findings) != 5 {
		t.Errorf("want two more that are not checked, and nothing said about Triggers and rights, got:\n%s", lines(findings))
	}
}

// TestAnotherSourceMayWakeAnEventStep checks that nothing is said of event types if a source that is not looked at
// leads to the function.
func TestAnotherSourceMayWakeAnEventStep(t *testing.T) {
	w := newWorld(t)
	drop[trigger](&w, "event")
	if findings := check.Check(w.Input); len(findings) != 1 {
		t.Errorf("want the Trigger that is missing, got:\n%s", lines(findings))
	}
	ref := map[string]any{"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "event"}
	w.Resources = append(w.Resources, check.Resource{Object: &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "sources.knative.dev/v1", "kind": "KafkaSource", "metadata": map[string]any{"name": "kafka", "namespace": "helloworld"},
		"spec": map[string]any{"sink": map[string]any{"ref": ref}},
	}}})
	if findings := check.Check(w.Input); len(findings) > 0 {
		t.Errorf("want nothing, got:\n%s", lines(findings))
	}
}

// TestWhatMayNotBeReadIsNotMissing checks that nothing is said to be wrong because somebody may not read a resource.
func TestWhatMayNotBeReadIsNotMissing(t *testing.T) {
	for resource, unread := range map[string]metav1.Object{
		"customresourcedefinitions.apiextensions.k8s.io": (definition)(nil),
		"namespaces":                                    (*corev1.Namespace)(nil),
		"clusterroles.rbac.authorization.k8s.io":        (clusterRole)(nil),
		"clusterrolebindings.rbac.authorization.k8s.io": (*rbacv1.ClusterRoleBinding)(nil),
		"roles.rbac.authorization.k8s.io":               (role)(nil),
		"rolebindings.rbac.authorization.k8s.io":        (*rbacv1.RoleBinding)(nil),
		"serviceaccounts":                               (*corev1.ServiceAccount)(nil),
		"services":                                      (*corev1.Service)(nil),
		"deployments.apps":                              (*appsv1.Deployment)(nil),
		"services.serving.knative.dev":                  (service)(nil),
		"brokers.eventing.knative.dev":                  (brokerObj)(nil),
		"triggers.eventing.knative.dev":                 (trigger)(nil),
		"pingsources.sources.knative.dev":               (*sourcesv1.PingSource)(nil),
		"containersources.sources.knative.dev":          (*sourcesv1.ContainerSource)(nil),
		"sinkbindings.sources.knative.dev":              (*sourcesv1.SinkBinding)(nil),
	} {
		for _, described := range []bool{true, false} {
			w := newWorld(t)
			w.Resources = slices.DeleteFunc(w.Resources, func(r check.Resource) bool { return reflect.TypeOf(r.Object) == reflect.TypeOf(unread) })
			w.Unread = []check.Unread{{Resource: resource, Why: "cannot list " + resource}}
			if !described {
				w.Functions = nil
			}
			for _, f := range check.Check(w.Input) {
				if f.Severity != check.Unchecked {
					t.Errorf("without %s: want nothing but what is not checked, got %s", resource, f)
				}
			}
		}
	}
}
