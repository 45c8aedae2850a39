package model_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
)

func TestSave(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	models := model.For[*v1alpha1.HelloWorldService](c)
	type want struct {
		op      model.Operation
		changed bool // of the resourceVersion
		spec    v1alpha1.HelloWorldServiceSpec
		labels  map[string]string
		err     func(error) bool
	}
	spec := func(name, from string) v1alpha1.HelloWorldServiceSpec {
		return v1alpha1.HelloWorldServiceSpec{Name: name, HelloFrom: from}
	}
	fresh := func(edits ...func(*v1alpha1.HelloWorldService)) func(*v1alpha1.HelloWorldService) *v1alpha1.HelloWorldService {
		return func(before *v1alpha1.HelloWorldService) *v1alpha1.HelloWorldService {
			s := &v1alpha1.HelloWorldService{Spec: spec("Snow", "Jhon")}
			s.Namespace, s.Name = before.Namespace, before.Name
			for _, e := range edits {
				e(s)
			}
			return s
		}
	}
	read := func(edits ...func(*v1alpha1.HelloWorldService)) func(*v1alpha1.HelloWorldService) *v1alpha1.HelloWorldService {
		return func(before *v1alpha1.HelloWorldService) *v1alpha1.HelloWorldService {
			s := before.DeepCopy()
			for _, e := range edits {
				e(s)
			}
			return s
		}
	}

	tests := map[string]struct {
		reason string
		absent bool // the object is not there before
		obj    func(before *v1alpha1.HelloWorldService) *v1alpha1.HelloWorldService
		want   want
	}{
		"Created": {
			reason: "What is not there is created.",
			absent: true,
			obj:    fresh(),
			want:   want{op: model.Created, changed: true, spec: spec("Snow", "Jhon")},
		},
		"Unchanged": {
			reason: "What is there as wanted is not written.",
			obj:    fresh(),
			want:   want{op: model.Unchanged, spec: spec("Snow", "Jhon"), labels: map[string]string{"theirs": "1"}},
		},
		"UnchangedRead": {
			reason: "Nor is what was read and not changed.",
			obj:    read(),
			want:   want{op: model.Unchanged, spec: spec("Snow", "Jhon"), labels: map[string]string{"theirs": "1"}},
		},
		"Updated": {
			reason: "A spec that differs is replaced; an empty field is taken away.",
			obj:    fresh(func(s *v1alpha1.HelloWorldService) { s.Spec = spec("", "Arya") }),
			want:   want{op: model.Updated, changed: true, spec: spec("", "Arya"), labels: map[string]string{"theirs": "1"}},
		},
		"LabelAdded": {
			reason: "Labels are added to those of others.",
			obj:    fresh(func(s *v1alpha1.HelloWorldService) { s.Labels = map[string]string{"ours": "2"} }),
			want:   want{op: model.Updated, changed: true, spec: spec("Snow", "Jhon"), labels: map[string]string{"theirs": "1", "ours": "2"}},
		},
		"LabelRemoved": {
			reason: "Who has read the object may take labels away.",
			obj:    read(func(s *v1alpha1.HelloWorldService) { delete(s.Labels, "theirs") }),
			want:   want{op: model.Updated, changed: true, spec: spec("Snow", "Jhon")},
		},
		"StatusIgnored": {
			reason: "The status is the steps' business.",
			obj: fresh(func(s *v1alpha1.HelloWorldService) {
				s.Status.Sync = &model.StepStatus{Generation: 1, State: model.StateOK}
			}),
			want: want{op: model.Unchanged, spec: spec("Snow", "Jhon"), labels: map[string]string{"theirs": "1"}},
		},
		"Stale": {
			reason: "Somebody has changed the object since it was read.",
			obj:    read(func(s *v1alpha1.HelloWorldService) { s.ResourceVersion = "1" }),
			want:   want{err: apierrors.IsConflict},
		},
		"Gone": {
			reason: "What was read and is gone is not created again.",
			absent: true,
			obj:    fresh(func(s *v1alpha1.HelloWorldService) { s.ResourceVersion = "1" }),
			want:   want{err: apierrors.IsNotFound},
		},
		"Invalid": {
			reason: "The API server validates.",
			obj:    fresh(func(s *v1alpha1.HelloWorldService) { s.Spec.HelloFrom = " " }),
			want:   want{err: apierrors.IsInvalid},
		},
		"InvalidNew": {
			reason: "Also what is new.",
			absent: true,
			obj:    fresh(func(s *v1alpha1.HelloWorldService) { s.Spec.HelloFrom = "" }),
			want:   want{err: apierrors.IsInvalid},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := service(t, "a")
			if !tt.absent {
				before.Spec = spec("Snow", "Jhon")
				before.Labels = map[string]string{"theirs": "1"}
				before.Finalizers = []string{"example.com/keep"}
				before = save(t, c, before)
			}
			got, op, err := models.Save(ctx, tt.obj(before))
			if tt.want.err != nil {
				if !tt.want.err(err) {
					t.Errorf("\n%s\ngot %v", tt.reason, err)
				}
				if err != nil && !strings.Contains(err.Error(), "HelloWorldService "+before.Namespace+"/a") {
					t.Errorf("the error must name the object, got: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatalf("\n%s\n%v", tt.reason, err)
			}
			stored, err := models.Get(ctx, before.Namespace, "a")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(stored, got); diff != "" {
				t.Errorf("\n%s\nwhat is returned must be what is stored: -stored, +returned:\n%s", tt.reason, diff)
			}
			if diff := cmp.Diff(before.Finalizers, got.Finalizers); diff != "" {
				t.Errorf("finalizers must stay: -want, +got:\n%s", diff)
			}
			if got.Status.Sync != nil {
				t.Error("the status must not be written")
			}
			actual := want{op: op, changed: got.ResourceVersion != before.ResourceVersion, spec: got.Spec, labels: got.Labels}
			if diff := cmp.Diff(tt.want, actual, cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tt.reason, diff)
			}
		})
	}
}

