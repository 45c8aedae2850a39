package model_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/librarytest"
)

// TestNotServed has clients that still believe in a version that the API no longer serves: each request says so
// at once, and none takes an object for missing.
func TestNotServed(t *testing.T) {
	t.Parallel()
	type books = model.Models[*v1alpha1.Book]
	server := kubeapitest.Shared(t)
	versions := librarytest.New(t, server, "versions-"+utilrand.String(5)+".example.dev", nil)
	there := book(t, "there", "")
	calls := map[string]func(context.Context, books) error{
		"Get": func(ctx context.Context, b books) error { _, err := b.Get(ctx, there.Namespace, "there"); return err },
		"List": func(ctx context.Context, b books) error {
			_, err := b.List(ctx, there.Namespace, model.Filter{})
			return err
		},
		"Create": func(ctx context.Context, b books) error { _, err := b.Create(ctx, book(t, "another", "")); return err },
		"Modify": func(ctx context.Context, b books) error {
			_, _, err := b.Modify(ctx, there.Namespace, "there", func(*v1alpha1.Book) error { return nil })
			return err
		},
		"CreateOrModify": func(ctx context.Context, b books) error {
			_, _, err := b.CreateOrModify(ctx, there.Namespace, "there", func(*v1alpha1.Book) error { return nil })
			return err
		},
		"Delete": func(ctx context.Context, b books) error { return b.Delete(ctx, there) },
	}
	clients := map[string]books{}
	for name := range calls {
		c, err := model.NewClient(server.Config(), versions.AddToScheme)
		if err != nil {
			t.Fatal(err)
		}
		clients[name] = model.For[*v1alpha1.Book](c)
		if _, err := clients[name].Kind(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := clients["Create"].Create(t.Context(), &v1alpha1.Book{ObjectMeta: metav1.ObjectMeta{Namespace: there.Namespace, Name: "there"}, Spec: there.Spec}); err != nil {
		t.Fatal(err)
	}
	versions.Serve(librarytest.V1beta1, librarytest.V1beta1)
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			err := call(t.Context(), clients[name])
			if !errors.Is(err, model.ErrVersion) || apierrors.IsNotFound(err) || !strings.Contains(err.Error(), "this program knows v1alpha1, the API serves v1beta1") {
				t.Errorf("want an error that names both versions, got %v", err)
			}
		})
	}
}
