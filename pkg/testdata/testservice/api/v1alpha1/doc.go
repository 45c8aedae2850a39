// Package v1alpha1 holds the models of the test service, whose steps wait for each other, save their own
// object and copy it, as switches of the object say (XOS: testservice).
//
// +kubebuilder:object:generate=true
// +groupName=testservice.xos-knative.dev
package v1alpha1
