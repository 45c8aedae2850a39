package model_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/librarytest"
)

func TestKinds(t *testing.T) {
	ctx, c := t.Context(), newClient(t)

	k, err := c.Kind(ctx, books.GVK.GroupKind())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(books, k, cmpopts.IgnoreFields(model.Kind{}, "Selectable")); diff != "" {
		t.Errorf("what the tests suppose of books must be what their definition says: -want, +got:\n%s", diff)
	}
	if !slices.Contains(k.Selectable, "spec.shelf.name") {
		t.Errorf("the dependents of a shelf must be found without reading all books, got %v", k.Selectable)
	}

	kinds, err := c.Kinds(ctx)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, k := range kinds {
		names[k.GVK.Kind] = true
	}
	for name, want := range map[string]bool{"Shelf": true, "DeadLetter": true, "Box": true, "Wrong": false, "Stranger": false} {
		if names[name] != want {
			t.Errorf("%s: want a model %v, got %v", name, want, names[name])
		}
	}

	for name, gk := range map[string]schema.GroupKind{
		"NoDefinition": {Group: group, Kind: "Nothing"},
		"NotLabelled":  {Group: boxVersion.Group, Kind: "Stranger"},
		"OtherGroup":   {Group: "example.com", Kind: "Shelf"},
	} {
		if _, err := c.Kind(ctx, gk); !errors.Is(err, model.ErrNoModel) || !strings.Contains(err.Error(), gk.String()) {
			t.Errorf("%s: want ErrNoModel naming %s, got %v", name, gk, err)
		}
	}

	later := define(t, "Late")
	if _, err := c.Kind(ctx, later.GVK.GroupKind()); err != nil {
		t.Errorf("a model that was defined after the client has read the definitions must be found: %v", err)
	}
}

