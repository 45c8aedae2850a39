package step_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

// newAll makes a function with all steps of the library, and a shelf with a book, both Ready.
func newAll(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.start(step.Sync(f), step.Sync(shelfSyncer{f}), step.Policies[*book](deleting{}))
	save(f, f.shelf("fiction"))
	save(f, f.book("a"))
	f.Settle()
	f.takeCalls()
	return f
}

// edit changes the book or the shelf as a user does.
func (f *fixture) edit(change func(metav1.Object)) {
	steptest.Change(f.World, "a", func(b *book) { change(b) })
}

func annotate(pairs ...string) func(metav1.Object) {
	return func(o metav1.Object) {
		all := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			all[pairs[i]] = pairs[i+1]
		}
		o.SetAnnotations(all)
	}
}

func retitle(f *fixture) { steptest.Change(f.World, "a", func(b *book) { b.Spec.Title = "Emma" }) }

func failing(f *fixture, err error) {
	f.sync = func(context.Context, *book) (string, error) { return "", err }
	retitle(f)
}

// TestConditions compares what users see of a book with what is the case. All are observed at their current
// generation.
func TestConditions(t *testing.T) {
	broken := errors.New("no paper")
	tests := map[string]struct {
		do     func(f *fixture)
		status metav1.ConditionStatus
		reason string
		says   string
	}{
		"Synced":   {func(*fixture) {}, "True", "OK", "OK"},
		"Changed":  {retitle, "True", "OK", "OK"},
		"Warning":  {func(f *fixture) { failing(f, step.Warning(broken)) }, "True", "Warning", "no paper"},
		"Deferred": {func(f *fixture) { failing(f, step.Deferred("printing")) }, "Unknown", "Deferred", "printing (next attempt at 2026-01-02T03:04:10Z)"},
		"Failed":   {func(f *fixture) { failing(f, broken) }, "False", "Failed", "no paper (attempt 1, the next at 2026-01-02T03:04:0"},
		"FailedAgain": {func(f *fixture) {
			failing(f, broken)
			f.Settle()
			f.After(time.Minute)
		}, "False", "Failed", "no paper (attempt 2, the next at 2026-01-02T03:05:0"},
		"Permanent":       {func(f *fixture) { failing(f, step.Permanent(broken)) }, "False", "Permanent", "not tried again until the spec changes"},
		"Recovered":       {func(f *fixture) { failing(f, broken); f.Settle(); f.sync = nil; f.After(time.Minute) }, "True", "OK", "OK"},
		"Missing":         {func(f *fixture) { f.move("poetry") }, "Unknown", "Waiting", "waiting for Shelf poetry, which does not exist"},
		"MissingThenHere": {func(f *fixture) { f.move("poetry"); f.Settle(); save(f, f.shelf("poetry")) }, "True", "OK", "OK"},
		"Unset":           {func(f *fixture) { f.move("") }, "Unknown", "Waiting", "waiting for Shelf, which the spec does not name yet"},
		"Paused":          {func(f *fixture) { f.edit(annotate(model.AnnotationPaused, "")) }, "False", "Paused", model.AnnotationPaused},
		"PausedChanged":   {func(f *fixture) { f.edit(annotate(model.AnnotationPaused, "")); f.Settle(); retitle(f) }, "False", "Paused", model.AnnotationPaused},
		"PausedWaiting": {func(f *fixture) { f.move("poetry"); f.Settle(); f.edit(annotate(model.AnnotationPaused, "")) }, "False", "Paused",
			model.AnnotationPaused},
		"PausedDeleted": {func(f *fixture) { f.edit(annotate(model.AnnotationPaused, "")); steptest.Delete[*book](f.World, "a") }, "False", "Paused", "the deletion waits for: remove the annotation"},
		"Resumed":       {func(f *fixture) { f.edit(annotate(model.AnnotationPaused, "")); f.Settle(); f.edit(annotate()) }, "True", "OK", "OK"},
		"NoSync":        {func(f *fixture) { f.edit(annotate(model.AnnotationNoSync, "")) }, "True", "OK", "OK"},
		"NoSyncChanged": {func(f *fixture) { f.edit(annotate(model.AnnotationNoSync, "")); f.Settle(); retitle(f) }, "True", "OK", "OK"},
		"NoSyncWaiting": {func(f *fixture) { f.move("poetry"); f.Settle(); f.edit(annotate(model.AnnotationNoSync, "")) }, "True", "OK", "OK"},
		"NoPolicy":      {func(f *fixture) { f.edit(annotate(model.AnnotationNoPolicy, "")) }, "True", "OK", "OK"},
		"OptedOut":      {func(f *fixture) { f.edit(annotate(model.AnnotationNoSync, "", model.AnnotationNoPolicy, "")) }, "True", "OptedOut", "opted out of all steps"},
		"OptedOutChange": {func(f *fixture) {
			f.edit(annotate(model.AnnotationNoSync, "", model.AnnotationNoPolicy, ""))
			f.Settle()
			retitle(f)
		}, "True", "OptedOut", "opted out of all steps"},
		"BornOptedOut": {func(f *fixture) {
			steptest.Delete[*book](f.World, "a")
			f.Settle()
			b := f.book("a")
			annotate(model.AnnotationNoSync, "", model.AnnotationNoPolicy, "")(b)
			save(f, b)
		}, "True", "OptedOut", "opted out of all steps"},
		"BornPaused": {func(f *fixture) {
			steptest.Delete[*book](f.World, "a")
			f.Settle()
			b := f.book("a")
			annotate(model.AnnotationPaused, "")(b)
			save(f, b)
		}, "False", "Paused", model.AnnotationPaused},
		"CleanUpFails": {func(f *fixture) {
			f.clean = func(context.Context, *book) error { return broken }
			steptest.Delete[*book](f.World, "a")
		}, "False", "Deleting", "being deleted: no paper (attempt 1, the next at"},
		"OthersFinalizer": {func(f *fixture) {
			f.edit(func(o metav1.Object) { o.SetFinalizers(append(o.GetFinalizers(), "example.com/theirs")) })
			steptest.Delete[*book](f.World, "a")
		}, "False", "Deleting", "waiting for whoever removes the finalizers: example.com/theirs"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newAll(t)
			tt.do(f)
			f.Settle()
			wantReady[*book](f, "a", tt.status, tt.reason, tt.says)
		})
	}
}

