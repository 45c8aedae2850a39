package step_test

import (
	"context"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/librarytest"
)

type (
	shelfBeta = librarytest.Shelf
	bookBeta  = librarytest.Book
)

// versioned is a function whose models get a second version.
type versioned struct {
	*steptest.World
	versions *librarytest.Versions

	// mu protects following.
	mu    sync.Mutex
	calls []string
}

// newVersioned makes shelves and books in v1alpha1, and serves these versions before the function starts.
func newVersioned(t *testing.T, steps func(*versioned, *model.Client) []step.Registration, served ...string) *versioned {
	t.Helper()
	server := kubeapitest.Shared(t)
	v := &versioned{versions: librarytest.New(t, server, "versions-"+utilrand.String(5)+".example.dev", nil)}
	if len(served) > 0 {
		v.versions.Serve(librarytest.V1alpha1, served...)
	}
	v.World = steptest.New(t, func(_ context.Context, models *model.Client) ([]step.Registration, error) {
		return steps(v, models), nil
	}, v.versions.AddToScheme)
	steptest.Given(v.World, &shelf{ObjectMeta: steptest.Meta("fiction"), Spec: v1alpha1.ShelfSpec{Label: "Fiction"}})
	steptest.Given(v.World, &book{ObjectMeta: steptest.Meta("a"), Spec: v1alpha1.BookSpec{Title: "Dune", Shelf: &v1alpha1.ShelfReference{Name: "fiction"}}})
	v.Settle()
	return v
}

func (v *versioned) called(what ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls = append(v.calls, strings.Join(what, " "))
}

// wantCalls checks the calls since it was called last.
func (v *versioned) wantCalls(reason string, want ...string) {
	v.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	// Which step is called first does not matter.
	slices.Sort(want)
	slices.Sort(v.calls)
	if diff := cmp.Diff(want, v.calls); diff != "" {
		v.Errorf("%s: -want, +got:\n%s", reason, diff)
	}
	v.calls = nil
}

// wantBook checks both steps of a book.
func (v *versioned) wantBook(name, title string) {
	v.Helper()
	b, _ := steptest.Get[*book](v.World, name)
	for _, s := range []*model.StepStatus{b.Status.Sync, b.Status.Policy} {
		if s == nil || s.State != model.StateOK || s.Generation != b.Generation || s.Failures != 0 {
			v.Errorf("%s: want both steps OK, got %+v", name, s)
		}
	}
	if b.Spec.Title != title {
		v.Errorf("%s: want title %s, got %s", name, title, b.Spec.Title)
	}
}

// serve changes the definitions, and waits until the test's own client knows about v1beta1.
func (v *versioned) serve(stored string, served ...string) {
	v.Helper()
	v.versions.Serve(stored, served...)
	v.await("v1beta1", func(ctx context.Context) bool {
		_, err := model.For[*bookBeta](v.Models).Kind(ctx)
		return err == nil
	})
}

func (v *versioned) await(what string, condition func(context.Context) bool) {
	v.Helper()
	err := wait.PollUntilContextTimeout(v.Context(), 10*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) { return condition(ctx), nil })
	if err != nil {
		v.Fatalf("waiting for %s: %v", what, err)
	}
}

// reader is a step for books of type B, which stand on shelves of type S.
type reader[B, S model.Object] struct{ *versioned }

func (r reader[B, S]) read(ctx context.Context, verb string, b B) error {
	s, err := step.Dependency[S](ctx)
	if err != nil {
		return err
	}
	r.called(verb, words(b), "on", words(s))
	return nil
}

func (r reader[B, S]) Sync(ctx context.Context, b B) (string, error) {
	return "", r.read(ctx, "sync", b)
}
func (r reader[B, S]) Create(ctx context.Context, b B) error { return r.read(ctx, "create", b) }
func (r reader[B, S]) Update(ctx context.Context, b B) error { return r.read(ctx, "update", b) }
func (r reader[B, S]) Delete(_ context.Context, b B) error {
	r.called("delete", words(b))
	return nil
}

