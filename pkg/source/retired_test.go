package source_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/dynamic"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/librarytest"
)

// retiring is a library whose books lose the label of a model, and get it back.
type retiring struct {
	*library
	definitions, books dynamic.ResourceInterface
	definition         string
}

func newRetiring(t *testing.T) *retiring {
	group := "retired-" + utilrand.String(5) + ".example.dev"
	server := kubeapitest.Shared(t)
	versions := librarytest.New(t, server, group, map[string]string{"rig": group})
	client, err := dynamic.NewForConfig(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	l := newLibrary(t, "rig="+group, versions.AddToScheme)
	l.visibility = 2 * time.Second // A function believes for a second what it has just read of definitions.
	l.startSource()
	books := versions.Books(librarytest.V1alpha1)
	return &retiring{l, client.Resource(model.CRDs), client.Resource(books).Namespace(l.namespace), books.GroupResource().String()}
}

// label sets the label of the definition, and takes it away if it is null.
func (r *retiring) label(value string) {
	r.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, model.LabelModel, value)
	if _, err := r.definitions.Patch(r.Context(), r.definition, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		r.Fatal(err)
	}
}

// awaitTidy waits until nothing of the steps is left on the books, of which one is being deleted.
func (r *retiring) awaitTidy(deleted string) {
	r.Helper()
	r.await("the books are tidy", func(ctx context.Context) (bool, error) {
		list, err := r.books.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, u := range list.Items {
			conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
			if u.GetName() == deleted || len(u.GetFinalizers()) > 0 || len(conditions) > 0 {
				return false, nil
			}
		}
		return true, nil
	})
}

// TestRetired takes the label away from a definition that has objects: its steps leave nothing behind that
// keeps them, whoever of source and function is there at that time. With the label all goes on.
func TestRetired(t *testing.T) {
	t.Parallel()
	r := newRetiring(t)
	books := 4
	r.fill(books)
	for name, retire := range map[string]func(){
		"WhileAllRun":       func() { r.label("null") },
		"SourceStartsLater": func() { r.stop(); r.label("null"); r.startSource() },
		"AllStartLater":     func() { r.stop(); r.label("null"); r.startFunction(); r.startSource() },
	} {
		books--
		last, changed := fmt.Sprintf("i-%02d", books), []byte(fmt.Sprintf(`{"spec":{"title":"before %s"}}`, name))
		retire()
		if err := r.books.Delete(t.Context(), last, metav1.DeleteOptions{}); err != nil {
			t.Fatal(name, err)
		}
		r.awaitTidy(last)
		if _, err := r.books.Patch(t.Context(), "i-00", types.MergePatchType, changed, metav1.PatchOptions{}); err != nil {
			t.Fatal(name, err)
		}
		if err := r.books.Delete(t.Context(), last, metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s: want the deleted book to be gone, got %v", name, err)
		}
		r.label(`"true"`)
		r.awaitReady(books)
		if b, err := r.library.books.Get(t.Context(), r.namespace, "i-00"); err != nil || !slices.Contains(b.Finalizers, model.StepSync.Finalizer()) || b.Status.Sync.Generation != b.Generation {
			t.Errorf("%s: want the change to be synced by a model again, got %+v %v", name, b, err)
		}
	}
}
