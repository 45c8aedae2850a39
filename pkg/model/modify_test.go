package model_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// errOwn is an error of a change.
var errOwn = errors.New("not like this")

// stored is what a write is expected to come to, or the error that it ends with.
type stored struct {
	op      model.Operation
	changed bool // of the resourceVersion
	spec    v1alpha1.ShelfSpec
	labels  map[string]string
	err     func(error) bool
}

// check compares with the shelf that a write has returned and with the one that is in the API.
// before is what was there.
func (want stored) check(t *testing.T, reason string, before, got *v1alpha1.Shelf, op model.Operation, err error) {
	t.Helper()
	if want.err != nil {
		if !want.err(err) {
			t.Errorf("\n%s\ngot %v", reason, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("\n%s\n%v", reason, err)
	}
	inAPI, err := model.For[*v1alpha1.Shelf](newClient(t)).Get(t.Context(), before.Namespace, before.Name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(inAPI, got); diff != "" {
		t.Errorf("\n%s\nwhat is returned must be what is stored: -stored, +returned:\n%s", reason, diff)
	}
	if diff := cmp.Diff(before.Finalizers, got.Finalizers); diff != "" {
		t.Errorf("finalizers must stay: -want, +got:\n%s", diff)
	}
	if got.Status.Sync != nil {
		t.Error("the status must not be written")
	}
	actual := stored{op: op, changed: got.ResourceVersion != before.ResourceVersion, spec: got.Spec, labels: got.Labels}
	if diff := cmp.Diff(want, actual, cmp.AllowUnexported(stored{})); diff != "" {
		t.Errorf("\n%s\n-want, +got:\n%s", reason, diff)
	}
}

// fictionShelf is what the tests of writes begin with.
func fictionShelf(t *testing.T) *v1alpha1.Shelf {
	s := shelf(t, "a")
	s.Spec = v1alpha1.ShelfSpec{Name: "Fiction", Label: "Novels"}
	s.Labels = map[string]string{"theirs": "1"}
	s.Finalizers = []string{"example.com/keep"}
	return s
}

func TestModify(t *testing.T) {
	c := newClient(t)
	models := model.For[*v1alpha1.Shelf](c)
	fiction := v1alpha1.ShelfSpec{Name: "Fiction", Label: "Novels"}
	theirs := map[string]string{"theirs": "1"}
	novels := func(s *v1alpha1.Shelf) error { s.Spec = fiction; return nil }

	tests := map[string]struct {
		reason string
		absent bool // the object is not there before
		create bool // CreateOrModify
		change func(*v1alpha1.Shelf) error
		want   stored
	}{
		"Unchanged": {
			reason: "An object that is as it is to be is not written.",
			change: novels,
			want:   stored{op: model.Unchanged, spec: fiction, labels: theirs},
		},
		"Updated": {
			reason: "A field that differs is written, one that is taken away is removed.",
			change: func(s *v1alpha1.Shelf) error { s.Spec.Name, s.Spec.Label = "", "Poems"; return nil },
			want:   stored{op: model.Updated, changed: true, spec: v1alpha1.ShelfSpec{Label: "Poems"}, labels: theirs},
		},
		"LabelAdded": {
			reason: "Labels are written.",
			change: func(s *v1alpha1.Shelf) error { metav1.SetMetaDataLabel(&s.ObjectMeta, "ours", "2"); return nil },
			want:   stored{op: model.Updated, changed: true, spec: fiction, labels: map[string]string{"theirs": "1", "ours": "2"}},
		},
		"LabelRemoved": {
			reason: "Also the removal of the last one.",
			change: func(s *v1alpha1.Shelf) error { delete(s.Labels, "theirs"); return nil },
			want:   stored{op: model.Updated, changed: true, spec: fiction},
		},
		"StatusIgnored": {
			reason: "The status is the engines' business.",
			change: func(s *v1alpha1.Shelf) error {
				s.Status.Sync = &model.StepStatus{Generation: 1, State: model.StateOK}
				return nil
			},
			want: stored{op: model.Unchanged, spec: fiction, labels: theirs},
		},
		"NameIgnored": {
			reason: "A change cannot make another object of it.",
			change: func(s *v1alpha1.Shelf) error { s.Name, s.Namespace, s.UID = "b", "other", "other"; return nil },
			want:   stored{op: model.Unchanged, spec: fiction, labels: theirs},
		},
		"Gone": {
			reason: "An object that is not there cannot be modified.",
			absent: true,
			change: novels,
			want:   stored{err: apierrors.IsNotFound},
		},
		"Invalid": {
			reason: "The API server validates.",
			change: func(s *v1alpha1.Shelf) error { s.Spec.Label = " "; return nil },
			want:   stored{err: apierrors.IsInvalid},
		},
		"OwnError": {
			reason: "An error of the change ends it, and is returned as it is.",
			change: func(s *v1alpha1.Shelf) error { s.Spec.Label = "Poems"; return errOwn },
			want:   stored{err: func(err error) bool { return err == errOwn }},
		},
		"OwnConflict": {
			reason: "Whatever error that is: a change that has met a conflict of its own is not called again.",
			change: func() func(*v1alpha1.Shelf) error {
				calls := 0
				return func(*v1alpha1.Shelf) error {
					if calls++; calls > 1 {
						return errOwn
					}
					return apierrors.NewConflict(shelves.GVR().GroupResource(), "b", errOwn)
				}
			}(),
			want: stored{err: apierrors.IsConflict},
		},
		"Created": {
			reason: "An object that is not there is created, and the change can see that it is new.",
			absent: true, create: true,
			change: func(s *v1alpha1.Shelf) error {
				if s.UID != "" || s.Name != "a" || s.Namespace == "" || s.Spec != (v1alpha1.ShelfSpec{}) {
					return fmt.Errorf("got %+v", s)
				}
				s.Finalizers = []string{"example.com/keep"}
				s.Status.Sync = &model.StepStatus{Generation: 1, State: model.StateOK}
				return novels(s)
			},
			want: stored{op: model.Created, changed: true, spec: fiction},
		},
		"CreatedOnlyAsNamed": {
			reason: "Nor can it make another object of a new one.",
			absent: true, create: true,
			change: func(s *v1alpha1.Shelf) error {
				s.Finalizers = []string{"example.com/keep"}
				s.Name, s.Namespace = "b", "other"
				return novels(s)
			},
			want: stored{op: model.Created, changed: true, spec: fiction},
		},
		"CreateFound": {
			reason: "One that is there is modified, and keeps what the change leaves alone.",
			create: true,
			change: func(s *v1alpha1.Shelf) error { s.Spec.Label = "Poems"; return nil },
			want:   stored{op: model.Updated, changed: true, spec: v1alpha1.ShelfSpec{Name: "Fiction", Label: "Poems"}, labels: theirs},
		},
		"CreateFoundUnchanged": {
			reason: "Or not written.",
			create: true,
			change: novels,
			want:   stored{op: model.Unchanged, spec: fiction, labels: theirs},
		},
		"CreateInvalid": {
			reason: "The API server validates what is new, too.",
			absent: true, create: true,
			change: func(*v1alpha1.Shelf) error { return nil },
			want:   stored{err: apierrors.IsInvalid},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := fictionShelf(t)
			if !tt.absent {
				before = save(t, c, before)
			}
			write := models.Modify
			if tt.create {
				write = models.CreateOrModify
			}
			got, op, err := write(t.Context(), before.Namespace, "a", tt.change)
			tt.want.check(t, tt.reason, before, got, op, err)
		})
	}
}

func TestUpdate(t *testing.T) {
	c := newClient(t)
	fiction := v1alpha1.ShelfSpec{Name: "Fiction", Label: "Novels"}
	tests := map[string]struct {
		reason string
		absent bool // the object is not there before
		edit   func(*v1alpha1.Shelf)
		want   stored
	}{
		"Unchanged": {
			reason: "An object that was read and not changed is not written.",
			edit:   func(*v1alpha1.Shelf) {},
			want:   stored{op: model.Unchanged, spec: fiction, labels: map[string]string{"theirs": "1"}},
		},
		"Updated": {
			reason: "What differs is written, what is taken away is removed.",
			edit:   func(s *v1alpha1.Shelf) { s.Spec.Name, s.Labels = "", map[string]string{"ours": "2"} },
			want:   stored{op: model.Updated, changed: true, spec: v1alpha1.ShelfSpec{Label: "Novels"}, labels: map[string]string{"ours": "2"}},
		},
		"StatusIgnored": {
			reason: "The status is the engines' business.",
			edit:   func(s *v1alpha1.Shelf) { s.Status.Sync = &model.StepStatus{Generation: 1, State: model.StateOK} },
			want:   stored{op: model.Unchanged, spec: fiction, labels: map[string]string{"theirs": "1"}},
		},
		"Stale": {
			reason: "Somebody else has changed the object since it was read.",
			edit:   func(s *v1alpha1.Shelf) { s.ResourceVersion = "1" },
			want:   stored{err: apierrors.IsConflict},
		},
		"Gone": {
			reason: "What was read and is gone is not created again.",
			absent: true,
			edit:   func(s *v1alpha1.Shelf) { s.ResourceVersion = "1" },
			want:   stored{err: apierrors.IsNotFound},
		},
		"NotRead": {
			reason: "Nobody knows what an object that was never read may overwrite.",
			edit:   func(s *v1alpha1.Shelf) { s.ResourceVersion = "" },
			want: stored{err: func(err error) bool {
				return err != nil && strings.Contains(err.Error(), "metadata.resourceVersion")
			}},
		},
		"Invalid": {
			reason: "The API server validates.",
			edit:   func(s *v1alpha1.Shelf) { s.Spec.Label = "" },
			want:   stored{err: apierrors.IsInvalid},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := fictionShelf(t)
			if !tt.absent {
				before = save(t, c, before)
			}
			obj := before.DeepCopy()
			tt.edit(obj)
			got, op, err := model.For[*v1alpha1.Shelf](c).Update(t.Context(), obj)
			tt.want.check(t, tt.reason, before, got, op, err)
			if err != nil && !strings.Contains(err.Error(), "Shelf "+before.Namespace+"/a") {
				t.Errorf("the error must name the object, got: %v", err)
			}
		})
	}
}

// TestModifyUntyped changes what no Go type knows.
func TestModifyUntyped(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	k, err := model.For[*Box](c).Kind(ctx)
	if err != nil {
		t.Fatal(err)
	}
	namespace := namespaceOf(t)
	set := func(value any, path ...string) func(*unstructured.Unstructured) error {
		return func(u *unstructured.Unstructured) error { return unstructured.SetNestedField(u.Object, value, path...) }
	}
	steps := []struct {
		reason string
		change func(*unstructured.Unstructured) error
		op     model.Operation
		spec   map[string]any
	}{
		{"A new object", set(map[string]any{"colour": "red"}, "spec", "lid"), model.Created, map[string]any{"lid": map[string]any{"colour": "red"}}},
		{"A field more", set(int64(1<<53+1), "spec", "size"), model.Updated, map[string]any{"size": int64(1<<53 + 1), "lid": map[string]any{"colour": "red"}}},
		{"The same again", set(int64(1<<53+1), "spec", "size"), model.Unchanged, map[string]any{"size": int64(1<<53 + 1), "lid": map[string]any{"colour": "red"}}},
		{"A field less", func(u *unstructured.Unstructured) error {
			unstructured.RemoveNestedField(u.Object, "spec", "lid", "colour")
			return nil
		}, model.Updated, map[string]any{"size": int64(1<<53 + 1), "lid": map[string]any{}}},
		{"Nothing that the API server keeps", set(nil, "spec", "nothing"), model.Unchanged, map[string]any{"size": int64(1<<53 + 1), "lid": map[string]any{}}},
		{"The status, which is not written", set("full", "status", "own"), model.Unchanged, map[string]any{"size": int64(1<<53 + 1), "lid": map[string]any{}}},
	}
	for _, tt := range steps {
		got, op, err := c.CreateOrModify(ctx, k, namespace, "a", tt.change)
		if err != nil || op != tt.op {
			t.Fatalf("%s: want %s, got %s, %v", tt.reason, tt.op, op, err)
		}
		live, err := c.Live(ctx, k, namespace, "a")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.spec, live.Object["spec"]); diff != "" {
			t.Errorf("%s: -want, +got:\n%s", tt.reason, diff)
		}
		if diff := cmp.Diff(live, got); diff != "" {
			t.Errorf("%s: what is returned must be what is stored: -stored, +returned:\n%s", tt.reason, diff)
		}
	}

	owner := []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "a", UID: "u"}}
	own := func(u *unstructured.Unstructured) error { u.SetOwnerReferences(owner); return nil }
	if got, op, err := c.Modify(ctx, k, namespace, "a", own); err != nil || op != model.Updated || !cmp.Equal(got.GetOwnerReferences(), owner) {
		t.Errorf("owner references are written: got %v, %s, %v", got, op, err)
	}
	if _, _, err := c.Modify(ctx, k, namespace, "b", own); !apierrors.IsNotFound(err) {
		t.Errorf("want NotFound, got %v", err)
	}
}

