package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of this package's models.
var GroupVersion = schema.GroupVersion{Group: "device.xos-knative.dev", Version: "v1alpha1"}

// AddToScheme registers this package's types.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &Device{}, &DeviceList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
