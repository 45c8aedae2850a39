package upload_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/tosca"
	. "github.com/xos-knative/synchronizer/pkg/tosca/toscatest"
	"github.com/xos-knative/synchronizer/pkg/tosca/upload"
)

const token = "token"

func TestMain(m *testing.M) {
	kubeapitest.Main(m, kubeapi.Options{CRDs: []string{"../testdata/crds"}, Tokens: map[string]string{token: "somebody"}})
}

// world is an Uploader for a namespace of its own, in which Widgets can be changed.
type world struct {
	*testing.T
	*upload.Uploader
	types   *tosca.Types
	widgets dynamic.ResourceInterface
}

func newWorld(t *testing.T) *world {
	t.Helper()
	config, namespace := kubeapitest.Shared(t).Config(), kubeapitest.Namespace(t)
	u, err := upload.New(config, token)
	if err != nil {
		t.Fatal(err)
	}
	types, err := u.Types(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	api, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	gvr := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
	return &world{T: t, Uploader: u.In(namespace), types: types, widgets: api.Resource(gvr).Namespace(namespace)}
}

// nodes are those of a recipe that is in order.
func (w *world) nodes(templates string) []*tosca.Node {
	w.Helper()
	recipe, err := tosca.Parse([]byte(Recipe(templates)))
	if err != nil {
		w.Fatal(err)
	}
	nodes, errs := tosca.Check(recipe, w.types)
	if err := errs.OrNil(); err != nil {
		w.Fatal(err)
	}
	return nodes
}

type planner func(context.Context, []*tosca.Node) (*upload.Plan, tosca.Errors, error)

// plan is what a planner finds out about a recipe that is in order.
func (w *world) plan(p planner, templates string) *upload.Plan {
	w.Helper()
	plan, errs, err := p(w.Context(), w.nodes(templates))
	if err := errors.Join(err, errs.OrNil()); err != nil {
		w.Fatal(err)
	}
	return plan
}

func (w *world) create(name string, count int64) {
	w.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": name}, "spec": map[string]any{"name": name, "count": count},
	}}
	if _, err := w.widgets.Create(w.Context(), o, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) delete(name string) {
	w.Helper()
	if err := w.widgets.Delete(w.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.Fatal(err)
	}
}

// counts are the Widgets that are there, with their spec.count.
func (w *world) counts() map[string]int64 {
	w.Helper()
	list, err := w.widgets.List(context.Background(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	all := map[string]int64{}
	for _, o := range list.Items {
		all[o.GetName()], _, _ = unstructured.NestedInt64(o.Object, "spec", "count")
	}
	return all
}

const reference = "\nc: {type: tosca.nodes.Widget, properties: {name: c, must-exist: true}}"

func TestPlan(t *testing.T) {
	w := newWorld(t)
	w.create("b", 3)
	w.create("c", 3)
	three := Widget("a") + "\n" + Widget("b") + reference
	there := map[string]int64{"b": 3, "c": 3}
	all := map[string]int64{"a": 1, "b": 1, "c": 3}
	for _, tc := range []struct {
		reason string
		plan   planner
		want   []upload.Action
		after  map[string]int64
	}{
		{"what is not there is made, what is different changed, a reference left", w.Plan, []upload.Action{upload.Create, upload.Update, upload.Reference}, all},
		{"what is as it should be is not written", w.Plan, []upload.Action{upload.Unchanged, upload.Unchanged, upload.Reference}, all},
		{"a deletion goes in reverse order, without references", w.PlanDelete, []upload.Action{upload.Delete, upload.Delete}, map[string]int64{"c": 3}},
		{"what is gone is not deleted", w.PlanDelete, []upload.Action{upload.Absent, upload.Absent}, map[string]int64{"c": 3}},
	} {
		plan := w.plan(tc.plan, three)
		var got []upload.Action
		for _, s := range plan.Steps {
			got = append(got, s.Action)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
		}
		if diff := cmp.Diff(there, w.counts()); diff != "" {
			t.Errorf("a plan writes nothing: -want +got:\n%s", diff)
		}
		if err := w.Apply(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.after, w.counts()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
		}
		there = tc.after
	}
}

// A caller who is gone leaves no half of a recipe: nothing before everything was checked, all of it after that.
func TestCallerGone(t *testing.T) {
	w := newWorld(t)
	w.create("b", 3)
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	two := Widget("a") + "\n" + Widget("b")
	for name, plan := range map[string]planner{"Plan": w.Plan, "PlanDelete": w.PlanDelete} {
		if _, _, err := plan(gone, w.nodes(two)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: want the end of the context, got %v", name, err)
		}
	}
	if err := w.Apply(gone, w.plan(w.Plan, two)); err != nil {
		t.Errorf("a plan is carried out to its end: %v", err)
	}
	if diff := cmp.Diff(map[string]int64{"a": 1, "b": 1}, w.counts()); diff != "" {
		t.Errorf("all of it is written: -want +got:\n%s", diff)
	}
	if err := w.Apply(gone, w.plan(w.PlanDelete, two)); err != nil || len(w.counts()) != 0 {
		t.Errorf("so is a deletion: %v, left: %v", err, w.counts())
	}
}

// What was planned for one object is not done to another one of its name.
func TestReplaced(t *testing.T) {
	cases := map[string]struct {
		reason string
		plan   func(*world) planner
		change func(*world)
		after  map[string]int64
		fails  bool
	}{
		"Delete":  {"A deletion", func(w *world) planner { return w.PlanDelete }, func(w *world) { w.delete("b"); w.create("b", 4) }, map[string]int64{"b": 4}, true},
		"Update":  {"A change", func(w *world) planner { return w.Plan }, func(w *world) { w.delete("b"); w.create("b", 4) }, map[string]int64{"a": 1, "b": 4}, true},
		"Deleted": {"What is gone need not be deleted", func(w *world) planner { return w.PlanDelete }, func(w *world) { w.delete("b") }, map[string]int64{}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.create("b", 3)
			plan := w.plan(tc.plan(w), Widget("a")+"\n"+Widget("b"))
			tc.change(w)
			err := w.Apply(t.Context(), plan)
			var partial *upload.PartialError
			if errors.As(err, &partial) != tc.fails || (err != nil) != tc.fails {
				t.Errorf("%s: failed is to be %t, got %v", tc.reason, tc.fails, err)
			}
			if tc.fails && (partial == nil || partial.Left[0].Object != "b") {
				t.Errorf("%s: the error says where it stopped: %v", tc.reason, err)
			}
			if diff := cmp.Diff(tc.after, w.counts()); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}
