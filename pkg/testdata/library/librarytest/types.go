package librarytest

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// Shelf is a shelf in v1beta1.
type Shelf struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              ShelfSpec    `json:"spec"`
	Status            model.Status `json:"status,omitempty"`
}

// ShelfSpec has the label under a new name.
type ShelfSpec struct {
	Caption string `json:"caption"`
}

// DeepCopyObject implements runtime.Object.
func (s *Shelf) DeepCopyObject() runtime.Object { return deepCopy(s) }

// Book is a book in v1beta1.
type Book struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              BookSpec     `json:"spec"`
	Status            model.Status `json:"status,omitempty"`
}

// BookSpec has the title under a new name.
type BookSpec struct {
	Name    string                   `json:"name,omitempty"`
	Heading string                   `json:"heading"`
	Shelf   *v1alpha1.ShelfReference `json:"shelf,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (b *Book) DeepCopyObject() runtime.Object { return deepCopy(b) }

func deepCopy[T any](in *T) *T {
	raw, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	out := new(T)
	if err := json.Unmarshal(raw, out); err != nil {
		panic(err)
	}
	return out
}