// words are the version that an object says it has, and what its Go type has read of it.
func words(o model.Object) string {
	version := o.GetObjectKind().GroupVersionKind().Version
	switch o := o.(type) {
	case *shelf:
		return version + " " + o.Spec.Label
	case *shelfBeta:
		return version + " " + o.Spec.Caption
	case *book:
		return version + " " + o.Spec.Title
	case *bookBeta:
		return version + " " + o.Spec.Heading
	}
	return "?"
}

// shelving syncs shelves.
type shelving[S model.Object] struct{}

func (shelving[S]) Sync(context.Context, S) (string, error) { return "", nil }

// oldSteps are all kinds of steps, written for v1alpha1. Pull and event steps write the book that they are told.
func oldSteps(v *versioned, models *model.Client) []step.Registration {
	write := func(ctx context.Context, name, title string) (model.Operation, error) {
		_, op, err := model.For[*book](models).CreateOrModify(ctx, v.Namespace, name, func(b *book) error {
			b.Spec.Title, b.Spec.Shelf = title, &v1alpha1.ShelfReference{Name: "fiction"}
			return nil
		})
		return op, err
	}
	return []step.Registration{
		step.Sync(shelving[*shelf]{}), step.Sync(reader[*book, *shelf]{v}), step.Policies(reader[*book, *shelf]{v}),
		step.Pull(pullFunc(func(ctx context.Context, _ *step.Round) error {
			_, err := write(ctx, "a", "pulled")
			return err
		})),
		step.On(orders(func(ctx context.Context, o order) (step.EventResult, error) {
			op, err := write(ctx, o.Name, "ordered")
			return step.EventResult{Operation: op, Kind: "Book", Namespace: v.Namespace, Name: o.Name}, err
		}), "ordered"),
	}
}

// TestStoredVersionChanges: steps that are written for v1alpha1 go on, in the same process, when v1beta1
// becomes the version that objects are stored in.
func TestStoredVersionChanges(t *testing.T) {
	t.Parallel()
	v := newVersioned(t, oldSteps)
	v.wantCalls("before", "sync v1alpha1 Dune on v1alpha1 Fiction", "create v1alpha1 Dune on v1alpha1 Fiction")

	v.serve(librarytest.V1beta1, librarytest.V1alpha1, librarytest.V1beta1)
	if n := v.Settle(); n != 0 {
		t.Errorf("the change alone gives the steps no work, but there were %d events", n)
	}
	v.wantBook("a", "Dune")

	steptest.Change(v.World, "a", func(b *bookBeta) { b.Spec.Heading = "Emma" })
	v.Settle()
	v.wantCalls("a change in v1beta1", "sync v1alpha1 Emma on v1alpha1 Fiction", "update v1alpha1 Emma on v1alpha1 Fiction")
	v.wantBook("a", "Emma")

	if _, a := v.Tick(); a.Code != http.StatusOK {
		t.Errorf("pull: got %d: %s", a.Code, a.Body)
	}
	if a := v.Send(steptest.Event("ordered", `{"name":"b"}`)); a.Code != http.StatusOK {
		t.Errorf("event: got %d: %s", a.Code, a.Body)
	}
	v.Settle()
	v.wantBook("a", "pulled")
	v.wantBook("b", "ordered")
	v.calls = nil

	steptest.Delete[*bookBeta](v.World, "a")
	v.Settle()
	v.wantCalls("a deletion in v1beta1", "delete v1alpha1 pulled", "delete v1alpha1 pulled")
	if _, ok := steptest.Get[*book](v.World, "a"); ok {
		t.Error("a deleted object must be gone when both steps have cleaned up")
	}
}