func TestModifyKeepsUnknownFields(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	models := model.For[*Box](c)
	k, err := models.Kind(ctx)
	if err != nil {
		t.Fatal(err)
	}
	namespace := namespaceOf(t)
	spec := func(size int64) map[string]any {
		return map[string]any{"size": size, "lid": map[string]any{"colour": "red"}}
	}
	_, _, err = c.CreateOrModify(ctx, k, namespace, "a", func(u *unstructured.Unstructured) error {
		return unstructured.SetNestedMap(u.Object, spec(1), "spec")
	})
	if err != nil {
		t.Fatal(err)
	}

	read, op, err := models.Modify(ctx, namespace, "a", func(b *Box) error { b.Spec.Size = 2; return nil })
	if op != model.Updated || err != nil {
		t.Fatalf("got %s, %v", op, err)
	}
	read.Spec.Size = 3
	if _, op, err := models.Update(ctx, read); op != model.Updated || err != nil {
		t.Fatalf("got %s, %v", op, err)
	}
	u, err := c.Live(ctx, k, namespace, "a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(spec(3), u.Object["spec"]); diff != "" {
		t.Errorf("a field that the Go type does not know must stay: -want, +got:\n%s", diff)
	}
}

// TestModifyLargeNumbers has numbers that a float64 cannot tell apart.
func TestModifyLargeNumbers(t *testing.T) {
	ctx, models := t.Context(), model.For[*Box](newClient(t))
	for _, size := range []int{1 << 53, 1<<53 + 1, 1<<53 + 2, 1<<62 + 1} {
		got, op, err := models.CreateOrModify(ctx, namespaceOf(t), "a", func(b *Box) error { b.Spec.Size = size; return nil })
		if err != nil || op == model.Unchanged || got.Spec.Size != size {
			t.Errorf("%d: got %s, %+v, %v", size, op, got, err)
		}
	}
}

