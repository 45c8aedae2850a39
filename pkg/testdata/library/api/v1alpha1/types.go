package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// Shelf holds books.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=shelves,categories=models
// +kubebuilder:metadata:labels="synchronizer.xos-knative.dev/model=true"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/steps=sync"
// +kubebuilder:printcolumn:name="Synced",type=string,JSONPath=`.status.conditions[?(@.type=="Synced")].status`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type Shelf struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec ShelfSpec `json:"spec"`
	// +optional
	// +kubebuilder:default={}
	Status ShelfStatus `json:"status,omitempty"`
}

// ShelfStatus has what the steps report of a shelf.
type ShelfStatus struct {
	model.Status `json:",inline"`
	// What the library knows of the shelf.
	// +optional
	Observed ShelfObserved `json:"observed,omitempty"`
}

// ShelfObserved is what the library knows of a shelf.
type ShelfObserved struct {
	// Where the shelf is.
	// +optional
	Room string `json:"room,omitempty"`
}

// ShelfSpec is what a user declares of a shelf.
type ShelfSpec struct {
	// Display name. Default: the name of the object.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// What stands on the shelf's label: text that is not blank.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.trim() != ''",message="must not be blank"
	Label string `json:"label"`
}

// ShelfList is a list of shelves.
//
// +kubebuilder:object:root=true
type ShelfList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Shelf `json:"items"`
}

// Book stands on a shelf.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:selectablefield:JSONPath=`.spec.shelf.name`
// +kubebuilder:selectablefield:JSONPath=`.spec.name`
// +kubebuilder:resource:categories=models
// +kubebuilder:metadata:labels="synchronizer.xos-knative.dev/model=true"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/steps=sync,policy"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/depends-on=Shelf=spec.shelf.name"
// +kubebuilder:metadata:annotations="synchronizer.xos-knative.dev/uses-observed=spec.shelf.name"
// +kubebuilder:printcolumn:name="Title",type=string,JSONPath=`.spec.title`
// +kubebuilder:printcolumn:name="Synced",type=string,JSONPath=`.status.conditions[?(@.type=="Synced")].status`
// +kubebuilder:printcolumn:name="Policy",type=string,JSONPath=`.status.conditions[?(@.type=="PolicyApplied")].status`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type Book struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec BookSpec `json:"spec"`
	// +optional
	// +kubebuilder:default={}
	Status BookStatus `json:"status,omitempty"`
}

// BookStatus has what the steps report of a book.
type BookStatus struct {
	model.Status `json:",inline"`
	// What the library knows of the book.
	// +optional
	Observed BookObserved `json:"observed,omitempty"`
}

// BookObserved is what the library knows of a book.
type BookObserved struct {
	// Where the book is.
	// +optional
	Place string `json:"place,omitempty"`
	// How often it was lent.
	// +optional
	Lent int32 `json:"lent,omitempty"`
	// In which condition it is.
	// +optional
	// +kubebuilder:validation:Enum=new;worn
	Condition string `json:"condition,omitempty"`
}

// BookSpec is what a user declares of a book.
type BookSpec struct {
	// Display name. Default: the name of the object.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// What the book is called: text that is not blank.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.trim() != ''",message="must not be blank"
	Title string `json:"title"`
	// The Shelf that the book stands on.
	// +optional
	Shelf *ShelfReference `json:"shelf,omitempty"`
}

// ShelfReference names a Shelf.
type ShelfReference struct {
	// Name of a Shelf in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Name string `json:"name"`
}

// BookList is a list of books.
//
// +kubebuilder:object:root=true
type BookList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Book `json:"items"`
}
