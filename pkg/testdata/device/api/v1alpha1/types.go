package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// Device is to be active.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=models
// +kubebuilder:metadata:labels="synchronizer.xos-knative.dev/model=true"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/steps=sync"
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.observed.state`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type Device struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec DeviceSpec `json:"spec"`
	// +optional
	// +kubebuilder:default={}
	Status DeviceStatus `json:"status,omitempty"`
}

// DeviceSpec is what a user declares of a device.
type DeviceSpec struct {
	// What stands on the device.
	// +required
	// +kubebuilder:validation:MinLength=1
	SerialNumber string `json:"serialNumber"`
}

// DeviceStatus has what the steps report of a device.
type DeviceStatus struct {
	model.Status `json:",inline"`
	// How the device is.
	// +optional
	Observed DeviceObserved `json:"observed,omitempty"`
}

// States of a device.
const (
	// Activating: the activation has begun.
	Activating = "ACTIVATING"
	// Active: the device works.
	Active = "ACTIVE"
	// Failed: the device does not work.
	Failed = "FAILED"
)

// DeviceObserved is how the device is, as the last poll has found it.
type DeviceObserved struct {
	// ACTIVATING, ACTIVE or FAILED.
	// +optional
	State string `json:"state,omitempty"`
	// Why it is so.
	// +optional
	Reason string `json:"reason,omitempty"`
	// The generation of the model that it was activated with.
	// +optional
	Generation int64 `json:"generation,omitempty"`
}

// DeviceList is a list of devices.
//
// +kubebuilder:object:root=true
type DeviceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Device `json:"items"`
}