func TestWriteConcurrently(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	models := model.For[*v1alpha1.Shelf](c)

	t.Run("Same", func(t *testing.T) {
		ops := make([]model.Operation, 8)
		together(len(ops), func(i int) {
			_, op, err := models.CreateOrModify(ctx, namespaceOf(t), "a", func(s *v1alpha1.Shelf) error { s.Spec.Label = "Novels"; return nil })
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
			_, _, err := models.CreateOrModify(ctx, namespaceOf(t), "a", func(s *v1alpha1.Shelf) error {
				s.Spec.Label = "Novels"
				metav1.SetMetaDataLabel(&s.ObjectMeta, fmt.Sprintf("by-%d", i), "x")
				return nil
			})
			if err != nil {
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
	t.Run("Update", func(t *testing.T) {
		stale := save(t, c, shelf(t, "a"))
		errs := make([]error, 4)
		together(len(errs), func(i int) {
			s := stale.DeepCopy()
			s.Spec.Label = fmt.Sprint(i)
			_, _, errs[i] = models.Update(ctx, s)
		})
		errs = slices.DeleteFunc(errs, apierrors.IsConflict)
		if diff := cmp.Diff([]error{nil}, errs); diff != "" {
			t.Errorf("one of them wins, the others get a Conflict: -want, +got:\n%s", diff)
		}
	})
}

// TestGoneMeanwhile has objects that go between being read and being written.
func TestGoneMeanwhile(t *testing.T) {
	ctx, c := t.Context(), newClient(t)
	models := model.For[*v1alpha1.Shelf](c)
	remove := func(s *v1alpha1.Shelf) error {
		s.Spec.Label += "!"
		if s.UID == "" {
			return nil
		}
		return models.Delete(ctx, s)
	}
	s := save(t, c, shelf(t, "a"))
	got, op, err := models.CreateOrModify(ctx, s.Namespace, "a", remove)
	if err != nil || op != model.Created || got.UID == s.UID || got.Spec.Label != "!" {
		t.Errorf("it must be created again, got %v, %s, %v", got, op, err)
	}
	if _, _, err := models.Modify(ctx, s.Namespace, "a", remove); !apierrors.IsNotFound(err) {
		t.Errorf("want NotFound, got %v", err)
	}
}

// scripted makes a client for an API that has a shelf and answers each write with the next of the
// codes. At the last one it calls after. It counts the writes.
func scripted(t *testing.T, codes []int, after func()) (*model.Client, *int) {
	writes := 0
	reply := func(code int, body any) *http.Response {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Error(err)
		}
		return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(raw))}
	}
	obj := map[string]any{"apiVersion": group + "/v1alpha1", "kind": "Shelf", "metadata": map[string]any{"namespace": "n", "name": "a", "resourceVersion": "1"}}
	config := &rest.Config{Host: "http://api.invalid", Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet {
			return reply(http.StatusOK, obj), nil
		}
		if writes++; writes > len(codes) {
			t.Error("one write too many")
			return reply(http.StatusInternalServerError, nil), nil
		}
		if writes == len(codes) {
			after()
		}
		code := codes[writes-1]
		if code == http.StatusOK {
			var patch map[string]any
			if err := json.NewDecoder(r.Body).Decode(&patch); err != nil {
				t.Error(err)
			}
			obj["spec"] = patch["spec"]
			return reply(code, obj), nil
		}
		reason := map[int]metav1.StatusReason{http.StatusConflict: metav1.StatusReasonConflict, http.StatusUnprocessableEntity: metav1.StatusReasonInvalid}[code]
		return reply(code, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
			Status: metav1.StatusFailure, Reason: reason, Message: "somebody was faster", Code: int32(code)}), nil
	})}
	return clientFor(t, config), &writes
}