func TestSaveKeepsUnknownFields(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	d, err := dynamic.NewForConfig(kubeapitest.Shared(t).Config())
	if err != nil {
		t.Fatal(err)
	}
	boxes := d.Resource(boxVersion.WithResource("boxes")).Namespace(namespaceOf(t))
	_, err = boxes.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "test.xos-knative.dev/v1", "kind": "Box", "metadata": map[string]any{"name": "a"},
		"spec": map[string]any{"size": int64(1), "lid": map[string]any{"colour": "red"}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	b := box(t, "a")
	b.Spec.Size = 2
	if _, op, err := model.For[*Box](c).Save(ctx, b); op != model.Updated || err != nil {
		t.Fatalf("got %s, %v", op, err)
	}
	read, err := model.For[*Box](c).Get(ctx, b.Namespace, "a")
	if err != nil {
		t.Fatal(err)
	}
	read.Spec.Size = 3
	if _, op, err := model.For[*Box](c).Save(ctx, read); op != model.Updated || err != nil {
		t.Fatalf("got %s, %v", op, err)
	}
	u, err := boxes.Get(ctx, "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"size": int64(3), "lid": map[string]any{"colour": "red"}}, u.Object["spec"]); diff != "" {
		t.Errorf("a field that the Go type does not know must stay: -want, +got:\n%s", diff)
	}
}

// TestSaveLargeNumbers has numbers that a float64 cannot tell apart.
func TestSaveLargeNumbers(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	for _, size := range []int{1 << 53, 1<<53 + 1, 1<<53 + 2, 1<<62 + 1} {
		b := box(t, "a")
		b.Spec.Size = size
		if _, op, err := model.For[*Box](c).Save(ctx, b); op == model.Unchanged || err != nil {
			t.Errorf("%d: got %s, %v", size, op, err)
		}
		if got, err := model.For[*Box](c).Get(ctx, b.Namespace, "a"); err != nil || got.Spec.Size != size {
			t.Errorf("want %d, got %+v, %v", size, got, err)
		}
	}
}

func TestSaveConcurrently(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	models := model.For[*v1alpha1.HelloWorldService](c)

	t.Run("Same", func(t *testing.T) {
		ops := make([]model.Operation, 8)
		together(len(ops), func(i int) {
			_, op, err := models.Save(ctx, service(t, "a"))
			if err != nil {
				t.Error(err)
			}
			ops[i] = op
		})
		slices.Sort(ops)
		want := append([]model.Operation{model.Created}, slices.Repeat([]model.Operation{model.Unchanged}, 7)...)
		if diff := cmp.Diff(want, ops); diff != "" {
			t.Errorf("one creates, the others find what they want: -want, +got:\n%s", diff)
		}
	})
	t.Run("Different", func(t *testing.T) {
		together(5, func(i int) {
			s := service(t, "a")
			s.Labels = map[string]string{fmt.Sprintf("by-%d", i): "x"}
			if _, _, err := models.Save(ctx, s); err != nil {
				t.Error(err)
			}
		})
		got, err := models.Get(ctx, namespaceOf(t), "a")
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"by-0": "x", "by-1": "x", "by-2": "x", "by-3": "x", "by-4": "x"}
		if diff := cmp.Diff(want, got.Labels); diff != "" {
			t.Errorf("nobody's change may be lost: -want, +got:\n%s", diff)
		}
	})
	t.Run("ReadModifyWrite", func(t *testing.T) {
		stale := save(t, c, service(t, "a"))
		errs := make([]error, 4)
		together(len(errs), func(i int) {
			s := stale.DeepCopy()
			s.Spec.HelloFrom = fmt.Sprint(i)
			_, _, errs[i] = models.Save(ctx, s)
		})
		errs = slices.DeleteFunc(errs, apierrors.IsConflict)
		if diff := cmp.Diff([]error{nil}, errs); diff != "" {
			t.Errorf("one of them wins, the others get a Conflict: -want, +got:\n%s", diff)
		}
	})
}