// TestStepsOfTwoVersions: each step, and what it depends on, is read in the version that its Go type has.
func TestStepsOfTwoVersions(t *testing.T) {
	t.Parallel()
	v := newVersioned(t, func(v *versioned, _ *model.Client) []step.Registration {
		return []step.Registration{step.Sync(shelving[*shelf]{}), step.Sync(reader[*bookBeta, *shelf]{v}), step.Policies(reader[*book, *shelfBeta]{v})}
	}, librarytest.V1alpha1, librarytest.V1beta1)
	v.wantCalls("a new object", "sync v1beta1 Dune on v1alpha1 Fiction", "create v1alpha1 Dune on v1beta1 Fiction")
	v.serve(librarytest.V1beta1, librarytest.V1alpha1, librarytest.V1beta1)
	steptest.Change(v.World, "a", func(b *book) { b.Spec.Title = "Emma" })
	v.Settle()
	v.wantCalls("a change in the old version", "sync v1beta1 Emma on v1alpha1 Fiction", "update v1alpha1 Emma on v1beta1 Fiction")
	v.wantBook("a", "Emma")
	steptest.Delete[*book](v.World, "a")
	v.Settle()
	v.wantCalls("a deletion", "delete v1beta1 Emma", "delete v1alpha1 Emma")
}

// TestCompareInTwoVersions: a comparison reads models, and what they depend on, in the versions that its Go
// types have. What is settled is decided in the oldest one.
func TestCompareInTwoVersions(t *testing.T) {
	namespace, says := steptest.Namespace(t), "Dune on Fiction"
	v := newVersioned(t, func(v *versioned, _ *model.Client) []step.Registration {
		return []step.Registration{step.Sync(shelving[*shelf]{}), step.Sync(reader[*book, *shelf]{v}), step.Policies(reader[*book, *shelf]{v}),
			step.Compare(step.Comparison[*bookBeta, string]{
				Namespace: namespace,
				Items: func(context.Context) iter.Seq2[string, error] {
					return func(yield func(string, error) bool) { yield(says, nil) }
				},
				Match: func(string) step.Match { return step.Match{Name: "a"} },
				Want: func(ctx context.Context, b *bookBeta) (any, error) {
					s, err := step.Dependency[*shelfBeta](ctx)
					return b.Spec.Heading + " on " + s.Spec.Caption, err
				},
				Have: func(item string) any { return item },
			})}
	}, librarytest.V1alpha1, librarytest.V1beta1)
	for _, want := range []step.PullCounts{{Unchanged: 1}, {Drifted: 1}} {
		got, a := v.Tick()
		if want.Seconds = got.Seconds; got != want {
			t.Errorf("%s: want %+v, got %+v, %d %s", says, want, got, a.Code, a.Body)
		}
		says = "Emma on Fiction"
	}
	b, _ := steptest.Get[*book](v.World, "a")
	if got, want := b.Annotations[model.AnnotationRequestReason], `pull: it is "Emma on Fiction", expected "Dune on Fiction"`; got != want {
		t.Errorf("want reason %q, got %q", want, got)
	}
}