func TestModifyTriesAgain(t *testing.T) {
	const ok, conflict, invalid = http.StatusOK, http.StatusConflict, http.StatusUnprocessableEntity
	tests := map[string]struct {
		reason string
		codes  []int
		ended  bool // the context ends with the last answer
		err    func(error) bool
	}{
		"AtOnce":   {reason: "Success is success.", codes: []int{ok}},
		"Later":    {reason: "A conflict is tried again.", codes: []int{conflict, conflict, ok}},
		"NotAgain": {reason: "Another error is not.", codes: []int{conflict, invalid}, err: apierrors.IsInvalid},
		"GivesUp":  {reason: "Nor is a conflict tried forever.", codes: slices.Repeat([]int{conflict}, 6), err: apierrors.IsConflict},
		"Ended": {
			reason: "The end of the context is no conflict, which callers may take for somebody else's success; the last answer helps to find the cause.",
			codes:  []int{conflict, conflict}, ended: true,
			err: func(err error) bool {
				return errors.Is(err, context.Canceled) && !apierrors.IsConflict(err) && strings.Contains(err.Error(), "somebody was faster")
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c, writes := scripted(t, tt.codes, func() {
				if tt.ended {
					cancel()
				}
			})
			calls := 0
			_, op, err := c.Modify(ctx, shelves, "n", "a", func(u *unstructured.Unstructured) error {
				calls++
				return unstructured.SetNestedField(u.Object, "Poems", "spec", "label")
			})
			if *writes != len(tt.codes) || calls != len(tt.codes) {
				t.Errorf("\n%s\nwant %d changes and writes, got %d and %d", tt.reason, len(tt.codes), calls, *writes)
			}
			if tt.err == nil && (err != nil || op != model.Updated) || tt.err != nil && !tt.err(err) {
				t.Errorf("\n%s\ngot %s, %v", tt.reason, op, err)
			}
		})
	}
}

