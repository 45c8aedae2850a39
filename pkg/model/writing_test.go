package model_test

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/xos-knative/synchronizer/pkg/model"
)

func TestWriting(t *testing.T) {
	c := newClient(t)
	there := save(t, c, shelf(t, "there"))
	kind := get(t, c, there).kind
	set := func(value any, path ...string) func(*unstructured.Unstructured) error {
		return func(u *unstructured.Unstructured) error {
			if err := unstructured.SetNestedField(u.Object, "written", "spec", "label"); err != nil {
				return err
			}
			return unstructured.SetNestedField(u.Object, value, path...)
		}
	}
	tests := map[string]struct {
		reason  string
		options model.WriteOptions
		change  func(*unstructured.Unstructured) error
		is      func(error) bool
	}{
		"Dropped": {"Without options a field that nobody knows is dropped.", model.WriteOptions{DryRun: true}, set("x", "spec", "colour"), nil},
		"Strict":  {"Strict refuses it.", model.WriteOptions{DryRun: true, Strict: true}, set("x", "spec", "colour"), func(err error) bool { return apierrors.IsBadRequest(err) || apierrors.IsInvalid(err) }},
		"Checked": {"A dry run is checked like a write.", model.WriteOptions{DryRun: true}, set(" ", "spec", "label"), apierrors.IsInvalid},
		"Good":    {"And says that all is well.", model.WriteOptions{DryRun: true, Strict: true, FieldManager: "test"}, set("Name", "spec", "name"), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, object := range []string{"there", "new"} {
				u, op, err := c.Writing(tt.options).CreateOrModify(t.Context(), kind, there.Namespace, object, tt.change)
				if tt.is != nil {
					if err == nil || !tt.is(err) {
						t.Errorf("%s: %s: got %v", tt.reason, object, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%s: %s: %v", tt.reason, object, err)
				}
				if want := map[string]model.Operation{"there": model.Updated, "new": model.Created}[object]; op != want {
					t.Errorf("%s: %s: want %s, got %s", tt.reason, object, want, op)
				}
				if label, _, _ := unstructured.NestedString(u.Object, "spec", "label"); label != "written" {
					t.Errorf("%s: what would come of it is returned: got %v", object, u.Object)
				}
			}
			if now := get(t, c, there); now.GetResourceVersion() != there.ResourceVersion {
				t.Errorf("nothing is stored: the object changed to %v", now.Object)
			}
			if _, err := c.Live(t.Context(), kind, there.Namespace, "new"); !model.IsGone(err) {
				t.Errorf("nothing is stored: looking for the new one: %v", err)
			}
		})
	}
}
