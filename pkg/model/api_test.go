package model_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

func TestMain(m *testing.M) {
	kubeapitest.Main(m, kubeapi.Options{CRDs: []string{"../../config/core/crds", "../testdata/library/config/crds", "testdata"}})
}

// newClient makes a client; wraps change how it talks to the API.
func newClient(t testing.TB, wraps ...func(http.RoundTripper) http.RoundTripper) *model.Client {
	t.Helper()
	config := kubeapitest.Shared(t).Config()
	for _, w := range wraps {
		config.Wrap(w)
	}
	return clientFor(t, config)
}

func clientFor(t testing.TB, config *rest.Config) *model.Client {
	t.Helper()
	c, err := model.NewClient(config, v1alpha1.AddToScheme, func(s *runtime.Scheme) error {
		s.AddKnownTypes(boxVersion, &Box{})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// namespaces holds the namespace of each test, by its testing.TB.
var namespaces sync.Map

// namespaceOf is the test's own namespace, another one in each run of it.
func namespaceOf(t testing.TB) string {
	namespace, _ := namespaces.LoadOrStore(t, kubeapitest.Namespace(t))
	return namespace.(string)
}

func shelf(t testing.TB, name string) *v1alpha1.Shelf {
	s := &v1alpha1.Shelf{Spec: v1alpha1.ShelfSpec{Label: "Fiction"}}
	s.Namespace, s.Name = namespaceOf(t), name
	return s
}

func book(t testing.TB, name, shelf string) *v1alpha1.Book {
	i := &v1alpha1.Book{Spec: v1alpha1.BookSpec{Title: "Dune"}}
	i.Namespace, i.Name = namespaceOf(t), name
	if shelf != "" {
		i.Spec.Shelf = &v1alpha1.ShelfReference{Name: shelf}
	}
	return i
}

// save creates an object, or updates one that was read, and returns it as it is in the API.
func save[T model.Object](t testing.TB, c *model.Client, obj T) T {
	t.Helper()
	var saved T
	var err error
	if obj.GetResourceVersion() == "" {
		saved, err = model.For[T](c).Create(t.Context(), obj)
	} else {
		saved, _, err = model.For[T](c).Update(t.Context(), obj)
	}
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

// read is an object as the API has it, and its kind.
type read struct {
	kind *model.Kind
	*unstructured.Unstructured
}

// get reads an object as it is now.
func get[T model.Object](t testing.TB, c *model.Client, obj T) read {
	t.Helper()
	k, err := model.For[T](c).Kind(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u, err := c.Live(t.Context(), k, obj.GetNamespace(), obj.GetName())
	if err != nil {
		t.Fatal(err)
	}
	return read{k, u}
}

// live takes a snapshot of an object as it is now.
func live[T model.Object](t testing.TB, c *model.Client, obj T) *model.Snapshot {
	t.Helper()
	o := get(t, c, obj)
	s, err := o.kind.SnapshotOf(o.Unstructured)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var boxVersion = schema.GroupVersion{Group: "test.xos-knative.dev", Version: "v1"}

// Box is a model whose Go type knows less than its definition: see testdata.
type Box struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              BoxSpec   `json:"spec"`
	Status            BoxStatus `json:"status,omitzero"`
}

// BoxStatus has what is reported of a box. The definition has no default for it.
type BoxStatus struct {
	model.Status `json:",inline"`
	Observed     BoxObserved `json:"observed,omitzero"`
}

// BoxObserved is what is reported of a box.
type BoxObserved struct {
	Place string            `json:"place,omitempty"`
	Marks map[string]string `json:"marks,omitempty"`
}

// BoxSpec is the part of a box's spec that Go knows.
type BoxSpec struct {
	Size  int    `json:"size,omitempty"`
	Shelf string `json:"shelf,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (b *Box) DeepCopyObject() runtime.Object {
	raw, err := json.Marshal(b)
	if err != nil {
		panic(err)
	}
	c := &Box{}
	if err := json.Unmarshal(raw, c); err != nil {
		panic(err)
	}
	return c
}

func box(t testing.TB, name string) *Box {
	return &Box{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf(t), Name: name}}
}

// define installs a model whose objects depend on Shelves.
func define(t testing.TB, kind string) *model.Kind {
	t.Helper()
	file := filepath.Join(t.TempDir(), "crd.yaml")
	crd := fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: %[1]ss.test.xos-knative.dev
  labels: {synchronizer.xos-knative.dev/model: "true"}
  annotations:
    synchronizer.xos-knative.dev/steps: sync
    synchronizer.xos-knative.dev/depends-on: Shelf.library.xos-knative.dev=spec.shelf
spec:
  group: test.xos-knative.dev
  scope: Namespaced
  names: {kind: %[2]s, plural: %[1]ss, singular: %[1]s, listKind: %[2]sList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, strings.ToLower(kind), kind)
	if err := os.WriteFile(file, []byte(crd), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := kubeapitest.Shared(t).ApplyCRDs(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	return &model.Kind{GVK: boxVersion.WithKind(kind), Resource: strings.ToLower(kind) + "s"}
}