// together runs fn n times at once.
func together(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

// cut makes a client whose requests of the given sort end with their context.
func cut(t *testing.T, sort func(*http.Request) bool) (*model.Client, context.Context) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newClient(t, func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if sort(r) {
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
	creates := func(r *http.Request) bool { return r.Method == http.MethodPost }
	patches := func(r *http.Request) bool { return r.Method == http.MethodPatch }
	label := func(s *v1alpha1.Shelf) error { s.Spec.Label = "Poems"; return nil }
	tests := map[string]struct {
		reason string
		sort   func(*http.Request) bool
		call   func(context.Context, *testing.T, *model.Client) error
	}{
		"Create": {
			reason: "A creation that was cut off has not happened.",
			sort:   creates,
			call: func(ctx context.Context, t *testing.T, c *model.Client) error {
				_, err := model.For[*v1alpha1.Shelf](c).Create(ctx, shelf(t, "b"))
				return err
			},
		},
		"CreateOrModify": {
			reason: "By whatever call.",
			sort:   creates,
			call: func(ctx context.Context, t *testing.T, c *model.Client) error {
				_, _, err := model.For[*v1alpha1.Shelf](c).CreateOrModify(ctx, namespaceOf(t), "b", label)
				return err
			},
		},
		"Modify": {
			reason: "Nor has a change.",
			sort:   patches,
			call: func(ctx context.Context, t *testing.T, c *model.Client) error {
				_, _, err := model.For[*v1alpha1.Shelf](c).Modify(ctx, namespaceOf(t), "a", label)
				return err
			},
		},
		"SetStep": {
			reason: "Nor is a status stored.",
			sort:   func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/status") },
			call: func(ctx context.Context, t *testing.T, c *model.Client) error {
				o := get(t, seed, shelf(t, "a"))
				return c.SetStep(ctx, o.kind, o.Unstructured, model.StepSync, &model.StepStatus{Generation: 1, State: model.StateOK})
			},
		},
		"AddFinalizer": {
			reason: "Nor is a finalizer on.",
			sort:   patches,
			call: func(ctx context.Context, t *testing.T, c *model.Client) error {
				o := get(t, seed, shelf(t, "a"))
				_, err := c.AddFinalizer(ctx, o.kind, o.Unstructured, model.StepSync)
				return err
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			save(t, seed, shelf(t, "a"))
			c, ctx := cut(t, tt.sort)
			if err := tt.call(ctx, t, c); !errors.Is(err, context.Canceled) {
				t.Errorf("\n%s\ngot %v", tt.reason, err)
			}
		})
	}
}
