package source_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/dynamic"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/librarytest"
)

// TestStoredVersionChanges: the source and steps that are written for v1alpha1 run on while v1beta1 becomes
// the version that objects are stored in. What is changed in v1beta1 is sent, and nothing else.
func TestStoredVersionChanges(t *testing.T) {
	t.Parallel()
	const books = 3
	group := "versions-" + utilrand.String(5) + ".example.dev"
	server := kubeapitest.Shared(t)
	versions := librarytest.New(t, server, group, map[string]string{"rig": group})
	l := newLibrary(t, "rig="+group, versions.AddToScheme)
	l.fill(books)
	l.calledTwice(books + 1)

	versions.Serve(librarytest.V1beta1, librarytest.V1alpha1, librarytest.V1beta1)
	client, err := dynamic.NewForConfig(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"i-00", "i-01"} {
		patch := []byte(`{"spec":{"heading":"changed in v1beta1"}}`)
		if _, err := client.Resource(versions.Books(librarytest.V1beta1)).Namespace(l.namespace).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	l.awaitReady(books)
	l.calledTwice(books + 1 + 2)
	if b, err := l.books.Get(t.Context(), l.namespace, "i-00"); err != nil || b.Spec.Title != "changed in v1beta1" || b.Status.Sync.Failures != 0 {
		t.Errorf("want the change in v1beta1 to be seen and synced, got %+v %v", b, err)
	}
}
