// Package v1alpha1 holds the models that are not tied to one managed service:
// constraints between services, and the dead letters of the events Broker.
//
// +kubebuilder:object:generate=true
// +groupName=core.xos-knative.dev
package v1alpha1
