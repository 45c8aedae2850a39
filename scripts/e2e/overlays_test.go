package main

import (
	"cmp"
	"context"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	eventingconfig "knative.dev/eventing/pkg/apis/config"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingv1beta2 "knative.dev/eventing/pkg/apis/eventing/v1beta2"
	"knative.dev/eventing/pkg/apis/feature"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/eventing/pkg/auth"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const project = "../.."

// objects are what a kustomization or folder makes, by kind, namespace and name.
type objects map[string]*unstructured.Unstructured

func keyOf(u *unstructured.Unstructured) string {
	return u.GetKind() + " " + u.GetNamespace() + "/" + u.GetName()
}

// build renders a kustomization as `kubectl kustomize` does.
func build(t *testing.T, folder string) objects {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(project, folder))
	if err != nil {
		t.Fatalf("%s: %v", folder, err)
	}
	content, err := rendered.AsYaml()
	if err != nil {
		t.Fatalf("%s: %v", folder, err)
	}
	all := objects{}
	all.read(t, folder, content)
	return all
}

func (all objects) read(t *testing.T, from string, content []byte) {
	t.Helper()
	resources, err := readResources(content)
	if err != nil {
		t.Fatalf("%s: %v", from, err)
	}
	all.add(resources)
}

func (all objects) add(resources []*unstructured.Unstructured) {
	for _, u := range resources {
		all[keyOf(u)] = u
	}
}

// applied is what `ko apply -R -f` applies.
func applied(t *testing.T, folders ...string) objects {
	t.Helper()
	all := objects{}
	for _, folder := range folders {
		resources, err := readFolder(filepath.Join(project, folder))
		if err != nil {
			t.Fatal(err)
		}
		all.add(resources)
	}
	return all
}

// The folders with resources: those of the core, and those of each synchronizer.
var (
	coreFolders       = []string{"config/core", "eventing/core"}
	helloworldFolders = []string{"config/helloworld", "eventing/helloworld"}
)

func TestKustomizationsHoldWhatIsApplied(t *testing.T) {
	for _, folder := range slices.Concat(coreFolders, helloworldFolders, ofTests(library).resources, ofTests(workflow).resources) {
		// The overlays must know all that an installation makes.
		if diff := gocmp.Diff(applied(t, folder), build(t, folder)); diff != "" {
			t.Errorf("%s: ko apply -R (-) and the kustomization (+) differ:\n%s", folder, diff)
		}
	}
}

// overlays are all of them, with what each one is to render.
var overlays = map[string][]string{
	"jetstream":    helloworldFolders,
	"kafka":        slices.Concat(coreFolders, helloworldFolders),
	"namespace":    nil, // See TestOtherNamespace.
	"oidc":         slices.Concat(coreFolders, helloworldFolders),
	"one-function": nil, // See TestOneFunction of hello-world.
	"rabbitmq":     slices.Concat(coreFolders, helloworldFolders),
}

func TestOverlaysAreAllTested(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(project, "config/overlays/*/kustomization.yml"))
	if err != nil || len(found) != len(overlays) {
		t.Errorf("expected one overlay for each of %v, found %v (%v)", slices.Sorted(maps.Keys(overlays)), found, err)
	}
}

func TestOverlays(t *testing.T) {
	foreign := loadSchemas(t)
	for name, folders := range overlays {
		t.Run(name, func(t *testing.T) {
			all := build(t, "config/overlays/"+name)
			for _, o := range all {
				if f := foreign[o.GroupVersionKind()]; f != nil {
					f.check(t, o)
				} else {
					checkKnown(t, o)
				}
			}
			for key, base := range applied(t, folders...) {
				if all[key] == nil {
					t.Errorf("%s is lost", key)
					continue
				}
				keepsVariables(t, key, base, all[key])
			}
		})
	}
}

// known are the kinds whose types are at hand; decoding refuses unknown fields.
var known = func() runtime.Decoder {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientscheme.AddToScheme, apiextensionsv1.AddToScheme, servingv1.AddToScheme,
		eventingv1.AddToScheme, eventingv1beta2.AddToScheme, sourcesv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDeserializer()
}()

