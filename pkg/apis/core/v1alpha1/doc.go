// Package v1alpha1 has the core's own models: DeadLetter, an event that could not be delivered, and
// ServiceGraphConstraint, a layout of services for user interfaces. Start reading with
// [DeadLetter].
//
// Their definitions in config/core/crds are generated from the markers here (make generate).
//
// +kubebuilder:object:generate=true
// +groupName=core.xos-knative.dev
package v1alpha1