// wantReady checks what users see of an object.
func wantReady[T model.Object](f *fixture, name string, status metav1.ConditionStatus, reason, says string) {
	f.Helper()
	s := steptest.Snapshot[T](f.World, name)
	c := s.Status.GetCondition(model.ConditionReady)
	if c == nil || metav1.ConditionStatus(c.Status) != status || c.Reason != reason || !strings.Contains(c.Message, says) {
		f.Errorf("want Ready %s, %s: %s; got %+v", status, reason, says, c)
	}
	if s.Status.ObservedGeneration != s.Generation {
		f.Errorf("want generation %d to be observed, got %d", s.Generation, s.Status.ObservedGeneration)
	}
	for _, c := range s.Status.Conditions {
		if c.Reason == "" || c.Message == "" {
			f.Errorf("each condition needs a reason and a message, got %+v", c)
		}
	}
}

// move puts the book on another shelf.
func (f *fixture) move(shelf string) {
	steptest.Change(f.World, "a", func(b *book) {
		if b.Spec.Shelf.Name = shelf; shelf == "" {
			b.Spec.Shelf = nil
		}
	})
}

// TestDeletionBlocked has a shelf that is deleted and must stay.
func TestDeletionBlocked(t *testing.T) {
	t.Parallel()
	f := newAll(t)
	steptest.Delete[*shelf](f.World, "fiction")
	f.Settle()
	wantReady[*shelf](f, "fiction", "False", "Deleting", "waiting for Book a, which still depends on it, to be deleted")
	wantReady[*book](f, "a", "Unknown", "Waiting", "waiting for Shelf fiction, which is being deleted")
}

