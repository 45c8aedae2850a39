package kubeapi_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/conversion"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
)

// rename makes one field of the spec another one.
func rename(from, to string) conversion.Convert {
	return func(u *unstructured.Unstructured) error {
		value, ok, err := unstructured.NestedString(u.Object, "spec", from)
		if err != nil || !ok {
			return err
		}
		if value == "black" {
			return errors.New("there is no black any more")
		}
		unstructured.RemoveNestedField(u.Object, "spec", from)
		return unstructured.SetNestedField(u.Object, value, "spec", to)
	}
}

// TestConversion has the API call the conversion webhook of a definition: each client sees its own version, whichever is
// the stored one.
func TestConversion(t *testing.T) {
	s := kubeapitest.StartServer(t, kubeapi.Options{CRDs: []string{crdFile}})
	v1 := client(t, s.Config())
	if _, err := v1.Create(t.Context(), box("red", map[string]any{"color": "red"}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.ApplyCRDDocuments(t.Context(), secondVersion(t, kubeapitest.Conversion(t, map[string]conversion.Convert{
		"v1": rename("paint", "color"), "v2": rename("color", "paint"),
	}))); err != nil {
		t.Fatal(err)
	}
	d, err := dynamic.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	v2 := d.Resource(boxes.GroupResource().WithVersion("v2")).Namespace("any")
	got, err := v2.Patch(t.Context(), "red", "application/merge-patch+json", []byte(`{"spec":{"paint":"blue"}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := unstructured.NestedString(got.Object, "spec", "color"); ok || got.GetAPIVersion() != "test.xos-knative.dev/v2" {
		t.Errorf("want the object in v2, got %v", got.Object)
	}
	if got, err = v1.Get(t.Context(), "red", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	if color, _, _ := unstructured.NestedString(got.Object, "spec", "color"); color != "blue" {
		t.Errorf("want in v1 what was written in v2, got %v", got.Object)
	}
	if _, err := v1.Create(t.Context(), box("black", map[string]any{"color": "black"}), metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "there is no black any more") {
		t.Errorf("want the webhook's reason why an object cannot be converted, got %v", err)
	}
}

// secondVersion is the definition of boxes with a version v2, which is stored, beside v1.
func secondVersion(t *testing.T, conversion *apiextensionsv1.CustomResourceConversion) []byte {
	t.Helper()
	raw, err := os.ReadFile(crdFile)
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(raw, crd); err != nil {
		t.Fatal(err)
	}
	v2 := crd.Spec.Versions[0].DeepCopy()
	v2.Name, v2.SelectableFields = "v2", nil
	spec := v2.Schema.OpenAPIV3Schema.Properties["spec"]
	spec.Properties = map[string]apiextensionsv1.JSONSchemaProps{"paint": {Type: "string"}}
	spec.XValidations = nil
	v2.Schema.OpenAPIV3Schema.Properties["spec"] = spec
	crd.Spec.Versions[0].Storage = false
	crd.Spec.Versions = append(crd.Spec.Versions, *v2)
	crd.Spec.Conversion = conversion
	if raw, err = yaml.Marshal(crd); err != nil {
		t.Fatal(err)
	}
	return raw
}
