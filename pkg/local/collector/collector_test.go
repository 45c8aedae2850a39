package collector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"

	"github.com/xos-knative/synchronizer/pkg/local/collector"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
)

const hold = "example.com/hold"

// world is an API with a Collector, and a namespace in it.
type world struct {
	*testing.T
	api   *kubeapi.Server
	all   dynamic.Interface
	boxes dynamic.ResourceInterface
}

func start(t *testing.T) *world {
	t.Helper()
	api := kubeapitest.StartServer(t, kubeapi.Options{CRDs: []string{"../kubeapi/testdata/boxes.yaml"}})
	all, err := dynamic.NewForConfig(api.Config())
	if err != nil {
		t.Fatal(err)
	}
	c, err := collector.Start(api.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return &world{T: t, api: api, all: all}
}

// in is the world for a subtest, with a namespace of its own.
func (w *world) in(t *testing.T, namespace string) *world {
	boxes := w.all.Resource(schema.GroupVersionResource{Group: "test.xos-knative.dev", Version: "v1", Resource: "boxes"})
	return &world{T: t, api: w.api, all: w.all, boxes: boxes.Namespace(namespace)}
}

// box is a Box and the names of its owners.
type box struct {
	name       string
	owners     []string
	block      bool
	finalizers []string
}

// owned makes owner references. An owner that does not exist has a UID of nobody; "Service" is of a kind that is not served.
func (w *world) owned(b box) (refs []metav1.OwnerReference) {
	w.Helper()
	for _, name := range b.owners {
		ref := metav1.OwnerReference{APIVersion: "test.xos-knative.dev/v1", Kind: "Box", Name: name, UID: "nobody", BlockOwnerDeletion: ptr.To(b.block)}
		if name == "Service" {
			ref.APIVersion, ref.Kind = "v1", "Service"
		} else if u, err := w.boxes.Get(w.Context(), name, metav1.GetOptions{}); err == nil {
			ref.UID = u.GetUID()
		}
		refs = append(refs, ref)
	}
	return refs
}

func (w *world) create(b box) {
	w.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "test.xos-knative.dev/v1", "kind": "Box"}}
	u.SetName(b.name)
	u.SetFinalizers(b.finalizers)
	u.SetOwnerReferences(w.owned(b))
	if _, err := w.boxes.Create(w.Context(), u, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

// patch changes the metadata of a box.
func (w *world) patch(name, metadata string) {
	w.Helper()
	if _, err := w.boxes.Patch(w.Context(), name, types.MergePatchType, []byte(`{"metadata":`+metadata+`}`), metav1.PatchOptions{}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) delete(name string, policy metav1.DeletionPropagation) {
	w.Helper()
	if err := w.boxes.Delete(w.Context(), name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		w.Fatal(err)
	}
}

// left are the boxes that are there, each with the names of its owners; a name with "-" is being deleted.
func (w *world) left() map[string][]string {
	list, err := w.boxes.List(context.Background(), metav1.ListOptions{})
	if err != nil {
		w.Error(err)
		return nil
	}
	all := map[string][]string{}
	for _, u := range list.Items {
		name, owners := u.GetName(), []string{}
		if u.GetDeletionTimestamp() != nil {
			name += "-"
		}
		for _, o := range u.GetOwnerReferences() {
			owners = append(owners, o.Name)
		}
		all[name] = owners
	}
	return all
}

func (w *world) until(reason string, want map[string][]string) {
	w.Helper()
	w.untilTrue(func() string { return cmp.Diff(want, w.left()) }, reason)
}

// untilTrue waits until f finds nothing that is different.
func (w *world) untilTrue(f func() string, reason string) {
	w.Helper()
	var diff string
	err := wait.PollUntilContextTimeout(w.Context(), 10*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
		diff = f()
		return diff == "", nil
	})
	if err != nil {
		w.Errorf("%s: -want +got:\n%s", reason, diff)
	}
}

// settle returns when the Collector has dealt with all that has happened before: it looks at one object after the other.
func (w *world) settle() {
	w.Helper()
	w.create(box{name: "last", owners: []string{"gone"}})
	w.untilTrue(func() string {
		_, gone := w.left()["last"]
		if gone {
			return "last"
		}
		return ""
	}, "who has no owner goes")
}

func TestCollector(t *testing.T) {
	w := start(t)
	t.Run("Policies", w.testPolicies)
	t.Run("Released", w.testReleased)
	t.Run("Cycle", w.testCycle)
	t.Run("Ring", w.testRing)
	t.Run("Definitions", w.testDefinitions)
}

func (w *world) testPolicies(t *testing.T) {
	none := map[string][]string{}
	child := box{name: "child", owners: []string{"owner"}, block: true}
	grandchild := box{name: "grandchild", owners: []string{"child"}, block: true}
	cases := map[string]struct {
		reason string
		policy metav1.DeletionPropagation
		boxes  []box
		want   map[string][]string
	}{
		"Alone":         {"Foreground deletion of what nothing depends on ends.", metav1.DeletePropagationForeground, nil, none},
		"AloneOrphan":   {"So does one that would leave orphans.", metav1.DeletePropagationOrphan, nil, none},
		"Foreground":    {"What depends on it goes, too.", metav1.DeletePropagationForeground, []box{child, grandchild}, none},
		"NotBlocking":   {"Also what does not block it.", metav1.DeletePropagationForeground, []box{{name: "child", owners: []string{"owner"}}}, none},
		"Background":    {"The same, later.", metav1.DeletePropagationBackground, []box{child, grandchild}, none},
		"Orphan":        {"An orphan stays, and knows no owner.", metav1.DeletePropagationOrphan, []box{child, grandchild}, map[string][]string{"child": {}, "grandchild": {"child"}}},
		"OtherOwner":    {"Who has another owner stays with that one.", metav1.DeletePropagationBackground, []box{{name: "other"}, {name: "child", owners: []string{"owner", "other"}}}, map[string][]string{"other": {}, "child": {"other"}}},
		"OtherOwnerToo": {"Also if the one waits for it.", metav1.DeletePropagationForeground, []box{{name: "other"}, {name: "child", owners: []string{"owner", "other"}, block: true}}, map[string][]string{"other": {}, "child": {"other"}}},
		"Held":          {"Who blocks a deletion is asked to go, and waited for.", metav1.DeletePropagationForeground, []box{{name: "child", owners: []string{"owner"}, block: true, finalizers: []string{hold}}}, map[string][]string{"owner-": {}, "child-": {"owner"}}},
		"HeldFree":      {"Who does not is not waited for.", metav1.DeletePropagationForeground, []box{{name: "child", owners: []string{"owner"}, finalizers: []string{hold}}}, map[string][]string{"child-": {"owner"}}},
		"UnknownKind":   {"Of an owner of an unknown kind nobody knows whether it is there.", metav1.DeletePropagationBackground, []box{{name: "child", owners: []string{"Service"}}}, map[string][]string{"child": {"Service"}}},
		"WrongUID":      {"An owner is who has the UID, not the name.", metav1.DeletePropagationBackground, []box{{name: "later"}, {name: "child", owners: []string{"never"}}, {name: "never"}}, map[string][]string{"later": {}, "never": {}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := w.in(t, fmt.Sprintf("n%d", slices.Index(slices.Sorted(maps.Keys(cases)), name)))
			for _, b := range append([]box{{name: "owner"}}, tc.boxes...) {
				w.create(b)
			}
			w.delete("owner", tc.policy)
			w.until(tc.reason, tc.want)
			w.settle()
			w.until(tc.reason+" It stays so", tc.want)
			for name := range w.left() {
				w.patch(strings.TrimSuffix(name, "-"), `{"finalizers":null}`)
			}
		})
	}
}

// testReleased ends a deletion that waits for another finalizer of what blocks it.
func (w *world) testReleased(t *testing.T) {
	w = w.in(t, "released")
	w.create(box{name: "owner"})
	w.create(box{name: "child", owners: []string{"owner"}, block: true, finalizers: []string{hold}})
	w.delete("owner", metav1.DeletePropagationForeground)
	w.until("the owner waits", map[string][]string{"owner-": {}, "child-": {"owner"}})
	w.patch("child", `{"finalizers":null}`)
	w.until("both go", map[string][]string{})
}

// testCycle deletes two objects that own each other.
func (w *world) testCycle(t *testing.T) {
	w = w.in(t, "cycle")
	w.create(box{name: "a"})
	w.create(box{name: "b", owners: []string{"a"}, block: true})
	b, err := w.boxes.Get(t.Context(), "b", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.patch("a", fmt.Sprintf(`{"ownerReferences":[{"apiVersion":"test.xos-knative.dev/v1","kind":"Box","name":"b","uid":%q,"blockOwnerDeletion":true}]}`, b.GetUID()))
	w.delete("a", metav1.DeletePropagationForeground)
	w.until("both go", map[string][]string{})
}

// testRing deletes three objects that own each other, all at the same time: each has been asked to wait for the next.
func (w *world) testRing(t *testing.T) {
	w = w.in(t, "ring")
	names := []string{"a", "b", "c"}
	for _, name := range names {
		w.create(box{name: name, finalizers: []string{metav1.FinalizerDeleteDependents}})
	}
	for i, name := range names {
		owners, err := json.Marshal(w.owned(box{owners: []string{names[(i+1)%len(names)]}, block: true}))
		if err != nil {
			t.Fatal(err)
		}
		w.patch(name, fmt.Sprintf(`{"ownerReferences":%s}`, owners))
	}
	for _, name := range names {
		w.delete(name, metav1.DeletePropagationForeground)
	}
	w.until("all go", map[string][]string{})
}

// testDefinitions deletes a definition in the foreground, and collects when it is there again.
func (w *world) testDefinitions(t *testing.T) {
	w = w.in(t, "definitions")
	w.create(box{name: "old"})
	crds := w.all.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	const name = "boxes.test.xos-knative.dev"
	if err := crds.Delete(t.Context(), name, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}); err != nil {
		t.Fatal(err)
	}
	w.untilTrue(func() string {
		if _, err := crds.Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Sprint("the definition: ", err)
		}
		return ""
	}, "the definition goes")
	if err := w.api.ApplyCRDs(t.Context(), "../kubeapi/testdata/boxes.yaml"); err != nil {
		t.Fatal(err)
	}
	w.create(box{name: "owner"})
	w.create(box{name: "child", owners: []string{"owner"}, block: true})
	w.delete("owner", metav1.DeletePropagationForeground)
	w.until("both go", map[string][]string{})
}
