package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	eventingconfig "knative.dev/eventing/pkg/apis/config"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingv1beta2 "knative.dev/eventing/pkg/apis/eventing/v1beta2"
	"knative.dev/eventing/pkg/apis/feature"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
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
	for documents := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096); ; {
		u := &unstructured.Unstructured{}
		err := documents.Decode(u)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", from, err)
		}
		if u.Object != nil {
			all[keyOf(u)] = u
		}
	}
}

// applied is what `ko apply -R -f` reads: .yaml and .json.
func applied(t *testing.T, folder string) objects {
	t.Helper()
	all := objects{}
	err := filepath.WalkDir(filepath.Join(project, folder), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" && filepath.Ext(path) != ".json" {
			return err
		}
		content, err := os.ReadFile(path)
		all.read(t, path, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestBasesHoldWhatIsApplied(t *testing.T) {
	for _, folder := range []string{"config", "eventing"} {
		want := applied(t, folder)
		if len(want) == 0 {
			t.Fatalf("%s: no resources", folder)
		}
		// An uninstallation and the overlays must know all that an installation makes.
		if diff := cmp.Diff(want, build(t, folder)); diff != "" {
			t.Errorf("%s: ko apply -R (-) and the kustomization (+) differ:\n%s", folder, diff)
		}
	}
}

var overlays = []string{"namespace", "kafka", "rabbitmq", "jetstream", "oidc"}

func TestOverlaysAreAllTested(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(project, "config/overlays/*/kustomization.yml"))
	if err != nil || len(found) != len(overlays) {
		t.Errorf("expected one overlay for each of %v, found %v (%v)", overlays, found, err)
	}
}

func TestOverlays(t *testing.T) {
	base := build(t, "config")
	for k, o := range build(t, "eventing") {
		base[k] = o
	}
	foreign := loadSchemas(t)
	for _, name := range overlays {
		t.Run(name, func(t *testing.T) {
			all := build(t, "config/overlays/"+name)
			for key, o := range all {
				if f := foreign[o.GroupVersionKind()]; f != nil {
					f.check(t, o)
				} else {
					checkKnown(t, o)
				}
				if name != "namespace" && base[key] != nil {
					keepsVariables(t, key, base[key], o)
				}
			}
			if name == "namespace" {
				return
			}
			for key := range base {
				if all[key] == nil {
					t.Errorf("%s is lost", key)
				}
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
	var service servingv1.Service
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &service); err != nil {
		t.Fatal(err)
	}
	for _, c := range service.Spec.Template.Spec.Containers {
		for _, e := range c.Env {
			names = append(names, e.Name)
		}
	}
	return names
}

func TestOtherNamespace(t *testing.T) {
	for key, o := range build(t, "config/overlays/namespace") {
		content, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			// What is of the whole cluster is shared: the API group, and roles.
			rest := strings.NewReplacer("helloworld.xos-knative.dev", "", "xos-knative.helloworld", "", "synchronizer-modelsource-helloworld", "",
				"helloworldservice", "", "dev.xos-knative.helloworld.", "").Replace(line)
			if strings.Contains(rest, "helloworld") && o.GetKind() != "CustomResourceDefinition" {
				t.Errorf("%s: still in the old namespace: %s", key, strings.TrimSpace(line))
			}
		}
	}
}

func TestJetStreamTemplate(t *testing.T) {
	cm := build(t, "config/overlays/jetstream")["ConfigMap helloworld/jetstream-channel"]
	template, _, err := unstructured.NestedString(cm.Object, "data", "channel-template-spec")
	if err != nil {
		t.Fatal(err)
	}
	channel := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict([]byte(template), channel); err != nil {
		t.Fatal(err)
	}
	f := loadSchemas(t)[channel.GroupVersionKind()]
	if f == nil {
		t.Fatalf("no schema for %s", channel.GroupVersionKind())
	}
	f.check(t, channel)
}

// TestAudiences checks that what a function expects is what Knative is told to send.
func TestAudiences(t *testing.T) {
	all := build(t, "config/overlays/oidc")
	audiences := map[string]string{}
	for _, o := range all {
		if o.GroupVersionKind().Group != "serving.knative.dev" {
			continue
		}
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		env, _, _ := unstructured.NestedSlice(containers[0].(map[string]any), "env")
		for _, e := range env {
			if v := e.(map[string]any); v["name"] == "OIDC_AUDIENCE" {
				audiences[o.GetName()] = v["value"].(string)
			}
		}
	}
	checked := 0
	for key, o := range all {
		for _, path := range [][]string{{"spec", "subscriber"}, {"spec", "sink"}, {"spec", "delivery", "deadLetterSink"}} {
			destination, ok, _ := unstructured.NestedMap(o.Object, path...)
			kind, _, _ := unstructured.NestedString(destination, "ref", "kind")
			if !ok || kind != "Service" {
				continue
			}
			name, _, _ := unstructured.NestedString(destination, "ref", "name")
			got, _ := destination["audience"].(string)
			if want := audiences[name]; want == "" || got != want {
				t.Errorf("%s: %s: function %s expects audience %q, got %q", key, strings.Join(path, "."), name, want, got)
			}
			checked++
		}
	}
	if checked < 6 {
		t.Errorf("only %d destinations were found", checked)
	}
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
