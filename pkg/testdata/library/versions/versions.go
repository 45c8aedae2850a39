// Package versions has the models of the library in a second version, v1beta1, in which the label of a shelf is its
// caption, and the title of a book its heading.
package versions

import (
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/conversion"
)

// The versions of the models.
const (
	V1alpha1 = "v1alpha1"
	V1beta1  = "v1beta1"
)

// Renamed is the field of the spec that has another name in v1beta1, by kind and version.
var Renamed = map[string]map[string]string{
	"Shelf": {V1alpha1: "label", V1beta1: "caption"},
	"Book":  {V1alpha1: "title", V1beta1: "heading"},
}

// Conversions are those to each version.
func Conversions() map[string]conversion.Convert {
	return map[string]conversion.Convert{V1alpha1: rename(V1beta1, V1alpha1), V1beta1: rename(V1alpha1, V1beta1)}
}

func rename(from, to string) conversion.Convert {
	return func(u *unstructured.Unstructured) error {
		field := Renamed[u.GetKind()]
		value, ok, err := unstructured.NestedString(u.Object, "spec", field[from])
		if err != nil || !ok {
			return err
		}
		unstructured.RemoveNestedField(u.Object, "spec", field[from])
		return unstructured.SetNestedField(u.Object, value, "spec", field[to])
	}
}

// Serve adds v1beta1 to a definition that has v1alpha1 alone, and says which versions are served, and which is stored.
func Serve(spec *apiextensionsv1.CustomResourceDefinitionSpec, stored string, served ...string) {
	spec.Versions = append(spec.Versions, newer(spec.Versions[0].DeepCopy(), Renamed[spec.Names.Kind]))
	for i := range spec.Versions {
		version := &spec.Versions[i]
		version.Storage, version.Served = version.Name == stored, slices.Contains(served, version.Name)
	}
}

// newer makes v1beta1 of v1alpha1.
func newer(version *apiextensionsv1.CustomResourceDefinitionVersion, field map[string]string) apiextensionsv1.CustomResourceDefinitionVersion {
	version.Name = V1beta1
	version.AdditionalPrinterColumns = slices.DeleteFunc(version.AdditionalPrinterColumns, func(c apiextensionsv1.CustomResourceColumnDefinition) bool {
		return c.JSONPath == ".spec."+field[V1alpha1]
	})
	// The API refuses versions whose schemas differ but whose selectable fields do not. Another order is enough.
	slices.Reverse(version.SelectableFields)
	spec := version.Schema.OpenAPIV3Schema.Properties["spec"]
	spec.Properties[field[V1beta1]] = spec.Properties[field[V1alpha1]]
	delete(spec.Properties, field[V1alpha1])
	spec.Required = []string{field[V1beta1]}
	version.Schema.OpenAPIV3Schema.Properties["spec"] = spec
	return *version
}
