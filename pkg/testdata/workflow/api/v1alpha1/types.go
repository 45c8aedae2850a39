package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// AccessDevice connects a subscriber's home to the network.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:selectablefield:JSONPath=`.spec.serialNumber`
// +kubebuilder:resource:categories=models
// +kubebuilder:metadata:labels="synchronizer.xos-knative.dev/model=true"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/steps=policy"
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.observed.state`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type AccessDevice struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec AccessDeviceSpec `json:"spec"`
	// +optional
	// +kubebuilder:default={}
	Status AccessDeviceStatus `json:"status,omitempty"`
}

// AccessDeviceSpec says which device it is.
type AccessDeviceSpec struct {
	// What is printed on the device.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SerialNumber string `json:"serialNumber"`
}

// AccessDeviceStatus has what the steps report of a device.
type AccessDeviceStatus struct {
	model.Status `json:",inline"`
	// What the network says of the device.
	// +optional
	Observed AccessDeviceObserved `json:"observed,omitempty"`
}

// AccessDeviceObserved is what the network says of a device, and the state that follows from it.
type AccessDeviceObserved struct {
	// The last announcement: Activated or Disabled.
	// +optional
	Announced Report `json:"announced,omitzero"`
	// The port on which it was announced.
	// +optional
	Port int32 `json:"port,omitempty"`
	// The last authentication: Approved or Denied.
	// +optional
	Authenticated Report `json:"authenticated,omitzero"`
	// The last DHCP message: Acknowledged or Released.
	// +optional
	DHCP Report `json:"dhcp,omitzero"`
	// The address that DHCP has given.
	// +optional
	Address string `json:"address,omitempty"`
	// What has changed last in the whitelist about the device.
	// +optional
	Entry string `json:"entry,omitempty"`
	// The whitelist has the device on this port.
	// +optional
	Listed bool `json:"listed,omitempty"`
	// When the whitelist last took the device off: what was authenticated before does not count.
	// +optional
	TakenOff *metav1.MicroTime `json:"takenOff,omitempty"`
	// What follows: Unannounced, NotListed, Disabled, AwaitingAuthentication, Denied, AwaitingAddress or Online.
	// +optional
	State string `json:"state,omitempty"`
}

// What is reported of a device.
const (
	Activated    = "Activated"
	Disabled     = "Disabled"
	Approved     = "Approved"
	Denied       = "Denied"
	Acknowledged = "Acknowledged"
	Released     = "Released"
)

// States of a device, beside Disabled and Denied.
const (
	Unannounced            = "Unannounced"
	NotListed              = "NotListed"
	AwaitingAuthentication = "AwaitingAuthentication"
	AwaitingAddress        = "AwaitingAddress"
	Online                 = "Online"
)

// Report is what an event has said, and when.
type Report struct {
	State string           `json:"state"`
	At    metav1.MicroTime `json:"at"`
}

// AccessDeviceList is a list of devices.
//
// +kubebuilder:object:root=true
type AccessDeviceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AccessDevice `json:"items"`
}

// WhitelistEntry admits a device on a port.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:selectablefield:JSONPath=`.spec.serialNumber`
// +kubebuilder:resource:path=whitelistentries,categories=models
// +kubebuilder:metadata:labels="synchronizer.xos-knative.dev/model=true"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/steps=policy"
type WhitelistEntry struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec WhitelistEntrySpec `json:"spec"`
	// +optional
	// +kubebuilder:default={}
	Status model.Status `json:"status,omitempty"`
}

// WhitelistEntrySpec is what an operator declares.
type WhitelistEntrySpec struct {
	// The device.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="must not change"
	SerialNumber string `json:"serialNumber"`
	// The port that it must be on.
	// +required
	Port int32 `json:"port"`
}

// WhitelistEntryList is a list of entries.
//
// +kubebuilder:object:root=true
type WhitelistEntryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []WhitelistEntry `json:"items"`
}

// Subscriber is who is served by a device of the same name. Other synchronizers give him what he pays for.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=models
// +kubebuilder:metadata:labels="synchronizer.xos-knative.dev/model=true"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/steps="
type Subscriber struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec SubscriberSpec `json:"spec"`
	// +optional
	// +kubebuilder:default={}
	Status model.Status `json:"status,omitempty"`
}

// SubscriberSpec follows the device.
type SubscriberSpec struct {
	// State of the device.
	// +required
	State string `json:"state"`
	// Address of the device, while it is online.
	// +optional
	Address string `json:"address,omitempty"`
}

// SubscriberList is a list of subscribers.
//
// +kubebuilder:object:root=true
type SubscriberList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Subscriber `json:"items"`
}