func TestKindsAreReadOnce(t *testing.T) {
	var reads atomic.Int32
	c := newClient(t, func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/customresourcedefinitions") {
				reads.Add(1)
			}
			return next.RoundTrip(r)
		})
	})
	for range 3 {
		if _, err := c.Kind(t.Context(), books.GVK.GroupKind()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Kinds(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := reads.Load(); got != 1 {
		t.Errorf("a burst of events must not read the definitions for each of them, they were read %d times", got)
	}
}

func TestNoType(t *testing.T) {
	c, err := model.NewClient(kubeapitest.Shared(t).Config(), v1alpha1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	_, err = model.For[*Box](c).Get(t.Context(), "default", "a")
	wantError(t, "A type that the scheme does not know is a programmer's error.", err, "*model_test.Box", "scheme")
}

func TestAPIErrors(t *testing.T) {
	down := errors.New("the API is down")
	c := newClient(t, func(http.RoundTripper) http.RoundTripper {
		return roundTripper(func(*http.Request) (*http.Response, error) { return nil, down })
	})
	ctx, obj := t.Context(), object(shelves, "a")
	models := model.For[*v1alpha1.Shelf](c)
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetName("a")
	u.SetFinalizers([]string{model.StepSync.Finalizer()})
	calls := map[string]func() error{
		"Kinds":  func() error { _, err := c.Kinds(ctx); return err },
		"Get":    func() error { _, err := models.Get(ctx, "default", "a"); return err },
		"List":   func() error { _, err := models.List(ctx, "default", model.Filter{}); return err },
		"Create": func() error { _, err := models.Create(ctx, shelf(t, "a")); return err },
		"Modify": func() error {
			_, _, err := models.Modify(ctx, "default", "a", func(*v1alpha1.Shelf) error { return nil })
			return err
		},
		"Delete":     func() error { return models.Delete(ctx, shelf(t, "a")) },
		"Live":       func() error { _, err := c.Live(ctx, shelves, "default", "a"); return err },
		"SetStep":    func() error { return c.SetStep(ctx, shelves, u, model.StepSync, &model.StepStatus{Generation: 1}) },
		"Add":        func() error { _, err := c.AddFinalizer(ctx, shelves, u, model.StepSync); return err },
		"Remove":     func() error { _, err := c.RemoveFinalizer(ctx, shelves, u, model.StepSync); return err },
		"Dependents": func() error { _, err := c.Dependents(ctx, obj); return err },
		"Neighbours": func() error {
			i := object(books, "a")
			i.Refs = []string{"fiction"}
			_, err := c.Neighbours(ctx, model.StepSync, i)
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			if err := call(); !errors.Is(err, down) {
				t.Errorf("the cause must be in the error, got %v", err)
			}
		})
	}
	if _, err := model.NewClient(&rest.Config{Host: "://"}, v1alpha1.AddToScheme); err == nil {
		t.Error("a configuration that makes no client must be an error")
	}
}

// done is an outcome of the first generation.
var done = &model.StepStatus{Generation: 1, State: model.StateOK, Code: model.CodeOK, Message: "OK", Handle: "h"}

func setStep(t *testing.T, c *model.Client, o read, step model.Step, part *model.StepStatus) {
	t.Helper()
	if err := c.SetStep(t.Context(), o.kind, o.Unstructured, step, part); err != nil {
		t.Fatal(err)
	}
}

func TestSetStep(t *testing.T) {
	c := newClient(t)
	t.Run("Stored", func(t *testing.T) {
		save(t, c, book(t, "a", "fiction"))
		setStep(t, c, get(t, c, book(t, "a", "")), model.StepSync, done)
		got := live(t, c, book(t, "a", ""))
		if diff := cmp.Diff(done, got.Status.Sync); diff != "" {
			t.Errorf("-want, +got:\n%s", diff)
		}
		if c := got.Status.GetCondition(model.ConditionSynced); !c.IsTrue() {
			t.Errorf("the conditions must follow, got %v", c)
		}
		if c := got.Status.GetCondition(model.ConditionReady); c == nil || c.Status != corev1.ConditionUnknown {
			t.Errorf("the policy is still to come, got %v", c)
		}
		if got.Generation != 1 {
			t.Errorf("a status must not make a new generation, got %d", got.Generation)
		}
	})
	t.Run("SameAgain", func(t *testing.T) {
		save(t, c, book(t, "a", "fiction"))
		setStep(t, c, get(t, c, book(t, "a", "")), model.StepSync, done)
		before := get(t, c, book(t, "a", ""))
		setStep(t, c, before, model.StepSync, done)
		if got := live(t, c, book(t, "a", "")); got.ResourceVersion != before.GetResourceVersion() {
			t.Error("a status that is there already must not be written: it would wake the watchers")
		}
	})
}

func TestSetStepMeanwhile(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	t.Run("ChangedByAnotherRun", func(t *testing.T) {
		save(t, c, book(t, "a", "fiction"))
		began := get(t, c, book(t, "a", ""))
		setStep(t, c, began, model.StepSync, done)
		err := c.SetStep(ctx, began.kind, began.Unstructured, model.StepSync, &model.StepStatus{Generation: 1, State: model.StateFailed})
		if !errors.Is(err, model.ErrStepChanged) {
			t.Errorf("want ErrStepChanged, got %v", err)
		}
		wantError(t, "The error names what was not stored.", err, "status.sync", "Book")
		if got := live(t, c, book(t, "a", "")).Status.Sync; got.State != model.StateOK {
			t.Errorf("the first outcome must stay, got %v", got)
		}
	})
	t.Run("OtherStepMeanwhile", func(t *testing.T) {
		save(t, c, book(t, "a", "fiction"))
		began := get(t, c, book(t, "a", ""))
		together(2, func(i int) {
			if err := c.SetStep(ctx, began.kind, began.Unstructured, model.Steps()[i], done); err != nil {
				t.Error(err)
			}
		})
		got := live(t, c, book(t, "a", ""))
		if diff := cmp.Diff([]*model.StepStatus{done, done}, []*model.StepStatus{got.Status.Sync, got.Status.Policy}); diff != "" {
			t.Errorf("both parts must be kept: -want, +got:\n%s", diff)
		}
		if !got.Status.GetCondition(model.ConditionReady).IsTrue() {
			t.Errorf("the conditions must be those of both, got %v", got.Status.Conditions)
		}
	})
	t.Run("SpecMeanwhile", func(t *testing.T) {
		i := save(t, c, book(t, "a", "fiction"))
		began := get(t, c, i)
		i.Spec.Title = "Poems"
		save(t, c, i)
		setStep(t, c, began, model.StepSync, done)
		got := live(t, c, i)
		if got.Generation != 2 || got.Status.Sync.Generation != 1 || got.Status.GetCondition(model.ConditionSynced).Reason != model.ReasonPending {
			t.Errorf("the outcome of the old spec must be told as such, got %+v", got.Status)
		}
	})
}

func TestSetStepKeepsOwnFields(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	b := save(t, c, box(t, "a"))
	d, err := dynamic.NewForConfig(kubeapitest.Shared(t).Config())
	if err != nil {
		t.Fatal(err)
	}
	boxes := d.Resource(boxVersion.WithResource("boxes")).Namespace(b.Namespace)
	u, err := boxes.Get(ctx, "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(u.Object, "full", "status", "own"); err != nil {
		t.Fatal(err)
	}
	if _, err := boxes.UpdateStatus(ctx, u, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	setStep(t, c, get(t, c, b), model.StepSync, done)
	if u, err = boxes.Get(ctx, "a", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	if own, _, _ := unstructured.NestedString(u.Object, "status", "own"); own != "full" {
		t.Errorf("a field of the model's own status must stay, got %v", u.Object["status"])
	}
}

func TestSetStepOfGone(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	i := save(t, c, book(t, "a", "fiction"))
	began := get(t, c, i)
	if err := model.For[*v1alpha1.Book](c).Delete(ctx, i); err != nil {
		t.Fatal(err)
	}
	if err := c.SetStep(ctx, began.kind, began.Unstructured, model.StepSync, done); !model.IsGone(err) {
		t.Errorf("want IsGone, got %v", err)
	}
	again := save(t, c, book(t, "a", "fiction"))
	if err := c.SetStep(ctx, began.kind, began.Unstructured, model.StepSync, done); !model.IsGone(err) {
		t.Errorf("another object of that name is not the one, got %v", err)
	}
	if live(t, c, again).Status.Sync != nil {
		t.Error("the other object must not have the status")
	}
}

func addFinalizer(t *testing.T, c *model.Client, o read, step model.Step) {
	t.Helper()
	u, err := c.AddFinalizer(t.Context(), o.kind, o.Unstructured, step)
	if err != nil {
		t.Fatal(err)
	}
	if now := live(t, c, book(t, o.GetName(), "")); u.GetResourceVersion() != now.ResourceVersion || !now.Carries(step) {
		t.Errorf("want the object with the finalizer, as it is now, got %v", u.GetFinalizers())
	}
}

func removeFinalizer(t *testing.T, c *model.Client, o read, step model.Step, wantLast bool) {
	t.Helper()
	last, err := c.RemoveFinalizer(t.Context(), o.kind, o.Unstructured, step)
	if err != nil || last != wantLast {
		t.Errorf("want last %v, got %v, %v", wantLast, last, err)
	}
}

func TestFinalizers(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	t.Run("LostStep", func(t *testing.T) {
		s := shelf(t, "lost")
		s.Finalizers = []string{"example.com/theirs", model.StepPolicy.Finalizer(), model.StepSync.Finalizer()}
		removeFinalizer(t, c, get(t, c, save(t, c, s)), model.StepSync, true)
		if got := live(t, c, s).Finalizers; !slices.Equal(got, []string{"example.com/theirs"}) {
			t.Errorf("shelves have no policy, so the finalizer of that step goes, too: got %v", got)
		}
	})
	t.Run("Life", func(t *testing.T) {
		i := book(t, "a", "fiction")
		i.Finalizers = []string{"example.com/theirs"}
		o := get(t, c, save(t, c, i))
		addFinalizer(t, c, o, model.StepSync)
		addFinalizer(t, c, get(t, c, i), model.StepPolicy)
		got := live(t, c, i)
		want := []string{"example.com/theirs", model.StepSync.Finalizer(), model.StepPolicy.Finalizer()}
		if diff := cmp.Diff(want, got.Finalizers); diff != "" {
			t.Errorf("-want, +got:\n%s", diff)
		}
		if got.Generation != o.GetGeneration() {
			t.Error("a finalizer must not make a new generation")
		}

		if err := model.For[*v1alpha1.Book](c).Delete(ctx, i); err != nil {
			t.Fatal(err)
		}
		if got := live(t, c, i); !got.Deleting() || got.Generation != o.GetGeneration()+1 {
			t.Errorf("a deletion is a new generation, that is how a step learns of it; got %d", got.Generation)
		}
		removeFinalizer(t, c, get(t, c, i), model.StepSync, false)
		removeFinalizer(t, c, get(t, c, i), model.StepPolicy, true)
		if diff := cmp.Diff([]string{"example.com/theirs"}, live(t, c, i).Finalizers); diff != "" {
			t.Errorf("others' finalizers must stay: -want, +got:\n%s", diff)
		}
	})
}

func TestAddFinalizer(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	t.Run("AtOnce", func(t *testing.T) {
		o := get(t, c, save(t, c, book(t, "a", "fiction")))
		together(2, func(i int) {
			_, err := c.AddFinalizer(ctx, o.kind, o.Unstructured, model.Steps()[i])
			if model.IsOutdated(err) { // The other one was the first.
				_, err = c.AddFinalizer(ctx, o.kind, get(t, c, book(t, "a", "")).Unstructured, model.Steps()[i])
			}
			if err != nil {
				t.Error(err)
			}
		})
		got := live(t, c, book(t, "a", "")).Finalizers
		want := []string{model.StepPolicy.Finalizer(), model.StepSync.Finalizer()}
		if diff := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
			t.Errorf("neither may be lost: -want, +got:\n%s", diff)
		}
	})
	t.Run("Twice", func(t *testing.T) {
		i := book(t, "a", "fiction")
		i.Finalizers = []string{"example.com/theirs"}
		o := get(t, c, save(t, c, i))
		for range 2 {
			if _, err := c.AddFinalizer(ctx, o.kind, o.Unstructured, model.StepSync); err != nil && !model.IsOutdated(err) {
				t.Error(err)
			}
		}
		if diff := cmp.Diff([]string{"example.com/theirs", model.StepSync.Finalizer()}, live(t, c, i).Finalizers); diff != "" {
			t.Errorf("two runs of the step put on one finalizer: -want, +got:\n%s", diff)
		}
	})
	t.Run("WhileDeleting", func(t *testing.T) {
		i := book(t, "a", "fiction")
		i.Finalizers = []string{"example.com/theirs"}
		o := get(t, c, save(t, c, i))
		if err := model.For[*v1alpha1.Book](c).Delete(ctx, i); err != nil {
			t.Fatal(err)
		}
		if _, err := c.AddFinalizer(ctx, o.kind, o.Unstructured, model.StepSync); !model.IsOutdated(err) {
			t.Errorf("want IsOutdated, got %v", err)
		}
	})
}

func TestFinalizersOfGone(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	i := book(t, "a", "fiction")
	i.Finalizers = []string{model.StepSync.Finalizer()}
	i = save(t, c, i)
	o := get(t, c, i)
	i.Finalizers = nil
	if err := model.For[*v1alpha1.Book](c).Delete(ctx, save(t, c, i)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddFinalizer(ctx, o.kind, o.Unstructured, model.StepSync); !model.IsOutdated(err) {
		t.Errorf("want IsOutdated, got %v", err)
	}
	removeFinalizer(t, c, o, model.StepSync, false)

	again := book(t, "a", "fiction")
	again.Finalizers = []string{model.StepSync.Finalizer()}
	save(t, c, again)
	if _, err := c.AddFinalizer(ctx, o.kind, o.Unstructured, model.StepPolicy); !model.IsOutdated(err) {
		t.Errorf("another object of that name is not the one, got %v", err)
	}
	removeFinalizer(t, c, o, model.StepSync, false)
	if !live(t, c, again).Carries(model.StepSync) {
		t.Error("the other object must keep its finalizer")
	}
}

func TestNeighbours(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	rule := books.DependsOn[0]
	box := &model.Kind{GVK: boxVersion.WithKind("Box"), Resource: "boxes",
		DependsOn: []model.DependsOn{{GroupKind: schema.GroupKind{Group: boxVersion.Group, Kind: "Shelf"}, Path: "spec.shelf"}}}
	tests := map[string]struct {
		reason  string
		shelves []string // Those whose name begins with "-" are being deleted.
		kind    *model.Kind
		ref     string
		want    model.Dependency
		found   bool
	}{
		"There": {
			reason: "The shelf is found.", shelves: []string{"fiction", "other"}, kind: books, ref: "fiction",
			want: model.Dependency{DependsOn: rule, Name: "fiction"}, found: true,
		},
		"Missing": {
			reason: "Or not.", shelves: []string{"other"}, kind: books, ref: "fiction",
			want: model.Dependency{DependsOn: rule, Name: "fiction"},
		},
		"ImpossibleName": {
			reason: "A name that no object can have is that of a missing one, not an error forever.", kind: books, ref: "../x",
			want: model.Dependency{DependsOn: rule, Name: "../x"},
		},
		"UnsetOne": {
			reason: "If none is named, those that could be are counted.", shelves: []string{"fiction"}, kind: books,
			want: model.Dependency{DependsOn: rule, Candidates: 1},
		},
		"UnsetTwo": {
			reason: "But not those that go.", shelves: []string{"fiction", "other", "-gone"}, kind: books,
			want: model.Dependency{DependsOn: rule, Candidates: 2},
		},
		"KindMissing": {
			reason: "A kind that nobody has installed yet has no objects.", kind: box, ref: "a",
			want: model.Dependency{DependsOn: box.DependsOn[0], Name: "a"},
		},
		"KindMissingUnset": {
			reason: "Nor any to choose from.", kind: box,
			want: model.Dependency{DependsOn: box.DependsOn[0]},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, name := range tt.shelves {
				name, gone := strings.CutPrefix(name, "-")
				s := shelf(t, name)
				if gone {
					s.Finalizers = []string{"example.com/keep"}
				}
				s = save(t, c, s)
				if gone {
					if err := model.For[*v1alpha1.Shelf](c).Delete(ctx, s); err != nil {
						t.Fatal(err)
					}
				}
			}
			obj := &model.Snapshot{Kind: tt.kind, Refs: []string{tt.ref}}
			obj.Namespace, obj.Name = namespaceOf(t), "self"
			got, err := c.Neighbours(ctx, model.StepSync, obj)
			if err != nil {
				t.Fatal(err)
			}
			want := model.Neighbours{Dependencies: []model.Dependency{tt.want}}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(model.Dependency{}, "Object", "Live")); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tt.reason, diff)
			}
			d := got.Dependencies[0]
			if (d.Object != nil) != tt.found || (d.Live != nil) != tt.found || tt.found && (d.Object.Name != tt.ref || d.Live.GetName() != tt.ref) {
				t.Errorf("\n%s\ngot %+v, %+v", tt.reason, d.Object, d.Live)
			}

			n, err := c.Neighbours(ctx, model.StepPolicy, obj)
			if err != nil || len(n.Dependencies) > 0 {
				t.Errorf("a policy runs whatever its dependencies are like: they need not be read, got %+v, %v", n, err)
			}
			obj.Status.Policy = &model.StepStatus{State: model.StateWaiting}
			n, err = c.Neighbours(ctx, model.StepPolicy, obj)
			if err != nil || len(n.Dependencies) != 1 {
				t.Errorf("but it may wait for one, got %+v, %v", n, err)
			}
		})
	}
}