// checkKnown decodes and, for Knative's kinds, validates as a cluster does.
func checkKnown(t *testing.T, u *unstructured.Unstructured) {
	t.Helper()
	content, err := yaml.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := known.Decode(content, nil, nil)
	if err != nil {
		t.Errorf("%s: %v", keyOf(u), err)
		return
	}
	v, ok := o.(interface {
		apis.Defaultable
		apis.Validatable
	})
	if !ok {
		return
	}
	defaults, err := eventingconfig.NewDefaultsConfigFromMap(map[string]string{eventingconfig.BrokerDefaultsKey: `
clusterDefault: {brokerClass: MTChannelBasedBroker, apiVersion: v1, kind: ConfigMap, name: config-br-default-channel, namespace: knative-eventing}`})
	if err != nil {
		t.Fatal(err)
	}
	ctx := feature.ToContext(context.Background(), feature.FromContextOrDefaults(context.Background()))
	ctx = eventingconfig.ToContext(apis.WithinCreate(ctx), &eventingconfig.Config{Defaults: defaults})
	v.SetDefaults(ctx)
	if err := v.Validate(ctx).Filter(apis.ErrorLevel); err != nil {
		t.Errorf("%s: %v", keyOf(u), err)
	}
}

// keepsVariables checks that a patch of a function's environment adds and
// changes, and takes nothing away.
func keepsVariables(t *testing.T, key string, base, patched *unstructured.Unstructured) {
	t.Helper()
	if base.GroupVersionKind().Group != "serving.knative.dev" {
		return
	}
	have := variables(t, patched)
	for _, name := range variables(t, base) {
		if !slices.Contains(have, name) {
			t.Errorf("%s: variable %s is lost", key, name)
		}
	}
}

func variables(t *testing.T, u *unstructured.Unstructured) (names []string) {
	t.Helper()
	for _, e := range container(t, u).Env {
		names = append(names, e.Name)
	}
	return names
}

// container is the one container of a function.
func container(t *testing.T, u *unstructured.Unstructured) corev1.Container {
	t.Helper()
	var service servingv1.Service
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &service); err != nil {
		t.Fatal(err)
	}
	if n := len(service.Spec.Template.Spec.Containers); n != 1 {
		t.Fatalf("%s: expected one container, got %d", keyOf(u), n)
	}
	return service.Spec.Template.Spec.Containers[0]
}

// TestOtherNamespace checks that the second hello-world is the first one under another
// name, with nothing that they share but the definitions.
func TestOtherNamespace(t *testing.T) {
	first, second := applied(t, helloworldFolders...), build(t, "config/overlays/namespace")
	shared := 0
	for key := range first {
		if second[key] != nil {
			t.Errorf("%s: both installations have it", key)
		}
		if first[key].GetKind() == "CustomResourceDefinition" {
			shared++
		}
	}
	if len(second) != len(first)-shared {
		t.Errorf("expected %d resources, all but the %d definitions, got %d", len(first)-shared, shared, len(second))
	}
	// What is of the whole cluster: the API group, its kinds, types of events, images.
	same := strings.NewReplacer("helloworld.xos-knative.dev", "", "helloworldservice", "", "dev.xos-knative.helloworld.", "", "synchronizer/functions/helloworld/", "")
	for key, o := range second {
		content, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			if strings.Contains(same.Replace(line), "helloworld") {
				t.Errorf("%s: still the first namespace: %s", key, strings.TrimSpace(line))
			}
		}
	}
}

func TestJetStreamTemplate(t *testing.T) {
	channel := jetStreamChannel(t)
	f := loadSchemas(t)[channel.GroupVersionKind()]
	if f == nil {
		t.Fatalf("no schema for %s", channel.GroupVersionKind())
	}
	f.check(t, channel)
}

// jetStreamChannel is the template of the Broker's channel.
func jetStreamChannel(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	cm := build(t, "config/overlays/jetstream")["ConfigMap helloworld/jetstream-channel"]
	template, _, err := unstructured.NestedString(cm.Object, "data", "channel-template-spec")
	if err != nil {
		t.Fatal(err)
	}
	channel := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict([]byte(template), channel); err != nil {
		t.Fatal(err)
	}
	return channel
}

