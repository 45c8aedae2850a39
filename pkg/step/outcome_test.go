package step

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/model"
)

const group = "library.xos-knative.dev"

var (
	shelves = &model.Kind{
		GVK:   schema.GroupVersionKind{Group: group, Version: "v1alpha1", Kind: "Shelf"},
		Steps: []model.Step{model.StepSync},
	}
	books = &model.Kind{
		GVK:       schema.GroupVersionKind{Group: group, Version: "v1alpha1", Kind: "Book"},
		Steps:     []model.Step{model.StepSync, model.StepPolicy},
		DependsOn: []model.DependsOn{{GroupKind: schema.GroupKind{Group: group, Kind: "Shelf"}, Path: "spec.shelf.name"}},
	}

	now   = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	stamp = &metav1.Time{Time: now}
	past  = &metav1.Time{Time: now.Add(-time.Hour)}
)

// snapshot is a book of generation 3 with this part of the status.
func snapshot(step model.Step, before *model.StepStatus) *model.Snapshot {
	s := &model.Snapshot{Kind: books, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "uid-a", Generation: 3}}
	s.Status.SetStep(step, before)
	return s
}

// choice has the neighbours of a book that names no shelf, in a namespace with so many shelves.
func choice(candidates int) model.Neighbours {
	return model.Neighbours{Dependencies: []model.Dependency{{DependsOn: books.DependsOn[0], Candidates: candidates}}}
}

