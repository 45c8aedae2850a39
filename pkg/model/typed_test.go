package model_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

func TestCreate(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	models := model.For[*v1alpha1.Shelf](c)
	created, err := models.Create(ctx, shelf(t, "a"))
	if err != nil || created.UID == "" {
		t.Fatalf("got %v, %v", created, err)
	}
	again := shelf(t, "a")
	again.Spec.Label = "Poems"
	if _, err := models.Create(ctx, again); !apierrors.IsAlreadyExists(err) {
		t.Errorf("want AlreadyExists, got %v", err)
	}
	if got, err := models.Get(ctx, created.Namespace, "a"); err != nil || !cmp.Equal(created, got) {
		t.Errorf("the first must stay as it is, got %v, %v", got, err)
	}
	if _, err := models.Create(ctx, &v1alpha1.Shelf{ObjectMeta: metav1.ObjectMeta{Namespace: created.Namespace, Name: "b"}}); !apierrors.IsInvalid(err) {
		t.Errorf("the API server validates, got %v", err)
	}
}

func TestDelete(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	models := model.For[*v1alpha1.Shelf](c)
	tests := map[string]struct {
		reason string
		obj    func(saved *v1alpha1.Shelf) *v1alpha1.Shelf
		left   bool
	}{
		"Read": {
			reason: "The very object is deleted.",
			obj:    func(s *v1alpha1.Shelf) *v1alpha1.Shelf { return s },
		},
		"ByName": {
			reason: "Without UID, whatever has the name.",
			obj:    func(s *v1alpha1.Shelf) *v1alpha1.Shelf { s.UID = ""; return s },
		},
		"Recreated": {
			reason: "Another object of that name stays, and that the first is gone is no error.",
			obj:    func(s *v1alpha1.Shelf) *v1alpha1.Shelf { s.UID = "other"; return s },
			left:   true,
		},
		"Gone": {
			reason: "Nor is an object that never was.",
			obj:    func(s *v1alpha1.Shelf) *v1alpha1.Shelf { s.Name, s.UID = "b", ""; return s },
			left:   true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			saved := save(t, c, shelf(t, "a"))
			if err := models.Delete(ctx, tt.obj(saved.DeepCopy())); err != nil {
				t.Fatalf("\n%s\n%v", tt.reason, err)
			}
			_, err := models.Get(ctx, saved.Namespace, "a")
			if left := err == nil; left != tt.left || err != nil && !apierrors.IsNotFound(err) {
				t.Errorf("\n%s\nwant left %v, got %v", tt.reason, tt.left, err)
			}
		})
	}
}

func TestList(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	models := model.For[*v1alpha1.Book](c)
	namespace := namespaceOf(t)
	for name, shelf := range map[string]string{"a": "one", "b": "two", "c": "one", "d": ""} {
		i := book(t, name, shelf)
		if name < "c" {
			i.Labels = map[string]string{"half": "first"}
		}
		save(t, c, i)
	}

	tests := map[string]struct {
		reason    string
		namespace string
		filter    model.Filter
		want      []string
		err       func(error) bool
	}{
		"All":       {reason: "No filter.", namespace: namespace, want: []string{"a", "b", "c", "d"}},
		"ByLabel":   {reason: "A label.", namespace: namespace, filter: model.Filter{Labels: labels.SelectorFromSet(labels.Set{"half": "first"})}, want: []string{"a", "b"}},
		"ByField":   {reason: "A selectable field.", namespace: namespace, filter: model.Filter{Fields: fields.OneTermEqualSelector("spec.shelf.name", "one")}, want: []string{"a", "c"}},
		"NoShelf":   {reason: "A selectable field that is not set.", namespace: namespace, filter: model.Filter{Fields: fields.OneTermEqualSelector("spec.shelf.name", "")}, want: []string{"d"}},
		"ByName":    {reason: "The name.", namespace: namespace, filter: model.Filter{Fields: fields.OneTermEqualSelector("metadata.name", "b")}, want: []string{"b"}},
		"Both":      {reason: "Filters add up.", namespace: namespace, filter: model.Filter{Labels: labels.SelectorFromSet(labels.Set{"half": "first"}), Fields: fields.OneTermEqualSelector("spec.shelf.name", "one")}, want: []string{"a"}},
		"Elsewhere": {reason: "Another namespace.", namespace: namespace + "-2"},
		"NotSelectable": {reason: "A field that the definition does not declare is refused, not ignored.", namespace: namespace,
			filter: model.Filter{Fields: fields.OneTermEqualSelector("spec.title", "x")}, err: apierrors.IsBadRequest},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			list, err := models.List(ctx, tt.namespace, tt.filter)
			if tt.err != nil && tt.err(err) {
				return
			}
			if err != nil {
				t.Fatalf("\n%s\n%v", tt.reason, err)
			}
			var got []string
			for _, i := range list {
				got = append(got, i.Name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tt.reason, diff)
			}
		})
	}
}

func TestEachOfManyPages(t *testing.T) {
	ctx, seed := t.Context(), newClient(t)
	const many = 5
	for i := range many {
		save(t, seed, box(t, fmt.Sprintf("b-%d", i)))
	}
	lists := 0
	c := newClient(t, func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/boxes") {
				lists++
				query := r.URL.Query()
				if query.Get("limit") == "" {
					t.Error("a list without limit can have any size")
				}
				query.Set("limit", "2")
				r.URL.RawQuery = query.Encode()
			}
			return next.RoundTrip(r)
		})
	})
	seen := map[string]bool{}
	err := model.For[*Box](c).Each(ctx, namespaceOf(t), model.Filter{}, func(b *Box) error {
		seen[b.Name] = true
		return nil
	})
	if err != nil || len(seen) != many || lists != 3 {
		t.Errorf("want %d objects in 3 pages, got %d in %d, %v", many, len(seen), lists, err)
	}

	stop, calls := errors.New("stop"), 0
	err = model.For[*Box](c).Each(ctx, namespaceOf(t), model.Filter{}, func(*Box) error {
		calls++
		return stop
	})
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("the first error must end it, got %v after %d calls", err, calls)
	}
}

func TestTypedDoesNotFit(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{"kind": "Shelf",
		"metadata": map[string]any{"namespace": "n", "name": "a"}, "spec": map[string]any{"label": int64(1)}}}
	_, err := model.Typed[*v1alpha1.Shelf](u)
	wantError(t, "The error names the object and what does not fit.", err, "Shelf n/a", "string")
}
