// Package v1alpha1 holds the model of a device that has a life of its own: it takes its time to become
// active, and can fail at any time.
//
// +kubebuilder:object:generate=true
// +groupName=device.xos-knative.dev
package v1alpha1