func TestOutcome(t *testing.T) {
	const sync, policy = model.StepSync, model.StepPolicy
	boom := errors.New("boom")
	failed := func(failures int32, message string) *model.StepStatus {
		return &model.StepStatus{Generation: 3, State: model.StateFailed, Code: model.CodeError, Failures: failures, Message: message, LastFailure: past}
	}
	shelf := &model.Snapshot{Kind: shelves, ObjectMeta: metav1.ObjectMeta{Name: "fiction", UID: "uid-fiction", Generation: 7}}
	onShelf := model.Neighbours{Dependencies: []model.Dependency{{DependsOn: books.DependsOn[0], Name: "fiction", Object: shelf}}}
	used := []model.DependencyStatus{{Kind: "Shelf", Name: "fiction", UID: "uid-fiction", Generation: 7}}

	type args struct {
		step        model.Step
		before      *model.StepStatus
		annotations map[string]string
		deleting    bool
		n           model.Neighbours
		handle      string
		err         error
		now         time.Time // Default: now.
	}
	type window struct{ min, max time.Duration }
	exactly := func(d time.Duration) window { return window{d, d} }
	tests := map[string]struct {
		reason string
		args   args
		want   model.StepStatus // Without NextAttempt.
		next   window           // Of NextAttempt, zero for none.
	}{
		"OK": {
			reason: "After a success there is no next attempt; the handle and the dependencies are stored.",
			args:   args{step: sync, n: onShelf, handle: "h1"},
			want:   model.StepStatus{Generation: 3, State: model.StateOK, Code: 1, Message: "OK", LastSuccess: stamp, Handle: "h1", Dependencies: used},
		},
		"OKAgain": {
			reason: "A success resets the failures; an empty handle keeps the one from before.",
			args: args{step: sync, n: onShelf, before: &model.StepStatus{Generation: 3, State: model.StateFailed, Code: 2, Message: "boom", Failures: 4,
				LastFailure: past, NextAttempt: past, Handle: "h1", Permanent: true}},
			want: model.StepStatus{Generation: 3, State: model.StateOK, Code: 1, Message: "OK", LastSuccess: stamp, LastFailure: past, Handle: "h1", Dependencies: used},
		},
		"NewHandle": {
			reason: "Another handle replaces the one from before.",
			args:   args{step: sync, before: &model.StepStatus{Generation: 3, State: model.StateOK, Handle: "h1"}, handle: "h2"},
			want:   model.StepStatus{Generation: 3, State: model.StateOK, Code: 1, Message: "OK", LastSuccess: stamp, Handle: "h2"},
		},
		"PolicyOK": {
			reason: "A policy stores no dependencies.",
			args:   args{step: policy, n: onShelf},
			want:   model.StepStatus{Generation: 3, State: model.StateOK, Code: 1, Message: "OK", LastSuccess: stamp},
		},
		"Requested": {
			reason: "The message has the reason of a request.",
			args: args{step: sync, before: &model.StepStatus{Generation: 3, State: model.StateOK, RequestedAt: "t1"},
				annotations: map[string]string{model.AnnotationRequestedAt: "t2", model.AnnotationRequestReason: "drift"}},
			want: model.StepStatus{Generation: 3, State: model.StateOK, Code: 1, Message: "OK, requested: drift", LastSuccess: stamp, RequestedAt: "t2"},
		},
		"RequestedNoReason": {
			reason: "A request needs no reason.",
			args:   args{step: sync, annotations: map[string]string{model.AnnotationRequestedAt: "t2"}},
			want:   model.StepStatus{Generation: 3, State: model.StateOK, Code: 1, Message: "OK", LastSuccess: stamp, RequestedAt: "t2"},
		},
		"RequestAnsweredBefore": {
			reason: "The reason of a request that was answered before does not count.",
			args: args{step: sync, before: &model.StepStatus{Generation: 2, State: model.StateOK, RequestedAt: "t2"},
				annotations: map[string]string{model.AnnotationRequestedAt: "t2", model.AnnotationRequestReason: "drift"}},
			want: model.StepStatus{Generation: 3, State: model.StateOK, Code: 1, Message: "OK", LastSuccess: stamp, RequestedAt: "t2"},
		},
		"RequestWithdrawn": {
			reason: "Nor does the reason of a request that was withdrawn.",
			args: args{step: sync, before: &model.StepStatus{Generation: 2, State: model.StateOK, RequestedAt: "t2"},
				annotations: map[string]string{model.AnnotationRequestReason: "drift"}},
			want: model.StepStatus{Generation: 3, State: model.StateOK, Code: 1, Message: "OK", LastSuccess: stamp},
		},
		"RequestedAndFailed": {
			reason: "A failure answers a request too: there is a retry anyway.",
			args:   args{step: sync, annotations: map[string]string{model.AnnotationRequestedAt: "t2", model.AnnotationRequestReason: "drift"}, err: boom},
			want:   model.StepStatus{Generation: 3, State: model.StateFailed, Code: 2, Message: "boom", Failures: 1, LastFailure: stamp, RequestedAt: "t2"},
			next:   window{time.Second, 2 * time.Second},
		},

		"Deferred": {
			reason: "In progress is not a failure; the step is called again in 5 s.",
			args:   args{step: sync, err: Deferred("Maybe later")},
			want:   model.StepStatus{Generation: 3, State: model.StateDeferred, Code: 0, Message: "Maybe later"},
			next:   exactly(5 * time.Second),
		},
		"DeferredAgain": {
			reason: "The wait does not grow.",
			args: args{step: sync, before: &model.StepStatus{Generation: 3, State: model.StateDeferred, Failures: 9, LastSuccess: past, Handle: "h"},
				err: fmt.Errorf("the backend: %w", Deferred("Maybe later"))},
			want: model.StepStatus{Generation: 3, State: model.StateDeferred, Code: 0, Message: "the backend: Maybe later", LastSuccess: past, Handle: "h"},
			next: exactly(5 * time.Second),
		},
		"DeferredRoundsUp": {
			reason: "The API stores whole seconds, and a retry must not come early.",
			args:   args{step: sync, err: Deferred("x"), now: now.Add(time.Millisecond)},
			want:   model.StepStatus{Generation: 3, State: model.StateDeferred, Code: 0, Message: "x"},
			next:   exactly(6 * time.Second),
		},

		"Warning": {
			reason: "After a warning the work is done; the step is called again in a minute.",
			args:   args{step: sync, n: onShelf, handle: "h", err: Warning(boom)},
			want:   model.StepStatus{Generation: 3, State: model.StateOK, Code: 1, Message: "boom", Failures: 1, LastSuccess: stamp, Handle: "h", Dependencies: used},
			next:   exactly(time.Minute),
		},
		"WarningAgain": {
			reason: "The wait grows by a minute each time.",
			args:   args{step: sync, before: &model.StepStatus{Generation: 3, State: model.StateOK, Failures: 2}, err: fmt.Errorf("x: %w", Warning(boom))},
			want:   model.StepStatus{Generation: 3, State: model.StateOK, Code: 1, Message: "x: boom", Failures: 3, LastSuccess: stamp},
			next:   exactly(3 * time.Minute),
		},
		"WarningAtMost": {
			reason: "The longest wait is 8 hours.",
			args:   args{step: sync, before: &model.StepStatus{Generation: 3, State: model.StateOK, Failures: 479}, err: Warning(boom)},
			want:   model.StepStatus{Generation: 3, State: model.StateOK, Code: 1, Message: "boom", Failures: 480, LastSuccess: stamp},
			next:   exactly(8 * time.Hour),
		},
		"WarningForAges": {
			reason: "Also after so many warnings that a product would overflow.",
			args:   args{step: sync, before: &model.StepStatus{Generation: 3, State: model.StateOK, Failures: 1 << 30}, err: Warning(boom)},
			want:   model.StepStatus{Generation: 3, State: model.StateOK, Code: 1, Message: "boom", Failures: 1<<30 + 1, LastSuccess: stamp},
			next:   exactly(8 * time.Hour),
		},

		"Failed": {
			reason: "A failure is tried again after a second. The dependencies are stored, so that a newer one is tried too.",
			args:   args{step: sync, n: onShelf, before: &model.StepStatus{Generation: 3, State: model.StateOK, Code: 1, Message: "OK", LastSuccess: past, Handle: "h"}, err: boom},
			want:   model.StepStatus{Generation: 3, State: model.StateFailed, Code: 2, Message: "boom", Failures: 1, LastSuccess: past, LastFailure: stamp, Handle: "h", Dependencies: used},
			next:   window{time.Second, 2 * time.Second},
		},
		"FailedAgain": {
			reason: "The message has the same error once, and the wait doubles.",
			args:   args{step: sync, before: failed(5, "boom"), err: boom},
			want:   model.StepStatus{Generation: 3, State: model.StateFailed, Code: 2, Message: "boom", Failures: 6, LastFailure: stamp},
			next:   window{32 * time.Second, 36 * time.Second},
		},
		"FailedAtMost": {
			reason: "The longest wait is ten minutes.",
			args:   args{step: sync, before: failed(10, "boom"), err: boom},
			want:   model.StepStatus{Generation: 3, State: model.StateFailed, Code: 2, Message: "boom", Failures: 11, LastFailure: stamp},
			next:   exactly(10 * time.Minute),
		},
		"FailedForAges": {
			reason: "Also after so many failures that a shift would overflow.",
			args:   args{step: sync, before: failed(1<<30, "boom"), err: boom},
			want:   model.StepStatus{Generation: 3, State: model.StateFailed, Code: 2, Message: "boom", Failures: 1<<30 + 1, LastFailure: stamp},
			next:   exactly(10 * time.Minute),
		},
		"FailedOtherwise": {
			reason: "The message has the last two different errors.",
			args:   args{step: sync, before: failed(1, "first"), err: boom},
			want:   model.StepStatus{Generation: 3, State: model.StateFailed, Code: 2, Message: "first // boom", Failures: 2, LastFailure: stamp},
			next:   window{2 * time.Second, 3 * time.Second},
		},
		"FailedNewSpec": {
			reason: "Failures of an older generation do not count.",
			args: args{step: sync, before: &model.StepStatus{Generation: 2, State: model.StateFailed, Failures: 9, Message: "first", LastFailure: past, Handle: "h"},
				err: boom},
			want: model.StepStatus{Generation: 3, State: model.StateFailed, Code: 2, Message: "boom", Failures: 1, LastFailure: stamp, Handle: "h"},
			next: window{time.Second, 2 * time.Second},
		},
		"FailedClean": {
			reason: "A failed clean-up keeps what the sync has stored.",
			args: args{step: sync, deleting: true, before: &model.StepStatus{Generation: 2, State: model.StateOK, Handle: "h", LastSuccess: past, Dependencies: used},
				err: boom},
			want: model.StepStatus{Generation: 3, State: model.StateFailed, Code: 2, Message: "boom", Failures: 1, LastSuccess: past, LastFailure: stamp, Handle: "h", Dependencies: used},
			next: window{time.Second, 2 * time.Second},
		},

		"Permanent": {
			reason: "A permanent failure has no next attempt.",
			args:   args{step: sync, err: fmt.Errorf("x: %w", Permanent(boom))},
			want:   model.StepStatus{Generation: 3, State: model.StateFailed, Code: 2, Message: "x: boom", Failures: 1, Permanent: true, LastFailure: stamp},
		},

		"WaitForOne": {
			reason: "A policy that cannot choose waits, and has no next attempt.",
			args:   args{step: policy, n: choice(2), err: WaitForOne("Shelf", "found 2")},
			want: model.StepStatus{Generation: 3, State: model.StateWaiting, Code: 0, Message: "found 2",
				WaitingFor: []model.Blocker{{Kind: "Shelf", Reason: model.BlockerAmbiguous}}},
		},
		"WaitForOneThatIsThere": {
			reason: "If there is one already, the source cannot see the end of the wait: the step is called again in 5 s.",
			args:   args{step: policy, n: choice(1), err: WaitForOne("Shelf", "not that one")},
			want:   model.StepStatus{Generation: 3, State: model.StateDeferred, Code: 0, Message: "not that one"},
			next:   exactly(5 * time.Second),
		},
		"WaitForOtherKind": {
			reason: "Nor can it for a kind that the model does not depend on.",
			args:   args{step: policy, n: choice(0), err: WaitForOne("Other", "no other")},
			want:   model.StepStatus{Generation: 3, State: model.StateDeferred, Code: 0, Message: "no other"},
			next:   exactly(5 * time.Second),
		},
		"WaitWhileDeleting": {
			reason: "Nor for an object that is being deleted, whose dependencies the source does not read.",
			args:   args{step: policy, deleting: true, err: WaitForOne("Shelf", "found 0")},
			want:   model.StepStatus{Generation: 3, State: model.StateDeferred, Code: 0, Message: "found 0"},
			next:   exactly(5 * time.Second),
		},

		"WarningAndFailure": {
			reason: "The warning of one policy does not hide the failure of another.",
			args:   args{step: policy, err: errors.Join(Warning(errors.New("hm")), nil, boom)},
			want:   model.StepStatus{Generation: 3, State: model.StateFailed, Code: 2, Message: "hm; boom", Failures: 1, LastFailure: stamp},
			next:   window{time.Second, 2 * time.Second},
		},
		"PermanentAndFailure": {
			reason: "The permanent failure of one policy does not end the retries of another.",
			args:   args{step: policy, err: errors.Join(Permanent(errors.New("never")), boom)},
			want:   model.StepStatus{Generation: 3, State: model.StateFailed, Code: 2, Message: "never; boom", Failures: 1, LastFailure: stamp},
			next:   window{time.Second, 2 * time.Second},
		},
		"PermanentAndDeferred": {
			reason: "Work in progress is tried again.",
			args:   args{step: policy, err: errors.Join(Permanent(errors.New("never")), Deferred("later"))},
			want:   model.StepStatus{Generation: 3, State: model.StateDeferred, Code: 0, Message: "never; later"},
			next:   exactly(5 * time.Second),
		},
		"PermanentAndWarning": {
			reason: "A permanent failure comes before a warning.",
			args:   args{step: policy, err: errors.Join(Warning(errors.New("hm")), Permanent(errors.New("never")))},
			want:   model.StepStatus{Generation: 3, State: model.StateFailed, Code: 2, Message: "hm; never", Failures: 1, Permanent: true, LastFailure: stamp},
		},
		"PermanentAndWait": {
			reason: "A wait that can end comes before a permanent failure.",
			args:   args{step: policy, n: choice(0), err: errors.Join(Permanent(errors.New("never")), WaitForOne("Shelf", "found 0"))},
			want: model.StepStatus{Generation: 3, State: model.StateWaiting, Code: 0, Message: "never; found 0",
				WaitingFor: []model.Blocker{{Kind: "Shelf", Reason: model.BlockerAmbiguous}}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			obj := snapshot(tt.args.step, tt.args.before)
			obj.Annotations = tt.args.annotations
			if tt.args.deleting {
				obj.DeletionTimestamp = past
			}
			at := tt.args.now
			if at.IsZero() {
				at = now
			}
			kept := tt.args.before.DeepCopy()
			got := run{step: tt.args.step, obj: obj, n: tt.args.n, handle: tt.args.handle, err: tt.args.err, now: at}.outcome()
			if diff := cmp.Diff(&tt.want, got, cmpopts.IgnoreFields(model.StepStatus{}, "NextAttempt")); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tt.reason, diff)
			}
			if diff := cmp.Diff(kept, tt.args.before); diff != "" {
				t.Errorf("the status that the run began with must not change: -want, +got:\n%s", diff)
			}
			if tt.next == (window{}) {
				if got.NextAttempt != nil {
					t.Errorf("\n%s\nwant no next attempt, got %s", tt.reason, got.NextAttempt)
				}
				return
			}
			wait := got.NextAttempt.Sub(now)
			if wait < tt.next.min || wait > tt.next.max || wait%time.Second != 0 {
				t.Errorf("\n%s\nwant the next attempt after %v to %v in whole seconds, got %v", tt.reason, tt.next.min, tt.next.max, wait)
			}
		})
	}
}

