package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/librarytest"
)

// TestStoredVersionChanges: a recipe has the words of the oldest version that is served, whichever is the
// stored one.
func TestStoredVersionChanges(t *testing.T) {
	own := kubeapitest.StartServer(t, api)
	versions := librarytest.New(t, own, books.Group, nil)
	w := newWorldOn(t, own)
	recipe := sample(t, "library.yml")
	created := "Created models: ['constraints', 'shelf', 'volume']"
	w.run(recipe).want(t, "v1alpha1 alone", 200, created)

	versions.Serve(librarytest.V1beta1, librarytest.V1alpha1, librarytest.V1beta1)
	before := len(w.writesSoFar())
	w.run(recipe).want(t, "v1beta1 is stored", 200, created)
	if n := len(w.writesSoFar()) - before; n != 0 {
		t.Errorf("v1beta1 is stored: the objects are as the recipe says, but there were %d writes", n)
	}
	recipe = strings.ReplaceAll(recipe, "A Game of Thrones", "A Clash of Kings")
	w.run(recipe).want(t, "a change in the words of v1alpha1", 200, created)
	want := map[string]any{"name": "The First Book", "heading": "A Clash of Kings", "shelf": map[string]any{"name": "fantasy"}}
	if diff := cmp.Diff(want, w.spec(versions.Books(librarytest.V1beta1), "the-first-book")); diff != "" {
		t.Errorf("a change in the words of v1alpha1: -want +got:\n%s", diff)
	}

	versions.Serve(librarytest.V1beta1, librarytest.V1beta1)
	w.run(recipe).want(t, "the words of a version that is no longer served", 400,
		`MissingRequiredFieldError: line 12: node "shelf": property "caption": is required, but not given...`)
	recipe = strings.NewReplacer("title:", "heading:", "label:", "caption:").Replace(recipe)
	w.run(recipe).want(t, "the words of v1beta1", 200, created)
	w.delete(recipe).want(t, "deleted in v1beta1", 200, "Deleted models: ['volume', 'shelf', 'constraints']")
}

// TestNotServedIsNotGone: an API that no longer serves the version of an object says nothing about the object.
func TestNotServedIsNotGone(t *testing.T) {
	w := newWorld(t)
	recipe := sample(t, "library.yml")
	w.run(recipe).want(t, "before", 200, "Created...")
	w.disturbBy(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodDelete {
			return false
		}
		http.NotFound(rw, r)
		return true
	})
	if a := w.delete(recipe); a.code < 400 {
		t.Errorf("what could not be deleted is not deleted, got %d: %s", a.code, a.body)
	}
}