func TestDependents(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	fiction := save(t, c, shelf(t, "fiction"))
	if got, err := c.Dependents(ctx, live(t, c, fiction)); err != nil || len(got) > 0 {
		t.Errorf("want none yet, got %v, %v", got, err)
	}
	save(t, c, book(t, "a", "fiction"))
	save(t, c, book(t, "b", "other"))
	save(t, c, book(t, "c", ""))
	elsewhere := book(t, "d", "fiction")
	elsewhere.Namespace += "-2"
	save(t, c, elsewhere)
	leaving := book(t, "e", "fiction")
	leaving.Finalizers = []string{"example.com/keep"}
	save(t, c, leaving)
	if err := model.For[*v1alpha1.Book](c).Delete(ctx, leaving); err != nil {
		t.Fatal(err)
	}

	// A model of another group, without a selectable field.
	k := define(t, "Guest")
	d, err := dynamic.NewForConfig(kubeapitest.Shared(t).Config())
	if err != nil {
		t.Fatal(err)
	}
	for name, shelf := range map[string]string{"f": "fiction", "g": "other"} {
		_, err := d.Resource(k.GVR()).Namespace(fiction.Namespace).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "test.xos-knative.dev/v1", "kind": "Guest", "metadata": map[string]any{"name": name},
			"spec": map[string]any{"shelf": shelf}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}

	want := []model.Dependent{
		{Kind: "Guest", Name: "f"},
		{Kind: "Book", Name: "a"},
		{Kind: "Book", Name: "e"},
	}
	got, err := newClient(t).Dependents(ctx, live(t, c, fiction))
	if err != nil {
		t.Fatal(err)
	}
	less := cmpopts.SortSlices(func(a, b model.Dependent) bool { return a.Kind+a.Name < b.Kind+b.Name })
	if diff := cmp.Diff(want, got, less); diff != "" {
		t.Errorf("all that names the object, in its namespace, also what goes: -want, +got:\n%s", diff)
	}

	// Only what is being deleted has to ask for its dependents.
	n, err := c.Neighbours(ctx, model.StepSync, live(t, c, fiction))
	if err != nil || len(n.Dependents) > 0 {
		t.Errorf("got %+v, %v", n, err)
	}
	gone := live(t, c, fiction)
	gone.DeletionTimestamp = &metav1.Time{Time: now}
	n, err = newClient(t).Neighbours(ctx, model.StepSync, gone)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(model.Neighbours{Dependents: want}, n, less); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
}