// TestFinalizerPutBack has objects whose finalizers somebody has removed, as kubectl replace does.
func TestFinalizerPutBack(t *testing.T) {
	remove := func(f *fixture) { f.edit(func(o metav1.Object) { o.SetFinalizers(nil) }) }
	tests := map[string]func(f *fixture){
		"Synced":   remove,
		"Waiting":  func(f *fixture) { f.move("poetry"); f.Settle(); f.takeCalls(); remove(f) },
		"OptedOut": func(f *fixture) { f.edit(annotate(model.AnnotationNoSync, "")); f.Settle(); remove(f) },
	}
	for name, do := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newAll(t)
			do(f)
			f.Settle()
			f.wantCalls("")
			want := []string{model.StepSync.Finalizer(), model.StepPolicy.Finalizer()}
			if got := steptest.Snapshot[*book](f.World, "a").Finalizers; len(got) != 2 || !slices.Contains(got, want[0]) || !slices.Contains(got, want[1]) {
				t.Errorf("want finalizers %v, got %v", want, got)
			}
			steptest.Delete[*book](f.World, "a")
			f.Settle()
			f.wantCalls("delete Dune")
		})
	}
}

// TestOwnedDependent has a book that the shelf owns, and that depends on it: the garbage collector waits until
// the shelf is gone, the shelf waits for the book.
func TestOwnedDependent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		finalizers []string
		want       string
	}{
		"Deleted":  {nil, "delete Dune, delete shelf"},
		"Orphaned": {[]string{metav1.FinalizerOrphanDependents}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newAll(t)
			s, _ := steptest.Get[*shelf](f.World, "fiction")
			f.edit(func(o metav1.Object) {
				o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "library.xos-knative.dev/v1alpha1", Kind: "Shelf", Name: s.Name, UID: s.UID}})
			})
			steptest.Change(f.World, "fiction", func(s *shelf) { s.Finalizers = append(s.Finalizers, tt.finalizers...) })
			steptest.Delete[*shelf](f.World, "fiction")
			f.Settle()
			f.wantCalls(tt.want)
		})
	}
}

// TestOvertaken has a run that used an older shelf than another one, of another process, that was faster. Its
// call may have reached the backend last.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	f := newAll(t)
	var labels []string
	f.sync = func(ctx context.Context, b *book) (string, error) {
		s, err := step.Dependency[*shelf](ctx)
		if err != nil {
			return "", err
		}
		if labels = append(labels, s.Spec.Label); len(labels) == 1 {
			acknowledge(f, steptest.Change(f.World, "fiction", func(s *shelf) { s.Spec.Label = "Novels" }), model.StateOK)
			acknowledge(f, b, model.StateOK)
		}
		return "", nil
	}
	retitle(f)
	f.Settle()
	if want := []string{"Fiction", "Novels"}; !slices.Equal(labels, want) {
		t.Errorf("want calls with the labels %v, got %v", want, labels)
	}
}

// TestItself has a kind that depends on itself, and an object that names itself.
func TestItself(t *testing.T) {
	t.Parallel()
	f := newAll(t)
	k := &model.Kind{GVK: steptest.Snapshot[*shelf](f.World, "fiction").Kind.GVK, Steps: []model.Step{model.StepSync},
		DependsOn: []model.DependsOn{{GroupKind: steptest.Snapshot[*shelf](f.World, "fiction").Kind.GVK.GroupKind(), Path: "metadata.name"}}}
	s, err := k.SnapshotOf(liveObject(f, f.shelf("fiction")))
	if err != nil {
		t.Fatal(err)
	}
	if s.Refs[0] != "" || s.Problem != "metadata.name: expected the name of another Shelf, got the object itself" {
		t.Errorf("want no dependency and the reason, got %q, %q", s.Refs, s.Problem)
	}
}

// TestAPIHangs has an API server that does not answer: the run ends all the same, and another one does the
// work.
func TestAPIHangs(t *testing.T) {
	t.Parallel()
	f := newAll(t)
	retitle(f)
	ends := make(chan time.Duration, 1)
	f.before = func(r *http.Request) error {
		deadline, ok := r.Context().Deadline()
		if !ok {
			return errors.New("the request has no deadline")
		}
		ends <- time.Until(deadline)
		f.before = nil
		return context.DeadlineExceeded
	}
	f.wants(wake(f, f.book("a")), 503, "", "deadline exceeded")
	if got := <-ends; got > 30*time.Second {
		t.Errorf("want a request to end within 30 s, got %s", got)
	}
	f.Settle()
	f.wantCalls("sync Emma")
}
