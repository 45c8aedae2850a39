package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// TestService is what instances belong to. It has no steps.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=testservices,categories=models
// +kubebuilder:metadata:labels="synchronizer.xos-knative.dev/model=true"
type TestService struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec TestServiceSpec `json:"spec"`
}

// TestServiceSpec is what a user declares of a service.
type TestServiceSpec struct {
	// Display name.
	// +required
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
}

// TestServiceList is a list of services.
//
// +kubebuilder:object:root=true
type TestServiceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TestService `json:"items"`
}

// TestServiceInstance says by its switches what its steps do.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=testserviceinstances,categories=models
// +kubebuilder:metadata:labels="synchronizer.xos-knative.dev/model=true"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/steps=sync,policy"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/depends-on=TestService=spec.owner.name"
// +kubebuilder:printcolumn:name="Synced",type=string,JSONPath=`.status.conditions[?(@.type=="Synced")].status`
// +kubebuilder:printcolumn:name="Policy",type=string,JSONPath=`.status.conditions[?(@.type=="PolicyApplied")].status`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
type TestServiceInstance struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec TestServiceInstanceSpec `json:"spec"`
	// +optional
	// +kubebuilder:default={}
	Status TestServiceInstanceStatus `json:"status,omitempty"`
}

// TestServiceInstanceSpec is what a user declares of an instance. Of the switches by which a step waits for
// the other one only one can be on: two steps would wait for each other forever. Of those by which a step
// saves its object, too: the steps would wake each other forever.
//
// +kubebuilder:validation:XValidation:rule="[self.syncAfterPolicy, self.syncDuringPolicy, self.policyAfterSync, self.policyDuringSync].filter(on, on).size() <= 1",message="at most one of syncAfterPolicy, syncDuringPolicy, policyAfterSync and policyDuringSync can be true: the steps would wait for each other"
// +kubebuilder:validation:XValidation:rule="!(self.updateDuringSync && self.updateDuringPolicy)",message="at most one of updateDuringSync and updateDuringPolicy can be true: the steps would wake each other without end"
type TestServiceInstanceSpec struct {
	Values `json:",inline"`

	// The TestService that the instance belongs to.
	// +optional
	Owner *Reference `json:"owner,omitempty"`

	// The sync waits until the policy is done.
	// +kubebuilder:default=false
	SyncAfterPolicy bool `json:"syncAfterPolicy"`
	// The policy begins, the sync begins and ends, the policy ends.
	// +kubebuilder:default=false
	SyncDuringPolicy bool `json:"syncDuringPolicy"`
	// The policy waits until the sync is done.
	// +kubebuilder:default=false
	PolicyAfterSync bool `json:"policyAfterSync"`
	// The sync begins, the policy begins and ends, the sync ends.
	// +kubebuilder:default=false
	PolicyDuringSync bool `json:"policyDuringSync"`
	// The sync adds one to syncUpdates.
	// +kubebuilder:default=false
	UpdateDuringSync bool `json:"updateDuringSync"`
	// The policy adds one to policyUpdates.
	// +kubebuilder:default=false
	UpdateDuringPolicy bool `json:"updateDuringPolicy"`
	// There is a TestServiceDuplicate with the same values.
	// +kubebuilder:default=false
	CreateDuplicate bool `json:"createDuplicate"`
}

// Values has a field of each type of XOS's models.
type Values struct {
	// Display name.
	// +required
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// How often the sync has saved the object.
	// +optional
	SyncUpdates int32 `json:"syncUpdates,omitempty"`
	// How often the policy has saved the object.
	// +optional
	PolicyUpdates int32 `json:"policyUpdates,omitempty"`

	// A line of text.
	// +optional
	// +kubebuilder:default="some"
	// +kubebuilder:validation:MaxLength=32
	SomeString string `json:"someString,omitempty"`
	// Text of any length.
	// +optional
	SomeText string `json:"someText,omitempty"`
	// One of two words.
	// +optional
	// +kubebuilder:validation:Enum=one;two
	SomeChoice string `json:"someChoice,omitempty"`
	// An address.
	// +optional
	// +kubebuilder:validation:Format=ipv4
	SomeAddress string `json:"someAddress,omitempty"`
	// A number from -100 to 199.
	// +optional
	// +kubebuilder:validation:Minimum=-100
	// +kubebuilder:validation:Maximum=199
	SomeInt32 *int32 `json:"someInt32,omitempty"`
	// A number of 32 bits that is not negative.
	// +optional
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	SomeUint32 *uint32 `json:"someUint32,omitempty"`
	// A number that need not be whole.
	// +optional
	// +kubebuilder:default=3.5
	SomeFloat *float64 `json:"someFloat,omitempty"`
	// Yes or no.
	// +optional
	// +kubebuilder:default=true
	SomeBool bool `json:"someBool"`
	// Date and time.
	// +optional
	SomeTime *metav1.Time `json:"someTime,omitempty"`
}

// Reference names an object in the same namespace.
type Reference struct {
	// Name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
}

// TestServiceInstanceStatus has what the steps report of an instance.
type TestServiceInstanceStatus struct {
	model.Status `json:",inline"`
	// How far the steps are.
	// +optional
	Observed TestServiceInstanceObserved `json:"observed,omitempty"`
}

// TestServiceInstanceObserved says how far the steps are.
type TestServiceInstanceObserved struct {
	// The generation for which the sync has begun.
	// +optional
	SyncBegun int64 `json:"syncBegun,omitempty"`
	// The generation for which the policy has begun.
	// +optional
	PolicyBegun int64 `json:"policyBegun,omitempty"`
}

// TestServiceInstanceList is a list of instances.
//
// +kubebuilder:object:root=true
type TestServiceInstanceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TestServiceInstance `json:"items"`
}

// TestServiceDuplicate is a copy of an instance. It has no steps.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=testserviceduplicates,categories=models
// +kubebuilder:metadata:labels="synchronizer.xos-knative.dev/model=true"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/depends-on=TestServiceInstance=spec.original.name"
type TestServiceDuplicate struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec TestServiceDuplicateSpec `json:"spec"`
}

// TestServiceDuplicateSpec is what the policy declares of a duplicate.
type TestServiceDuplicateSpec struct {
	Values `json:",inline"`

	// The TestServiceInstance that it is a copy of.
	// +required
	Original Reference `json:"original"`
}

// TestServiceDuplicateList is a list of duplicates.
//
// +kubebuilder:object:root=true
type TestServiceDuplicateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TestServiceDuplicate `json:"items"`
}
