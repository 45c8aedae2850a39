package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of the models.
var GroupVersion = schema.GroupVersion{Group: "helloworld.xos-knative.dev", Version: "v1alpha1"}

// AddToScheme registers the models and their lists.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&HelloWorldService{}, &HelloWorldServiceList{},
		&HelloWorldServiceInstance{}, &HelloWorldServiceInstanceList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
