// Package v1alpha1 has the models of the workflow driver, which admits the access devices of an operator's
// network.
//
// +kubebuilder:object:generate=true
// +groupName=workflow.xos-knative.dev
package v1alpha1
