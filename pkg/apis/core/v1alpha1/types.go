package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// ServiceGraphConstraint tells user interfaces how to lay out services relative to each other. No
// step works on it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=sgc,categories=models
// +kubebuilder:metadata:labels="synchronizer.xos-knative.dev/model=true"
// +kubebuilder:printcolumn:name="Constraints",type=string,JSONPath=`.spec.constraints`
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ServiceGraphConstraint struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What the user declares.
	// +required
	Spec ServiceGraphConstraintSpec `json:"spec"`
}

// ServiceGraphConstraintSpec is what a user declares of a constraint.
type ServiceGraphConstraintSpec struct {
	// The layout as JSON text: an array of service names, of null for a place that stays empty, and
	// of such arrays, for example ["A", [null, "B"]].
	// +required
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:validation:Pattern=`^\s*\[[\s\S]*\]\s*$`
	Constraints string `json:"constraints"`
	// If several constraints name one service, the one with the highest priority counts.
	// +optional
	// +kubebuilder:default=0
	Priority int32 `json:"priority,omitempty"`
}

// ServiceGraphConstraintList is a list of constraints.
//
// +kubebuilder:object:root=true
type ServiceGraphConstraintList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ServiceGraphConstraint `json:"items"`
}

// DeadLetter is an event that could not be delivered, with the reason. Set spec.replay to have it
// sent again; it is removed once it was accepted.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=dl,categories=models
// +kubebuilder:metadata:labels="synchronizer.xos-knative.dev/model=true"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/steps=sync"
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.event.type`
// +kubebuilder:printcolumn:name="Code",type=integer,JSONPath=`.spec.code`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`
// +kubebuilder:printcolumn:name="Destination",type=string,JSONPath=`.spec.destination`,priority=1
// +kubebuilder:printcolumn:name="Replay",type=boolean,JSONPath=`.spec.replay`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type DeadLetter struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// The event, why it could not be delivered, and whether it is to be sent again.
	// +required
	Spec DeadLetterSpec `json:"spec"`
	// How the last replay ended. By default a letter is synced as it is created: there is nothing to do
	// with it before somebody changes it, and a flood of letters costs one write each.
	// +optional
	// +kubebuilder:default={observedGeneration: 1, conditions: {{type: Ready, status: "True", reason: OK, message: OK}, {type: Synced, status: "True", reason: OK, message: OK}}, sync: {generation: 1, state: OK, code: 1, message: OK}}
	Status model.Status `json:"status,omitempty"`
}

// DeadLetterSpec holds an undelivered event.
//
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || !has(self.replay) || !self.replay",optionalOldSelf=true,fieldPath=".replay",message="expected false in a new DeadLetter: set it to true when the letter is there"
type DeadLetterSpec struct {
	// The event as it was published: all attributes and extensions, with the data. Correct the data
	// here before a replay.
	// +required
	// +structType=atomic
	Event CloudEvent `json:"event"`
	// Where it could not be delivered to: the URL of the subscriber. A replay goes there only if it is a
	// Service of the letter's namespace. Without a destination it goes to the namespace's Broker.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Destination string `json:"destination,omitempty"`
	// HTTP status of the last attempt; 0 if there was no answer.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=999
	Code int32 `json:"code,omitempty"`
	// Why it could not be delivered: the subscriber's answer.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Reason string `json:"reason,omitempty"`
	// Set to true to have the event sent again, to the destination.
	// +optional
	Replay bool `json:"replay,omitempty"`
}

// CloudEvent is an event with its data, as in the JSON format of CloudEvents 1.0, except that
// extensions have a map of their own.
type CloudEvent struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	ID string `json:"id"`
	// +required
	// +kubebuilder:validation:MinLength=1
	Source string `json:"source"`
	// +required
	// +kubebuilder:validation:MinLength=1
	Type string `json:"type"`
	// Version of the CloudEvents specification.
	// +optional
	// +kubebuilder:default="1.0"
	// +kubebuilder:validation:Enum="1.0";"0.3"
	SpecVersion string `json:"specversion,omitempty"`
	// +optional
	Subject string `json:"subject,omitempty"`
	// RFC 3339, with as many digits as the event has.
	// +optional
	Time string `json:"time,omitempty"`
	// +optional
	DataSchema string `json:"dataschema,omitempty"`
	// +optional
	DataContentType string `json:"datacontenttype,omitempty"`
	// Extension attributes.
	// +optional
	Extensions map[string]string `json:"extensions,omitempty"`
	// Data of an event whose content is JSON, if the Kubernetes API can store it without loss. This is
	// the place to correct it.
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	Data *apiextensionsv1.JSON `json:"data,omitempty"`
	// The bytes of the data as it came, if they differ from those of field data in white space, order or
	// the like: base64. They are what a replay sends, as long as field data means the same.
	// +optional
	Original []byte `json:"original,omitempty"`
	// Data of any other event: base64.
	// +optional
	DataBase64 []byte `json:"data_base64,omitempty"`
	// How many bytes of the event were too many to be kept. Field data_base64 then has only the
	// beginning of the data, and attributes are cut off if they alone are too large. Such an event is
	// not replayed: first put all of it back and remove this field.
	// +optional
	// +kubebuilder:validation:Minimum=0
	DroppedBytes int64 `json:"droppedBytes,omitempty"`
	// Size in bytes of all of the data, if not all of it was kept.
	// +optional
	DataSize int64 `json:"dataSize,omitempty"`
	// SHA-256 of all of the data, in hexadecimal digits, if not all of it was kept.
	// +optional
	DataSHA256 string `json:"dataSHA256,omitempty"`
}

// DeadLetterList is a list of dead letters.
//
// +kubebuilder:object:root=true
type DeadLetterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DeadLetter `json:"items"`
}