func TestJitter(t *testing.T) {
	// Many objects fail at once, for example because the backend is down.
	seen := map[time.Duration]bool{}
	for i := range 200 {
		obj := snapshot(model.StepSync, &model.StepStatus{Generation: 3, State: model.StateFailed, Failures: 8})
		obj.UID = types.UID(fmt.Sprint("uid-", i))
		wait := run{step: model.StepSync, obj: obj, err: errors.New("x"), now: now}.outcome().NextAttempt.Sub(now)
		if wait < 256*time.Second || wait > 282*time.Second {
			t.Fatalf("want 256 s and up to a tenth more, rounded up, got %v", wait)
		}
		seen[wait] = true
	}
	if len(seen) < 10 {
		t.Errorf("the retries must be spread, got only %d times for 200 objects", len(seen))
	}
}

func TestMessages(t *testing.T) {
	long := strings.Repeat("a", 2000)
	state := func(message string) model.StepStatus {
		return model.StepStatus{State: model.StateFailed, Message: message}
	}
	tests := map[string]struct {
		reason  string
		before  model.StepStatus
		message string
		want    string
	}{
		"First":       {"The first error is the message.", model.StepStatus{}, "a", "a"},
		"AfterOK":     {"A message that is not an error does not count.", model.StepStatus{State: model.StateOK, Message: "OK"}, "a", "a"},
		"AfterWait":   {"Nor does a wait.", model.StepStatus{State: model.StateWaiting, Message: "waiting for x"}, "a", "a"},
		"Same":        {"The same error is in the message once.", state("a"), "a", "a"},
		"Two":         {"Two different errors are in the message.", state("a"), "b", "a // b"},
		"TwoSame":     {"The same error again changes nothing.", state("a // b"), "b", "a // b"},
		"Three":       {"Of three errors the last two are in the message.", state("a // b"), "c", "b // c"},
		"Back":        {"An error that comes back is the newest.", state("a // b"), "a", "b // a"},
		"Separator":   {"An error that contains the separator is one error.", state("x // y"), "x // y", "x // y"},
		"SeparatorIn": {"Also after another error.", state("a // x // y"), "x // y", "a // x // y"},
		"Empty":       {"An error can have no text.", state("a"), "", "a // "},
		"Long":        {"The message has at most 1024 bytes.", model.StepStatus{}, long, long[:1024]},
		"LongSame":    {"A cut error is still the same error.", state(long[:1024]), long, long[:1024]},
		"LongNew":     {"The newest error is complete if possible.", state("first"), long, long[:1024]},
		"LongOld":     {"The older error gets the rest of the room.", state(long[:1024]), "new", long[:1024-7] + " // new"},
		"NoRoom":      {"The older error is left out if there is room for no character of it.", state("ä"), long[:1024-5], long[:1024-5]},
		"UTF8":        {"No character is split.", model.StepStatus{}, "a" + strings.Repeat("ä", 600), "a" + strings.Repeat("ä", 511)},
		"UTF8Old":     {"Nor is one of the older error.", state(strings.Repeat("€", 341)), "nw", strings.Repeat("€", 339) + " // nw"},
		"NotUTF8":     {"The API stores UTF-8 only.", model.StepStatus{}, "a\xffb", "a\uFFFDb"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := joinErrors(tt.before, tt.message)
			if got != tt.want {
				t.Errorf("\n%s\nwant (%d) %q\ngot  (%d) %q", tt.reason, len(tt.want), tt.want, len(got), got)
			}
			if len(got) > MaxMessage || !utf8.ValidString(got) {
				t.Errorf("\n%s\nwant valid text of at most %d bytes, got %d bytes", tt.reason, MaxMessage, len(got))
			}
		})
	}
}

