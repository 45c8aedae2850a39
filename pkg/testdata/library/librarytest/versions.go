// Package librarytest gives an API of a test the models of the library in two versions.
package librarytest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/conversion"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/versions"
)

// The versions of the models.
const (
	V1alpha1 = versions.V1alpha1
	V1beta1  = versions.V1beta1
)

// probe is an object that is never stored.
const probe = "probe"

// patience bounds the wait for the API to follow a definition, on a slow, busy machine.
const patience = time.Minute

// Versions are the definitions of shelves and books in a group of a test's own.
type Versions struct {
	t       testing.TB
	server  *kubeapi.Server
	dynamic dynamic.Interface
	client  apiextensionsclient.CustomResourceDefinitionInterface
	group   string
	// definitions in v1alpha1, by the plural of the kind.
	definitions map[string]*apiextensionsv1.CustomResourceDefinition
	// probes counts how often a probe was converted.
	probes atomic.Int64
	// down is the kind whose webhook is down.
	down atomic.Value
}

// New defines shelves and books in v1alpha1. The API must have the definitions of the library, which it
// copies; the copies get the labels too. If the group is that of the library it changes these definitions.
func New(t testing.TB, server *kubeapi.Server, group string, labels map[string]string) *Versions {
	t.Helper()
	v := &Versions{t: t, server: server, group: group, definitions: map[string]*apiextensionsv1.CustomResourceDefinition{}}
	var err error
	if v.dynamic, err = dynamic.NewForConfig(server.Config()); err != nil {
		t.Fatal(err)
	}
	client, err := apiextensionsclient.NewForConfig(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	v.client = client.CustomResourceDefinitions()
	to := versions.Conversions()
	for version, convert := range to {
		to[version] = v.counting(convert)
	}
	webhook := kubeapitest.Conversion(t, to)
	for _, plural := range []string{"shelves", "books"} {
		crd, err := v.client.Get(t.Context(), plural+"."+v1alpha1.GroupVersion.Group, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(crd.Labels, labels)
		crd.Spec.Group, crd.Spec.Conversion = group, webhook
		v.definitions[plural] = &apiextensionsv1.CustomResourceDefinition{
			TypeMeta:   metav1.TypeMeta{APIVersion: apiextensionsv1.SchemeGroupVersion.String(), Kind: "CustomResourceDefinition"},
			ObjectMeta: metav1.ObjectMeta{Name: plural + "." + group, Labels: crd.Labels, Annotations: crd.Annotations},
			Spec:       crd.Spec,
		}
	}
	v.Serve(V1alpha1, V1alpha1)
	if group != v1alpha1.GroupVersion.Group {
		t.Cleanup(v.retire)
	}
	return v
}

// retire makes the kinds models no longer, so that other tests of the API need not read their definitions.
func (v *Versions) retire() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.t.Context()), patience)
	defer cancel()
	patch := []byte(`{"metadata":{"labels":null,"annotations":null}}`)
	for plural := range v.definitions {
		if _, err := v.client.Patch(ctx, plural+"."+v.group, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
			v.t.Error(err)
		}
	}
}

// AddToScheme registers the Go types of both versions.
func (v *Versions) AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(schema.GroupVersion{Group: v.group, Version: V1alpha1}, &v1alpha1.Shelf{}, &v1alpha1.Book{})
	s.AddKnownTypes(schema.GroupVersion{Group: v.group, Version: V1beta1}, &Shelf{}, &Book{})
	return nil
}

// Books is the resource of books in a version.
func (v *Versions) Books(version string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: v.group, Version: version, Resource: "books"}
}

// counting counts the probes that are converted.
func (v *Versions) counting(convert conversion.Convert) conversion.Convert {
	return func(u *unstructured.Unstructured) error {
		if u.GetName() == probe {
			v.probes.Add(1)
		}
		if v.down.Load() == u.GetKind() {
			panic(http.ErrAbortHandler) // The API gets no answer.
		}
		return convert(u)
	}
}

// Serve changes the definitions, and returns when the API serves these versions and no other, and stores
// objects in the one.
func (v *Versions) Serve(stored string, served ...string) {
	v.t.Helper()
	for plural := range v.definitions {
		if err := v.server.ApplyCRDDocuments(v.t.Context(), v.definition(plural, stored, served)); err != nil {
			v.t.Fatal(err)
		}
		for _, version := range []string{V1alpha1, V1beta1} {
			v.await(fmt.Sprintf("%s in %s to be served: %t", plural, version, slices.Contains(served, version)), func(ctx context.Context) bool {
				_, err := v.resource(plural, version).List(ctx, metav1.ListOptions{Limit: 1})
				return (err == nil) == slices.Contains(served, version)
			})
		}
		v.await(fmt.Sprintf("%s to be stored in %s", plural, stored), func(ctx context.Context) bool { return v.stores(ctx, plural, stored, served[0]) })
	}
}

// stores reports whether objects are stored in a version: one that is written in it is not converted, and one
// that is written in any other version is.
func (v *Versions) stores(ctx context.Context, plural, version, written string) bool {
	kind := v.definitions[plural].Spec.Names.Kind
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{versions.Renamed[kind][written]: "any"}}}
	u.SetAPIVersion(v.group + "/" + written)
	u.SetKind(kind)
	u.SetName(probe)
	before := v.probes.Load()
	_, err := v.resource(plural, written).Create(ctx, u, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err == nil && (v.probes.Load() == before) == (version == written)
}

func (v *Versions) resource(plural, version string) dynamic.ResourceInterface {
	return v.dynamic.Resource(schema.GroupVersionResource{Group: v.group, Version: version, Resource: plural}).Namespace(probe)
}

func (v *Versions) await(what string, condition func(context.Context) bool) {
	v.t.Helper()
	err := wait.PollUntilContextTimeout(v.t.Context(), 10*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) { return condition(ctx), nil })
	if err != nil {
		v.t.Fatalf("waiting for %s: %v", what, err)
	}
}

// Down takes down the conversion webhook of one kind, and brings back that of any other.
func (v *Versions) Down(kind string) { v.down.Store(kind) }

// Annotate sets an annotation of a definition for the next call of Serve, by the plural of the kind.
func (v *Versions) Annotate(plural, key, value string) {
	v.definitions[plural].Annotations[key] = value
}

// definition is the one of v1alpha1 with these versions.
func (v *Versions) definition(plural, stored string, served []string) []byte {
	v.t.Helper()
	crd := v.definitions[plural].DeepCopy()
	versions.Serve(&crd.Spec, stored, served...)
	raw, err := yaml.Marshal(crd)
	if err != nil {
		v.t.Fatal(err)
	}
	return raw
}
