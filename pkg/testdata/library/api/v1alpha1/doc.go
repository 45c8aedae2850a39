// Package v1alpha1 holds the two models of the library, the small synchronizer
// that the tests of the core and of the framework use.
//
// +kubebuilder:object:generate=true
// +groupName=library.xos-knative.dev
package v1alpha1
