// Package apis gathers the Go types of all models of this project: one package
// for each API group and version, written once, from which `make generate`
// makes the deep copies and the CustomResourceDefinitions.
package apis

import (
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	corev1alpha1 "github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	helloworldv1alpha1 "github.com/xos-knative/synchronizer/pkg/apis/helloworld/v1alpha1"
)

// NewScheme returns a scheme that knows all models of this project.
func NewScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1alpha1.AddToScheme(scheme))
	utilruntime.Must(helloworldv1alpha1.AddToScheme(scheme))
	return scheme
}
