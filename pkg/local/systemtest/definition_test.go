package systemtest

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// TestDefinitionDeleted deletes a definition whose objects have finalizers: the steps clean up, and what starts over the rest
// has the kind again when it is gone.
func TestDefinitionDeleted(t *testing.T) {
	const held, definition = "example.com/held", "books.library.xos-knative.dev"
	dir := t.TempDir()
	w := start(t, dir, libraryDir())
	w.shelve("one")
	setFinalizers := func(change func(*v1alpha1.Book)) {
		_, _, err := w.books.Modify(w.Context(), library, "one", func(b *v1alpha1.Book) error {
			change(b)
			return nil
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	setFinalizers(func(b *v1alpha1.Book) { b.Finalizers = append(b.Finalizers, held) })
	crds := w.objects.Resource(model.CRDs)
	old, err := crds.Get(w.Context(), definition, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	if err := crds.Delete(w.Context(), definition, metav1.DeleteOptions{}); err != nil {
		w.Fatal(err)
	}
	w.Until("the steps have cleaned up", func() bool {
		b, err := w.books.Get(w.Context(), library, "one")
		return err == nil && b.DeletionTimestamp != nil && slices.Equal(b.Finalizers, []string{held})
	})
	if err := w.System.Stop(); err != nil {
		w.Fatal(err)
	}

	w = start(t, dir, libraryDir())
	setFinalizers(func(b *v1alpha1.Book) { b.Finalizers = nil })
	w.Until("the kind is there again", func() bool {
		now, err := w.objects.Resource(model.CRDs).Get(w.Context(), definition, metav1.GetOptions{})
		if err != nil || now.GetUID() == old.GetUID() {
			return false
		}
		_, err = w.books.List(w.Context(), library, model.Filter{})
		return err == nil
	})
	w.shelve("two")
	w.shelve("one")
}
