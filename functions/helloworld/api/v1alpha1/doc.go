// Package v1alpha1 holds the models of the hello-world example, taken from the XOS tutorial: a
// service that says hello, and its instances, each of which greets somebody.
//
// +kubebuilder:object:generate=true
// +groupName=helloworld.xos-knative.dev
package v1alpha1