// together runs fn n times at once.
func together(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

// cut makes a client whose requests of a method end with their context.
func cut(t *testing.T, method string) (*model.Client, context.Context) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newClient(t, func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == method {
				cancel()
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return next.RoundTrip(r)
		})
	})
	return c, ctx
}

func TestEndedContextIsAnError(t *testing.T) {
	seed := newClient(t)
	tests := map[string]struct {
		reason string
		method string
		call   func(context.Context, *testing.T, *model.Client) error
	}{
		"Create": {
			reason: "A creation that was cut off has not happened.",
			method: http.MethodPost,
			call: func(ctx context.Context, t *testing.T, c *model.Client) error {
				_, _, err := model.For[*v1alpha1.HelloWorldService](c).Save(ctx, service(t, "b"))
				return err
			},
		},
		"Update": {
			reason: "Nor has an update.",
			method: http.MethodPatch,
			call: func(ctx context.Context, t *testing.T, c *model.Client) error {
				s := service(t, "a")
				s.Spec.HelloFrom = "Arya"
				_, _, err := model.For[*v1alpha1.HelloWorldService](c).Save(ctx, s)
				return err
			},
		},
		"SetStep": {
			reason: "Nor is a status stored.",
			method: http.MethodPut,
			call: func(ctx context.Context, t *testing.T, c *model.Client) error {
				return c.SetStep(ctx, live(t, seed, service(t, "a")), model.StepSync, &model.StepStatus{Generation: 1, State: model.StateOK})
			},
		},
		"AddFinalizer": {
			reason: "Nor is a finalizer on.",
			method: http.MethodPatch,
			call: func(ctx context.Context, t *testing.T, c *model.Client) error {
				_, err := c.AddFinalizer(ctx, live(t, seed, service(t, "a")), model.StepSync)
				return err
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			save(t, seed, service(t, "a"))
			c, ctx := cut(t, tt.method)
			if err := tt.call(ctx, t, c); !errors.Is(err, context.Canceled) {
				t.Errorf("\n%s\ngot %v", tt.reason, err)
			}
		})
	}
}

func TestRetryOnConflict(t *testing.T) {
	conflict := apierrors.NewConflict(corev1.Resource("x"), "x", errors.New("changed"))
	other := errors.New("other")
	tests := map[string]struct {
		reason  string
		results []error
		ended   bool
		want    error
	}{
		"AtOnce":   {reason: "Success is success.", results: []error{nil}},
		"Later":    {reason: "A conflict is tried again.", results: []error{conflict, conflict, nil}},
		"NotAgain": {reason: "Another error is not.", results: []error{conflict, other}, want: other},
		"GivesUp":  {reason: "Nor is a conflict tried for ever.", results: slices.Repeat([]error{conflict}, 6), want: conflict},
		"Ended":    {reason: "Nor after the context has ended.", results: []error{conflict}, ended: true, want: conflict},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.ended {
				cancel()
			}
			calls := 0
			err := model.RetryOnConflict(ctx, func() error {
				calls++
				return tt.results[calls-1]
			})
			if err != tt.want || calls != len(tt.results) {
				t.Errorf("\n%s\nwant %v after %d calls, got %v after %d", tt.reason, tt.want, len(tt.results), err, calls)
			}
		})
	}
}