// TestWrongDefinition has a definition that cannot be read any more: what its objects depend on is not known.
func TestWrongDefinition(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	config := kubeapitest.Start(t, "../testdata/library/config/crds")
	c, err := model.NewClient(config, v1alpha1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	definitions, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"Shelf"}}}`, model.AnnotationDependsOn)
	if _, err := definitions.Resource(model.CRDs).Patch(ctx, "books."+group, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	says := []string{"books." + group, model.AnnotationDependsOn, `expected Kind=spec.path or Kind.group=spec.path, got "Shelf"`}
	_, err = c.Dependents(ctx, object(shelves, "fiction", deleting))
	wantError(t, "A shelf must not go before its books, which nobody can tell any more.", err, says...)
	if !errors.Is(err, model.ErrDefinition) {
		t.Errorf("want ErrDefinition, got %v", err)
	}
	_, err = c.Kind(ctx, books.GVK.GroupKind())
	wantError(t, "The kind is a model, with a wrong definition.", err, says...)
	if _, err := c.Dependents(ctx, object(books, "dune", deleting)); err != nil {
		t.Errorf("nothing hides what depends on books, got %v", err)
	}
}

// TestDependentsOfNewKind has a kind that is installed after the client has read the definitions, and an object
// of it: what that depends on must not be removed before it.
func TestDependentsOfNewKind(t *testing.T) {
	t.Parallel()
	c, server := newClient(t), kubeapitest.Shared(t)
	fiction := live(t, c, save(t, c, shelf(t, "fiction")))
	if _, err := c.Kinds(t.Context()); err != nil {
		t.Fatal(err)
	}
	group := "new-" + utilrand.String(5) + ".example.dev"
	versions := librarytest.New(t, server, group, nil)
	t.Cleanup(func() {
		if err := server.DeleteCRDs(context.Background(), "books."+group, "shelves."+group); err != nil {
			t.Error(err)
		}
	})
	versions.Annotate("books", model.AnnotationDependsOn, "Shelf."+v1alpha1.GroupVersion.Group+"=spec.shelf.name")
	versions.Serve(librarytest.V1alpha1, librarytest.V1alpha1)
	installer, err := model.NewClient(server.Config(), versions.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	save(t, installer, book(t, "new", "fiction"))
	err = wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		found, err := c.Dependents(ctx, fiction)
		return len(found) == 1 && found[0].Name == "new", err
	})
	if err != nil {
		t.Errorf("want the new book among the shelf's dependents: %v", err)
	}
}
