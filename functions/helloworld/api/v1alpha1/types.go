package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// HelloWorldService greets in somebody's name.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=hws,categories=models
// +kubebuilder:metadata:labels="synchronizer.xos-knative.dev/model=true"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/steps=sync"
// +kubebuilder:printcolumn:name="From",type=string,JSONPath=`.spec.helloFrom`
// +kubebuilder:printcolumn:name="Synced",type=string,JSONPath=`.status.conditions[?(@.type=="Synced")].status`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type HelloWorldService struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What the user declares.
	// +required
	Spec HelloWorldServiceSpec `json:"spec"`
	// What the steps acknowledge; not written by users.
	// +optional
	// +kubebuilder:default={}
	Status model.Status `json:"status,omitempty"`
}

// HelloWorldServiceSpec is what a user declares of a service.
type HelloWorldServiceSpec struct {
	// Display name, free text of 1 to 253 characters. Default: the name of the object.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// Who says hello: text that is not blank, at most 253 characters. After a change all instances
	// of the service greet again.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.trim() != ''",message="must not be blank"
	HelloFrom string `json:"helloFrom"`
}

// HelloWorldServiceInstance greets somebody in the name of its service.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:selectablefield:JSONPath=`.spec.owner.name`
// +kubebuilder:selectablefield:JSONPath=`.spec.name`
// +kubebuilder:resource:shortName=hwsi,categories=models
// +kubebuilder:metadata:labels="synchronizer.xos-knative.dev/model=true"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/steps=sync,policy"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/depends-on=HelloWorldService=spec.owner.name"
// +kubebuilder:printcolumn:name="To",type=string,JSONPath=`.spec.helloTo`
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.owner.name`,priority=1
// +kubebuilder:printcolumn:name="Synced",type=string,JSONPath=`.status.conditions[?(@.type=="Synced")].status`
// +kubebuilder:printcolumn:name="Policy",type=string,JSONPath=`.status.conditions[?(@.type=="PolicyApplied")].status`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type HelloWorldServiceInstance struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What the user declares.
	// +required
	Spec HelloWorldServiceInstanceSpec `json:"spec"`
	// What the steps acknowledge; not written by users.
	// +optional
	// +kubebuilder:default={}
	Status model.Status `json:"status,omitempty"`
}

// HelloWorldServiceInstanceSpec is what a user declares of an instance.
type HelloWorldServiceInstanceSpec struct {
	// Display name, free text of 1 to 253 characters. Default: the name of the object.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// Who is greeted: text that is not blank, at most 253 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.trim() != ''",message="must not be blank"
	HelloTo string `json:"helloTo"`
	// The HelloWorldService that the instance belongs to. An instance without one gets the only
	// service of its namespace; if there is none, or several, it waits.
	// +optional
	Owner *OwnerReference `json:"owner,omitempty"`
}

// OwnerReference names the HelloWorldService of an instance.
type OwnerReference struct {
	// Name of a HelloWorldService in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Name string `json:"name"`
}

// DisplayName is the name for humans: spec.name, or the name of the object.
func (i *HelloWorldServiceInstance) DisplayName() string {
	if i.Spec.Name != "" {
		return i.Spec.Name
	}
	return i.Name
}

// OwnerName is the name of the service that the instance belongs to, empty if it has none yet.
func (i *HelloWorldServiceInstance) OwnerName() string {
	if i.Spec.Owner == nil {
		return ""
	}
	return i.Spec.Owner.Name
}