func TestCreate(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	models := model.For[*v1alpha1.HelloWorldService](c)
	created, err := models.Create(ctx, service(t, "a"))
	if err != nil || created.UID == "" {
		t.Fatalf("got %v, %v", created, err)
	}
	again := service(t, "a")
	again.Spec.HelloFrom = "Arya"
	if _, err := models.Create(ctx, again); !apierrors.IsAlreadyExists(err) {
		t.Errorf("want AlreadyExists, got %v", err)
	}
	if got, err := models.Get(ctx, created.Namespace, "a"); err != nil || !cmp.Equal(created, got) {
		t.Errorf("the first must stay as it is, got %v, %v", got, err)
	}
	if _, err := models.Create(ctx, &v1alpha1.HelloWorldService{ObjectMeta: metav1.ObjectMeta{Namespace: created.Namespace, Name: "b"}}); !apierrors.IsInvalid(err) {
		t.Errorf("the API server validates, got %v", err)
	}
}

func TestDelete(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	models := model.For[*v1alpha1.HelloWorldService](c)
	tests := map[string]struct {
		reason string
		obj    func(saved *v1alpha1.HelloWorldService) *v1alpha1.HelloWorldService
		left   bool
	}{
		"Read": {
			reason: "The very object is deleted.",
			obj:    func(s *v1alpha1.HelloWorldService) *v1alpha1.HelloWorldService { return s },
		},
		"ByName": {
			reason: "Without UID, whatever has the name.",
			obj:    func(s *v1alpha1.HelloWorldService) *v1alpha1.HelloWorldService { s.UID = ""; return s },
		},
		"Recreated": {
			reason: "Another object of that name stays, and that the first is gone is no error.",
			obj:    func(s *v1alpha1.HelloWorldService) *v1alpha1.HelloWorldService { s.UID = "other"; return s },
			left:   true,
		},
		"Gone": {
			reason: "Nor is an object that never was.",
			obj:    func(s *v1alpha1.HelloWorldService) *v1alpha1.HelloWorldService { s.Name, s.UID = "b", ""; return s },
			left:   true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			saved := save(t, c, service(t, "a"))
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
	models := model.For[*v1alpha1.HelloWorldServiceInstance](c)
	namespace := namespaceOf(t)
	for name, owner := range map[string]string{"a": "one", "b": "two", "c": "one", "d": ""} {
		i := instance(t, name, owner)
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
		"ByField":   {reason: "A selectable field.", namespace: namespace, filter: model.Filter{Fields: fields.OneTermEqualSelector("spec.owner.name", "one")}, want: []string{"a", "c"}},
		"NoOwner":   {reason: "A selectable field that is not set.", namespace: namespace, filter: model.Filter{Fields: fields.OneTermEqualSelector("spec.owner.name", "")}, want: []string{"d"}},
		"ByName":    {reason: "The name.", namespace: namespace, filter: model.Filter{Fields: fields.OneTermEqualSelector("metadata.name", "b")}, want: []string{"b"}},
		"Both":      {reason: "Filters add up.", namespace: namespace, filter: model.Filter{Labels: labels.SelectorFromSet(labels.Set{"half": "first"}), Fields: fields.OneTermEqualSelector("spec.owner.name", "one")}, want: []string{"a"}},
		"Elsewhere": {reason: "Another namespace.", namespace: namespace + "-2"},
		"NotSelectable": {reason: "A field that the definition does not declare is refused, not ignored.", namespace: namespace,
			filter: model.Filter{Fields: fields.OneTermEqualSelector("spec.helloTo", "x")}, err: apierrors.IsBadRequest},
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
	u := &unstructured.Unstructured{Object: map[string]any{"kind": "HelloWorldService",
		"metadata": map[string]any{"namespace": "n", "name": "a"}, "spec": map[string]any{"helloFrom": int64(1)}}}
	_, err := model.Typed[*v1alpha1.HelloWorldService](u)
	wantError(t, "The error names the object and what does not fit.", err, "HelloWorldService n/a", "string")
}