func FuzzJoinErrors(f *testing.F) {
	f.Add("a", "b // c")
	f.Add(strings.Repeat("€", 400), "\xff")
	f.Fuzz(func(t *testing.T, first, second string) {
		one := joinErrors(model.StepStatus{}, first)
		two := joinErrors(model.StepStatus{State: model.StateFailed, Message: one}, second)
		for _, s := range []string{one, two} {
			if len(s) > MaxMessage || !utf8.ValidString(s) {
				t.Fatalf("%q", s)
			}
		}
		if again := joinErrors(model.StepStatus{State: model.StateFailed, Message: two}, second); again != two {
			t.Fatalf("the same error again must change nothing: %q became %q", two, again)
		}
	})
}

func TestWaiting(t *testing.T) {
	before := &model.StepStatus{Generation: 2, State: model.StateOK, Handle: "h", LastSuccess: past, Failures: 1, NextAttempt: past,
		Dependencies: []model.DependencyStatus{{Name: "fiction"}}}
	obj := snapshot(model.StepSync, before)
	obj.Annotations = map[string]string{model.AnnotationRequestedAt: "t1"}
	blockers := []model.Blocker{
		{Kind: "Shelf", Name: "fiction", Reason: model.BlockerMissing},
		{Kind: "Other", Reason: model.BlockerUnset},
	}
	want := &model.StepStatus{
		Generation: 3, State: model.StateWaiting, Code: 0, RequestedAt: "t1", Handle: "h", LastSuccess: past,
		Message:      "waiting for Shelf fiction, which does not exist; Other, which the spec does not name yet",
		WaitingFor:   blockers,
		Dependencies: before.Dependencies,
	}
	if diff := cmp.Diff(want, run{step: model.StepSync, obj: obj}.waiting(blockers)); diff != "" {
		t.Errorf("a wait says what it waits for, and keeps the rest: -want, +got:\n%s", diff)
	}
}