// TestVersionIsNoLongerServed: a function that knows only v1alpha1 says so, and goes on when it is served again.
func TestVersionIsNoLongerServed(t *testing.T) {
	t.Parallel()
	const reason = "version is not served: this program knows v1alpha1, the API serves v1beta1"
	v := newVersioned(t, oldSteps)
	v.serve(librarytest.V1beta1, librarytest.V1beta1)

	steptest.Change(v.World, "a", func(b *bookBeta) { b.Spec.Heading = "Emma" })
	if a := steptest.Wake[*bookBeta](v.World, model.StepSync, "a"); a.Code != http.StatusOK {
		t.Errorf("sync: got %d: %s", a.Code, a.Body)
	}
	b, _ := steptest.Get[*bookBeta](v.World, "a")
	if s := b.Status.Sync; s.State != model.StateFailed || s.Permanent || !strings.Contains(s.Message, reason) {
		t.Errorf("the status must say %q and not be permanent, got %+v", reason, s)
	}
	_, pulled := v.Tick()
	for name, a := range map[string]steptest.Answer{"pull": pulled, "event": v.Send(steptest.Event("ordered", `{"name":"b"}`))} {
		if a.Code != http.StatusServiceUnavailable || !strings.Contains(a.Body, reason) {
			t.Errorf("%s: want 503 with %q, got %d: %s", name, reason, a.Code, a.Body)
		}
	}
	if err := model.For[*book](v.Models).Delete(t.Context(), &book{ObjectMeta: steptest.Meta("a")}); err == nil || !strings.Contains(err.Error(), reason) {
		t.Errorf("delete: an object that cannot be seen is not gone; want %q, got %v", reason, err)
	}
	if _, err := step.New(t.Context(), v.Models, oldSteps(v, v.Models)); err == nil || !strings.Contains(err.Error(), reason) {
		t.Errorf("a function that starts now: want %q, got %v", reason, err)
	}

	v.serve(librarytest.V1beta1, librarytest.V1alpha1, librarytest.V1beta1)
	v.await("both steps to be OK when it is served again", func(context.Context) bool {
		v.After(step.FailedMax)
		v.Settle()
		b, _ := steptest.Get[*bookBeta](v.World, "a")
		return b.Status.Sync.State == model.StateOK && b.Status.Policy.State == model.StateOK
	})
}

// TestWebhookIsDown has books that the API cannot convert to the version that the steps read, save those in its memory: events
// about them come again, nothing is written, and other kinds go on.
func TestWebhookIsDown(t *testing.T) {
	t.Parallel()
	v := newVersioned(t, oldSteps)
	v.serve(librarytest.V1beta1, librarytest.V1alpha1, librarytest.V1beta1)
	before := steptest.Change(v.World, "a", func(b *book) { b.Spec.Title = "Emma" })
	v.calls = nil
	events := map[model.Step]cloudevents.Event{}
	for _, s := range model.Steps() {
		events[s] = steptest.Snapshot[*book](v.World, "a").WakeEvent(s, 1, v.Clock.Now())
	}

	v.versions.Down("Book")
	for s, event := range events {
		if a := v.Send(event); a.Code != http.StatusServiceUnavailable || !strings.Contains(a.Body, "conversion webhook") {
			t.Errorf("%s: want 503 and why, got %d: %s", s, a.Code, a.Body)
		}
	}
	changed := steptest.Change(v.World, "fiction", func(s *shelf) { s.Spec.Label = "Novels" })
	if a := steptest.Wake[*shelf](v.World, model.StepSync, "fiction"); a.Code != http.StatusOK {
		t.Errorf("a shelf: got %d: %s", a.Code, a.Body)
	}
	if s := steptest.Snapshot[*shelf](v.World, "fiction").Status.Sync; s.State != model.StateOK || s.Generation != changed.Generation {
		t.Errorf("shelves go on; want generation %d to be synced, got %+v", changed.Generation, s)
	}
	v.calls = nil // Of books that the API still had in its memory.

	v.versions.Down("")
	v.await("books to be read again", func(ctx context.Context) bool {
		_, err := model.For[*book](v.Models).Get(ctx, v.Namespace, "a")
		return err == nil
	})
	if b, _ := steptest.Get[*book](v.World, "a"); b.ResourceVersion != before.ResourceVersion {
		t.Errorf("nothing must be written while the webhook is down, got %+v", b.Status)
	}
	for s, event := range events {
		if a := v.Send(event); a.Code != http.StatusOK {
			t.Errorf("%s: got %d: %s", s, a.Code, a.Body)
		}
	}
	v.wantCalls("the events come again", "sync v1alpha1 Emma on v1alpha1 Novels", "update v1alpha1 Emma on v1alpha1 Novels")
	v.wantBook("a", "Emma")
}