// TestSenderIdentity checks that the audience and the account that a function expects are
// those that Knative is told to send.
func TestSenderIdentity(t *testing.T) {
	all := build(t, "config/overlays/oidc")
	checked := map[string]int{}
	for key, o := range all {
		for _, path := range [][]string{{"spec", "subscriber"}, {"spec", "sink"}, {"spec", "delivery", "deadLetterSink"}} {
			destination, ok, _ := unstructured.NestedMap(o.Object, path...)
			if kind, _, _ := unstructured.NestedString(destination, "ref", "kind"); !ok || kind != "Service" {
				continue
			}
			ns, _, _ := unstructured.NestedString(destination, "ref", "namespace")
			name, _, _ := unstructured.NestedString(destination, "ref", "name")
			function := all["Service "+cmp.Or(ns, o.GetNamespace())+"/"+name]
			if function == nil {
				t.Errorf("%s: %s: there is no function %s", key, strings.Join(path, "."), name)
				continue
			}
			env := environment(t, function)
			if want, got := env["OIDC_AUDIENCE"], destination["audience"]; want == "" || got != want {
				t.Errorf("%s: %s: function %s expects audience %q, got %q", key, strings.Join(path, "."), name, want, got)
			}
			checked[path[1]]++
			// Function deadletter takes dead letters from all accounts of a namespace.
			if account := accountOf(o); path[1] != "delivery" && !slices.Contains(strings.Split(env["OIDC_SUBJECTS"], ","), account) {
				t.Errorf("%s: function %s takes events of %s, and not of %s", key, name, env["OIDC_SUBJECTS"], account)
			}
		}
	}
	if want := (map[string]int{"subscriber": 4, "sink": 1, "delivery": 2}); !maps.Equal(checked, want) {
		t.Errorf("expected %v destinations, found %v", want, checked)
	}
}

// accountOf is the account that Knative makes for a Trigger or a source, in whose name it
// sends.
func accountOf(o *unstructured.Unstructured) string {
	name := auth.GetOIDCServiceAccountNameForResource(o.GroupVersionKind(), metav1.ObjectMeta{Name: o.GetName()})
	return "system:serviceaccount:" + o.GetNamespace() + ":" + name
}

// reference is that of a variable to one before it.
var reference = regexp.MustCompile(`\$\(\w+\)`)

// environment is that of a function's container, with the variables in the place of $(...)
// as Kubernetes puts them there.
func environment(t *testing.T, function *unstructured.Unstructured) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, e := range container(t, function).Env {
		values[e.Name] = reference.ReplaceAllStringFunc(e.Value, func(r string) string {
			value, ok := values[r[len("$("):len(r)-len(")")]]
			if !ok {
				return r
			}
			return value
		})
	}
	return values
}

// foreignKind is a kind of another project, known by the schema in testdata.
type foreignKind struct {
	structural *structuralschema.Structural
	validator  validation.SchemaValidator
}

func loadSchemas(t *testing.T) map[schema.GroupVersionKind]*foreignKind {
	t.Helper()
	files, err := filepath.Glob("testdata/schemas/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no schemas: %v", err)
	}
	kinds := map[schema.GroupVersionKind]*foreignKind{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var s struct {
			Group, Version, Kind string
			Schema               apiextensionsv1.JSONSchemaProps
		}
		if err := yaml.UnmarshalStrict(content, &s); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var internal apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&s.Schema, &internal, nil); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		f := &foreignKind{}
		if f.structural, err = structuralschema.NewStructural(&internal); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if f.validator, _, err = validation.NewSchemaValidator(&internal); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		kinds[schema.GroupVersionKind{Group: s.Group, Version: s.Version, Kind: s.Kind}] = f
	}
	return kinds
}

// check reports unknown fields and wrong values, as an API server with that schema does.
func (f *foreignKind) check(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	for _, unknown := range pruning.PruneWithOptions(o.DeepCopy().Object, f.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		t.Errorf("%s: unknown field %s", keyOf(o), unknown)
	}
	for _, err := range validation.ValidateCustomResource(nil, o.Object, f.validator) {
		t.Errorf("%s: %v", keyOf(o), err)
	}
}

func TestForeignKindsAreChecked(t *testing.T) {
	f := loadSchemas(t)[schema.GroupVersionKind{Group: "sources.knative.dev", Version: "v1", Kind: "KafkaSource"}]
	source := build(t, "config/overlays/kafka")["KafkaSource helloworld/mytopic"]
	if err := unstructured.SetNestedField(source.Object, "newest", "spec", "initialOffset"); err != nil {
		t.Fatal(err)
	}
	if errs := validation.ValidateCustomResource(nil, source.Object, f.validator); len(errs) != 1 {
		t.Errorf("expected one error for a value that does not exist, got %v", errs)
	}
}