func TestErrorsOfNil(t *testing.T) {
	for name, err := range map[string]error{"Warning": Warning(nil), "Permanent": Permanent(nil), "join": errors.Join(nil, nil)} {
		if err != nil {
			t.Errorf("%s of nothing: want nil, got %v", name, err)
		}
	}
	boom := errors.New("boom")
	for name, err := range map[string]error{"Warning": Warning(boom), "Permanent": Permanent(boom), "join": errors.Join(nil, Permanent(boom)), "joined": errors.Join(Warning(errors.New("hm")), boom)} {
		if !errors.Is(err, boom) {
			t.Errorf("%s must keep its cause, got %v", name, err)
		}
	}
}

// TestNoHotLoop checks for any object and any result of its step that nothing is due at the moment when
// the engine has stored the outcome.
func TestNoHotLoop(t *testing.T) {
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 2))
		step := model.Steps()[r.IntN(2)]
		obj, n := randomObject(r)
		verdict := model.Due(step, obj, n, now)
		if !verdict.Due() {
			continue
		}
		done := run{step: step, obj: obj, n: n, now: now.Add(time.Duration(r.IntN(2000)) * time.Millisecond)}
		if len(verdict.Blockers) > 0 {
			obj.Status.SetStep(step, done.waiting(verdict.Blockers))
		} else {
			done.err = []error{nil, errors.New("x"), Deferred("x"), Warning(errors.New("x")), Permanent(errors.New("x")),
				WaitForOne("Shelf", "x"), WaitForOne("Other", "x"),
				errors.Join(Warning(errors.New("x")), WaitForOne("Shelf", "y"))}[r.IntN(8)]
			if obj.Deleting() && (done.err == nil || classOf(done.err).class == warning) {
				obj.Finalizers = nil // The engine removes it.
			} else {
				obj.Status.SetStep(step, done.outcome())
			}
		}
		again := model.Due(step, obj, n, done.now)
		if again.Due() {
			t.Fatalf("seed %d: %s was due (%s), ended with %v, and is due again at once (%s): %+v",
				seed, step, verdict.Reason, done.err, again.Reason, obj.Status.Step(step))
		}
		if s := obj.Status.Step(step); s != nil && s.NextAttempt != nil && !obj.Paused() && obj.Finalizers != nil && again.At.IsZero() {
			t.Fatalf("seed %d: nobody would try again at %s", seed, s.NextAttempt)
		}
	}
}

func randomObject(r *rand.Rand) (*model.Snapshot, model.Neighbours) {
	one := func(of int) bool { return r.IntN(of) == 0 }
	status := func() *model.StepStatus {
		if one(3) {
			return nil
		}
		s := &model.StepStatus{
			Generation: int64(2 + r.IntN(2)),
			State:      []model.State{model.StateOK, model.StateDeferred, model.StateFailed, model.StateWaiting}[r.IntN(4)],
			Permanent:  one(4), Failures: int32(r.IntN(3)), Message: "m",
			RequestedAt: []string{"", "t1"}[r.IntN(2)],
		}
		if one(2) {
			s.NextAttempt = &metav1.Time{Time: now.Add(time.Duration(r.IntN(3)-1) * time.Second)}
		}
		if one(2) {
			s.WaitingFor = []model.Blocker{{Kind: []string{"Shelf", "Other"}[r.IntN(2)],
				Reason: []model.BlockerReason{model.BlockerAmbiguous, model.BlockerMissing, model.BlockerDependent}[r.IntN(3)]}}
		}
		if one(2) {
			s.Dependencies = []model.DependencyStatus{{Kind: "Shelf", Name: "fiction", UID: "uid-fiction", Generation: int64(r.IntN(4))}}
		}
		return s
	}
	object := func(kind *model.Kind, name string) *model.Snapshot {
		s := &model.Snapshot{Kind: kind, ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Generation: 3,
			Finalizers: []string{model.StepSync.Finalizer(), model.StepPolicy.Finalizer()}}}
		if one(3) {
			s.Annotations = map[string]string{model.AnnotationRequestedAt: []string{"t1", "t2"}[r.IntN(2)], model.AnnotationRequestReason: "r"}
		}
		if one(3) {
			s.DeletionTimestamp = past
		}
		s.Status.Sync, s.Status.Policy = status(), status()
		return s
	}
	obj := object(books, "a")
	var n model.Neighbours
	switch {
	case obj.Deleting():
		for i := range r.IntN(3) {
			n.Dependents = append(n.Dependents, model.Dependent{Kind: "K", Name: fmt.Sprint(i)})
		}
	case one(3):
		n = choice(r.IntN(3))
	default:
		d := model.Dependency{DependsOn: books.DependsOn[0], Name: "fiction"}
		if !one(3) {
			d.Object = object(shelves, "fiction")
		}
		n.Dependencies = []model.Dependency{d}
	}
	return obj, n
}
