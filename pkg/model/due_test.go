package model_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/model"
)

const group = "library.xos-knative.dev"

var (
	// shelves and books are the models of the library, as their definitions say.
	shelves = &model.Kind{
		GVK:      schema.GroupVersionKind{Group: group, Version: "v1alpha1", Kind: "Shelf"},
		Versions: []string{"v1alpha1"},
		Resource: "shelves",
		Steps:    []model.Step{model.StepSync},
	}
	books = &model.Kind{
		GVK:       schema.GroupVersionKind{Group: group, Version: "v1alpha1", Kind: "Book"},
		Versions:  []string{"v1alpha1"},
		Resource:  "books",
		Steps:     []model.Step{model.StepSync, model.StepPolicy},
		DependsOn: []model.DependsOn{{GroupKind: schema.GroupKind{Group: group, Kind: "Shelf"}, Path: "spec.shelf.name", Observed: true}},
	}
	// plain is a kind without steps.
	plain = &model.Kind{GVK: schema.GroupVersionKind{Group: group, Version: "v1alpha1", Kind: "Plain"}, Resource: "plains"}

	now = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
)

type edit func(*model.Snapshot)

// object makes a snapshot at generation 3.
func object(kind *model.Kind, name string, edits ...edit) *model.Snapshot {
	s := &model.Snapshot{Kind: kind, ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, UID: types.UID("uid-" + name), Generation: 3}}
	for _, e := range edits {
		e(s)
	}
	return s
}

func annotated(key, value string) edit {
	return func(s *model.Snapshot) { metav1.SetMetaDataAnnotation(&s.ObjectMeta, key, value) }
}

func deleting(s *model.Snapshot) { s.DeletionTimestamp = &metav1.Time{Time: now.Add(-time.Minute)} }

func carrying(step model.Step) edit {
	return func(s *model.Snapshot) { s.Finalizers = append(s.Finalizers, step.Finalizer()) }
}

// handled gives a step's part to the object, of its generation unless told otherwise.
func handled(step model.Step, part model.StepStatus) edit {
	return func(s *model.Snapshot) {
		if part.Generation == 0 {
			part.Generation = s.Generation
		}
		s.Status.SetStep(step, &part)
	}
}

func at(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(d)} }

// ok is the part of a step that succeeded with what it depended on.
func ok(used ...model.DependencyStatus) model.StepStatus {
	return model.StepStatus{State: model.StateOK, Code: model.CodeOK, Dependencies: used}
}

// marked is the part of a step that has put its finalizer on.
func marked(part model.StepStatus) model.StepStatus {
	part.Finalizer = true
	return part
}

func failed(next *metav1.Time) model.StepStatus {
	return model.StepStatus{State: model.StateFailed, Code: model.CodeError, Failures: 1, NextAttempt: next}
}

func waiting(blockers ...model.Blocker) model.StepStatus {
	return model.StepStatus{State: model.StateWaiting, WaitingFor: blockers}
}

func blocker(name string, reason model.BlockerReason) model.Blocker {
	return model.Blocker{Kind: "Shelf", Name: name, Reason: reason}
}

// placed is what a book sees of its shelf.
func placed(name string, shelf *model.Snapshot, candidates ...int) model.Neighbours {
	d := model.Dependency{DependsOn: books.DependsOn[0], Name: name, Object: shelf}
	if len(candidates) > 0 {
		d.Candidates = candidates[0]
	}
	return model.Neighbours{Dependencies: []model.Dependency{d}}
}

// revised has feedback of this revision.
func revised(revision int64) edit {
	return func(s *model.Snapshot) { s.Status.ObservedRevision = revision }
}

// ignoring is for a kind whose sync does not use the feedback of what it depends on.
func ignoring(n model.Neighbours) model.Neighbours {
	n.Dependencies[0].Observed = false
	return n
}

func dependents(names ...string) model.Neighbours {
	var n model.Neighbours
	for _, name := range names {
		n.Dependents = append(n.Dependents, model.Dependent{Kind: "Book", Name: name})
	}
	return n
}

func TestDue(t *testing.T) {
	const sync, policy = model.StepSync, model.StepPolicy
	synced := object(shelves, "fiction", handled(sync, ok()))
	used := model.DependencyStatus{Kind: "Shelf", Name: "fiction", UID: "uid-fiction", Generation: 3}
	soon := at(time.Second)

	type args struct {
		step model.Step
		obj  *model.Snapshot
		n    model.Neighbours
	}
	due := func(reason model.Reason, blockers ...model.Blocker) model.Verdict {
		return model.Verdict{Reason: reason, Blockers: blockers}
	}
	later := func(d time.Duration) model.Verdict { return model.Verdict{At: now.Add(d)} }
	never := model.Verdict{}

	tests := map[string]struct {
		reason string
		args   args
		want   model.Verdict
	}{
		// Rule 8: the feedback is newer than what the policy has seen.
		"FeedbackNew": {
			reason: "A policy that has not seen the newest feedback is due.",
			args:   args{step: policy, obj: object(books, "a", handled(policy, ok()), revised(1))},
			want:   due(model.DueFeedback),
		},
		"FeedbackSeen": {
			reason: "One that has seen it, or has made it, is not.",
			args:   args{step: policy, obj: object(books, "a", handled(policy, model.StepStatus{State: model.StateOK, ObservedRevision: 1}), revised(1))},
			want:   never,
		},
		"FeedbackAfterPermanent": {
			reason: "What is new can end a permanent failure.",
			args:   args{step: policy, obj: object(books, "a", handled(policy, model.StepStatus{State: model.StateFailed, Permanent: true}), revised(1))},
			want:   due(model.DueFeedback),
		},
		"FeedbackSync": {
			reason: "The feedback of an object never wakes its own sync.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, ok()), revised(1))},
			want:   never,
		},
		"FeedbackOfDependency": {
			reason: "Feedback of a dependency is nothing to a kind that does not say that it uses it.",
			args:   args{step: sync, obj: object(books, "a", handled(sync, ok(used))), n: ignoring(placed("fiction", object(shelves, "fiction", handled(sync, ok()), revised(2))))},
			want:   never,
		},
		"FeedbackUsed": {
			reason: "To one that does it is like a new generation.",
			args:   args{step: sync, obj: object(books, "a", handled(sync, ok(used))), n: placed("fiction", object(shelves, "fiction", handled(sync, ok()), revised(2)))},
			want:   due(model.DueDependency),
		},
		"FeedbackUsedBefore": {
			reason: "The same feedback is used once.",
			args: args{step: sync, obj: object(books, "a", handled(sync, ok(model.DependencyStatus{Kind: "Shelf", Name: "fiction", UID: "uid-fiction", Generation: 3, ObservedRevision: 2}))),
				n: placed("fiction", object(shelves, "fiction", handled(sync, ok()), revised(2)))},
			want: never,
		},

		// Rule 2: never handled, or the spec changed.
		"NeverSynced": {
			reason: "An object that sync has never handled is due.",
			args:   args{step: sync, obj: object(shelves, "a")},
			want:   due(model.DueChanged),
		},
		"NeverPoliced": {
			reason: "An object that policy has never handled is due, whatever its shelf is like.",
			args:   args{step: policy, obj: object(books, "a", handled(sync, ok())), n: placed("fiction", nil)},
			want:   due(model.DueChanged),
		},
		"Synced": {
			reason: "An object that was handled at its generation is not due, and no time makes it so.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, ok()))},
			want:   never,
		},
		"Policed": {
			reason: "The same holds for policy.",
			args:   args{step: policy, obj: object(books, "a", handled(policy, ok())), n: placed("fiction", synced)},
			want:   never,
		},
		"SpecChangedForSync": {
			reason: "An older generation was handled.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, model.StepStatus{Generation: 2, State: model.StateOK}))},
			want:   due(model.DueChanged),
		},
		"SpecChangedForPolicy": {
			reason: "An older generation was handled.",
			args:   args{step: policy, obj: object(books, "a", handled(policy, model.StepStatus{Generation: 2, State: model.StateOK})), n: placed("fiction", synced)},
			want:   due(model.DueChanged),
		},
		"GenerationWentBack": {
			reason: "After a restore from a backup the status can be ahead of the spec: what was handled is another spec.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, model.StepStatus{Generation: 4, State: model.StateOK}))},
			want:   due(model.DueChanged),
		},
		"SpecChangedDoesNotWaitForRetry": {
			reason: "A changed spec may fix the failure, so the time of the retry of the old one is void.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, model.StepStatus{Generation: 2, State: model.StateFailed, NextAttempt: at(time.Hour)}))},
			want:   due(model.DueChanged),
		},
		"SpecChangedAfterPermanent": {
			reason: "A permanent failure is permanent for its spec only.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, model.StepStatus{Generation: 2, State: model.StateFailed, Permanent: true}))},
			want:   due(model.DueChanged),
		},

		// Rule 3: the next attempt.
		"BeforeRetry": {
			reason: "A failed step waits for its time, and the source is told when that is.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, failed(soon)))},
			want:   later(time.Second),
		},
		"AtRetry": {
			reason: "To the second: at that time it is due.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, failed(at(0))))},
			want:   due(model.DueRetry),
		},
		"AfterRetry": {
			reason: "A retry that nobody was there for is made up.",
			args:   args{step: policy, obj: object(books, "a", handled(policy, failed(at(-time.Hour)))), n: placed("fiction", synced)},
			want:   due(model.DueRetry),
		},
		"BeforeDeferred": {
			reason: "A deferred step waits for its time too.",
			args:   args{step: policy, obj: object(books, "a", handled(policy, model.StepStatus{State: model.StateDeferred, NextAttempt: at(5 * time.Second)})), n: placed("fiction", synced)},
			want:   later(5 * time.Second),
		},
		"AtDeferred": {
			reason: "A deferred step is due at its time.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, model.StepStatus{State: model.StateDeferred, NextAttempt: at(0)}))},
			want:   due(model.DueRetry),
		},
		"BeforeWarning": {
			reason: "A step that succeeded with a warning is tried again later.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, model.StepStatus{State: model.StateOK, Failures: 1, NextAttempt: at(time.Minute)}))},
			want:   later(time.Minute),
		},
		"AtWarning": {
			reason: "A warning is looked at again at its time.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, model.StepStatus{State: model.StateOK, Failures: 1, NextAttempt: at(0)}))},
			want:   due(model.DueRetry),
		},
		"FailedWithoutTime": {
			reason: "A failure whose next attempt was lost must not leave the object stuck.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, failed(nil)))},
			want:   due(model.DueRetry),
		},
		"DeferredWithoutTime": {
			reason: "Nor must a deferral.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, model.StepStatus{State: model.StateDeferred}))},
			want:   due(model.DueRetry),
		},
		"Permanent": {
			reason: "A permanent failure is not tried again by itself.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, model.StepStatus{State: model.StateFailed, Permanent: true}))},
			want:   never,
		},
		"PermanentForPolicy": {
			reason: "A permanent failure has no next attempt, even if a time stands there.",
			args:   args{step: policy, obj: object(books, "a", handled(policy, model.StepStatus{State: model.StateFailed, Permanent: true, NextAttempt: at(-time.Hour)})), n: placed("fiction", synced)},
			want:   never,
		},

		// Rule 4: asked for.
		"Requested": {
			reason: "Somebody asks for the first time.",
			args:   args{step: sync, obj: object(shelves, "a", annotated(model.AnnotationRequestedAt, "t1"), handled(sync, ok()))},
			want:   due(model.DueRequested),
		},
		"RequestedAgain": {
			reason: "Any other value is another request.",
			args:   args{step: policy, obj: object(books, "a", annotated(model.AnnotationRequestedAt, "t2"), handled(policy, model.StepStatus{State: model.StateOK, RequestedAt: "t1"})), n: placed("fiction", synced)},
			want:   due(model.DueRequested),
		},
		"RequestAnswered": {
			reason: "The same value was answered.",
			args:   args{step: sync, obj: object(shelves, "a", annotated(model.AnnotationRequestedAt, "t1"), handled(sync, model.StepStatus{State: model.StateOK, RequestedAt: "t1"}))},
			want:   never,
		},
		"RequestEmpty": {
			reason: "An empty value asks for nothing.",
			args:   args{step: sync, obj: object(shelves, "a", annotated(model.AnnotationRequestedAt, ""), handled(sync, model.StepStatus{State: model.StateOK, RequestedAt: "t1"}))},
			want:   never,
		},
		"RequestWithdrawn": {
			reason: "Taking the annotation away asks for nothing.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, model.StepStatus{State: model.StateOK, RequestedAt: "t1"}))},
			want:   never,
		},
		"RequestedAfterPermanent": {
			reason: "A human may know better than the step.",
			args:   args{step: sync, obj: object(shelves, "a", annotated(model.AnnotationRequestedAt, "t1"), handled(sync, model.StepStatus{State: model.StateFailed, Permanent: true}))},
			want:   due(model.DueRequested),
		},
		"RequestedBeforeRetry": {
			reason: "Nor does a request wait for the next attempt.",
			args:   args{step: sync, obj: object(shelves, "a", annotated(model.AnnotationRequestedAt, "t1"), handled(sync, failed(at(time.Hour))))},
			want:   due(model.DueRequested),
		},

		// Rule 5: dependencies of a sync.
		"DependencyUsed": {
			reason: "Nothing has changed since the shelf was used.",
			args:   args{step: sync, obj: object(books, "a", handled(sync, ok(used))), n: placed("fiction", synced)},
			want:   never,
		},
		"DependencyNewer": {
			reason: "The shelf has a newer generation, which is synced.",
			args: args{step: sync, obj: object(books, "a", handled(sync, ok(used))),
				n: placed("fiction", object(shelves, "fiction", func(s *model.Snapshot) { s.Generation = 4 }, handled(sync, ok())))},
			want: due(model.DueDependency),
		},
		"DependencyOlder": {
			reason: "What was used is newer than what is there now: nothing to do before that is newer still.",
			args: args{step: sync, obj: object(books, "a", handled(sync, ok(used))),
				n: placed("fiction", object(shelves, "fiction", func(s *model.Snapshot) { s.Generation = 2 }, handled(sync, ok())))},
			want: never,
		},
		"DependencyNewerNotSynced": {
			reason: "The shelf changed and is not synced yet: due once, to record the wait.",
			args: args{step: sync, obj: object(books, "a", handled(sync, ok(used))),
				n: placed("fiction", object(shelves, "fiction", handled(sync, ok()), func(s *model.Snapshot) { s.Generation = 4 }))},
			want: due(model.DueDependency, blocker("fiction", model.BlockerNotSynced)),
		},
		"DependencyRecreated": {
			reason: "Another object has the shelf's name.",
			args: args{step: sync, obj: object(books, "a", handled(sync, ok(used))),
				n: placed("fiction", object(shelves, "fiction", func(s *model.Snapshot) { s.UID, s.Generation = "other", 1 }, handled(sync, ok())))},
			want: due(model.DueDependency),
		},
		"DependencyGone": {
			reason: "The shelf that was used was removed by force: due once, to say so.",
			args:   args{step: sync, obj: object(books, "a", handled(sync, ok(used))), n: placed("fiction", nil)},
			want:   due(model.DueDependency, blocker("fiction", model.BlockerMissing)),
		},
		"DependencyAdded": {
			reason: "The definition has come to name a dependency that the last sync did not use.",
			args:   args{step: sync, obj: object(books, "a", handled(sync, ok())), n: placed("fiction", synced)},
			want:   due(model.DueDependency),
		},
		"DependencyNewerDuringBackoff": {
			reason: "What failed with the old shelf may work with the new one, so the retry is not waited for.",
			args: args{step: sync, obj: object(books, "a", handled(sync, func() model.StepStatus {
				s := failed(at(time.Hour))
				s.Dependencies = []model.DependencyStatus{used}
				return s
			}())),
				n: placed("fiction", object(shelves, "fiction", func(s *model.Snapshot) { s.Generation = 4 }, handled(sync, ok())))},
			want: due(model.DueDependency),
		},
		"DependencyNewerForPolicy": {
			reason: "A policy does not look at dependencies.",
			args: args{step: policy, obj: object(books, "a", handled(policy, ok())),
				n: placed("fiction", object(shelves, "fiction", func(s *model.Snapshot) { s.Generation = 4 }, handled(sync, ok())))},
			want: never,
		},
		"DependencyFailsAgain": {
			reason: "The shelf at the generation that was used fails when it is synced again: what is synced stays so.",
			args: args{step: sync, obj: object(books, "a", handled(sync, ok(used))),
				n: placed("fiction", object(shelves, "fiction", handled(sync, failed(soon))))},
			want: never,
		},

		// What is in the way, before the first sync.
		"ShelfUnset": {
			reason: "Due once, to say that no shelf is named.",
			args:   args{step: sync, obj: object(books, "a"), n: placed("", nil)},
			want:   due(model.DueChanged, blocker("", model.BlockerUnset)),
		},
		"ShelfMissing": {
			reason: "Due once, to say which shelf is missing.",
			args:   args{step: sync, obj: object(books, "a"), n: placed("fiction", nil)},
			want:   due(model.DueChanged, blocker("fiction", model.BlockerMissing)),
		},
		"ShelfNeverSynced": {
			reason: "Due once, to say that the shelf is not synced.",
			args:   args{step: sync, obj: object(books, "a"), n: placed("fiction", object(shelves, "fiction"))},
			want:   due(model.DueChanged, blocker("fiction", model.BlockerNotSynced)),
		},
		"ShelfDeferred": {
			reason: "A shelf in progress is not synced.",
			args: args{step: sync, obj: object(books, "a"),
				n: placed("fiction", object(shelves, "fiction", handled(sync, model.StepStatus{State: model.StateDeferred, NextAttempt: soon})))},
			want: due(model.DueChanged, blocker("fiction", model.BlockerNotSynced)),
		},
		"ShelfWaiting": {
			reason: "A shelf that waits itself is not synced.",
			args: args{step: sync, obj: object(books, "a"),
				n: placed("fiction", object(shelves, "fiction", handled(sync, waiting(blocker("x", model.BlockerMissing)))))},
			want: due(model.DueChanged, blocker("fiction", model.BlockerNotSynced)),
		},
		"ShelfFailed": {
			reason: "Due once, to say that the shelf failed.",
			args: args{step: sync, obj: object(books, "a"),
				n: placed("fiction", object(shelves, "fiction", handled(sync, failed(soon))))},
			want: due(model.DueChanged, blocker("fiction", model.BlockerFailed)),
		},
		"ShelfDeleting": {
			reason: "Nothing is synced to a shelf that goes.",
			args: args{step: sync, obj: object(books, "a"),
				n: placed("fiction", object(shelves, "fiction", handled(sync, ok()), carrying(sync), deleting))},
			want: due(model.DueChanged, blocker("fiction", model.BlockerDeleting)),
		},
		"ShelfOptedOut": {
			reason: "Nothing will ever sync the shelf, so there is nothing to wait for.",
			args: args{step: sync, obj: object(books, "a"),
				n: placed("fiction", object(shelves, "fiction", annotated(model.AnnotationNoSync, "true")))},
			want: due(model.DueChanged),
		},
		"ShelfWithoutSync": {
			reason: "The same holds for a shelf whose kind is not synced.",
			args:   args{step: sync, obj: object(books, "a"), n: placed("fiction", object(plain, "fiction"))},
			want:   due(model.DueChanged),
		},

		// Waiting: due once, and then when something changes.
		"WaitsForMissing": {
			reason: "The wait is recorded and nothing has changed.",
			args:   args{step: sync, obj: object(books, "a", handled(sync, waiting(blocker("fiction", model.BlockerMissing)))), n: placed("fiction", nil)},
			want:   never,
		},
		"WaitsForUnset": {
			reason: "The wait for a shelf to be named ends with the next generation.",
			args:   args{step: sync, obj: object(books, "a", handled(sync, waiting(blocker("", model.BlockerUnset)))), n: placed("", nil)},
			want:   never,
		},
		"WaitsWithOldTime": {
			reason: "A time that stands in a waiting status from elsewhere does not end the wait.",
			args: args{step: sync, obj: object(books, "a", handled(sync, model.StepStatus{State: model.StateWaiting, NextAttempt: at(-time.Hour),
				WaitingFor: []model.Blocker{blocker("fiction", model.BlockerMissing)}})), n: placed("fiction", nil)},
			want: never,
		},
		"WaitsForSomethingElse": {
			reason: "The missing shelf has come, but is not synced: the message must follow.",
			args: args{step: sync, obj: object(books, "a", handled(sync, waiting(blocker("fiction", model.BlockerMissing)))),
				n: placed("fiction", object(shelves, "fiction"))},
			want: due(model.DueUnblocked, blocker("fiction", model.BlockerNotSynced)),
		},
		"Unblocked": {
			reason: "What it waited for has come.",
			args:   args{step: sync, obj: object(books, "a", handled(sync, waiting(blocker("fiction", model.BlockerNotSynced)))), n: placed("fiction", synced)},
			want:   due(model.DueUnblocked),
		},
		"RequestedWhileWaiting": {
			reason: "A request is answered, even if the answer is still the same.",
			args: args{step: sync, obj: object(books, "a", annotated(model.AnnotationRequestedAt, "t1"),
				handled(sync, waiting(blocker("fiction", model.BlockerMissing)))), n: placed("fiction", nil)},
			want: due(model.DueRequested, blocker("fiction", model.BlockerMissing)),
		},
		"RequestAnsweredWhileWaiting": {
			reason: "But once only.",
			args: args{step: sync, obj: object(books, "a", annotated(model.AnnotationRequestedAt, "t1"),
				handled(sync, model.StepStatus{State: model.StateWaiting, RequestedAt: "t1", WaitingFor: []model.Blocker{blocker("fiction", model.BlockerMissing)}})), n: placed("fiction", nil)},
			want: never,
		},
		"BlockedDuringBackoff": {
			reason: "A shelf that fails while the object waits for its own retry is told of at the retry.",
			args: args{step: sync, obj: object(books, "a", handled(sync, func() model.StepStatus { s := failed(soon); s.Dependencies = []model.DependencyStatus{used}; return s }())),
				n: placed("fiction", object(shelves, "fiction", handled(sync, failed(soon))))},
			want: later(time.Second),
		},
		"PolicyWaitsForAny": {
			reason: "A policy that waits for exactly one shelf is not due while there is none.",
			args:   args{step: policy, obj: object(books, "a", handled(policy, waiting(blocker("", model.BlockerAmbiguous)))), n: placed("", nil, 0)},
			want:   never,
		},
		"PolicyHasOne": {
			reason: "Exactly one is there.",
			args:   args{step: policy, obj: object(books, "a", handled(policy, waiting(blocker("", model.BlockerAmbiguous)))), n: placed("", nil, 1)},
			want:   due(model.DueUnblocked),
		},
		"PolicyHasTwo": {
			reason: "Two are as bad as none.",
			args:   args{step: policy, obj: object(books, "a", handled(policy, waiting(blocker("", model.BlockerAmbiguous)))), n: placed("", nil, 2)},
			want:   never,
		},
		"PolicyWaitsForStranger": {
			reason: "Nobody would tell when an object of a kind comes that the model does not depend on.",
			args:   args{step: policy, obj: object(books, "a", handled(policy, waiting(model.Blocker{Kind: "Other", Reason: model.BlockerAmbiguous}))), n: placed("", nil, 0)},
			want:   due(model.DueUnblocked),
		},
		"PolicyDoesNotWaitForShelf": {
			reason: "A policy runs while the shelf is missing, for it may be what fixes that.",
			args:   args{step: policy, obj: object(books, "a"), n: placed("", nil, 0)},
			want:   due(model.DueChanged),
		},

		// Rule 1: deletion.
		"DeletingWithoutFinalizer": {
			reason: "Sync has nothing to clean up.",
			args:   args{step: sync, obj: object(shelves, "a", deleting)},
			want:   never,
		},
		"DeletingWithOtherFinalizer": {
			reason: "Another step's finalizer is that step's business.",
			args:   args{step: policy, obj: object(books, "a", deleting, carrying(sync))},
			want:   never,
		},
		"DeletingNeverHandled": {
			reason: "The step died after it had put its finalizer on: what it began is cleaned up.",
			args:   args{step: sync, obj: object(shelves, "a", deleting, carrying(sync))},
			want:   due(model.DueDeleted),
		},
		"Deleting": {
			reason: "A deletion is a new generation, and what was synced is cleaned up.",
			args:   args{step: sync, obj: object(shelves, "a", deleting, carrying(sync), handled(sync, model.StepStatus{Generation: 2, State: model.StateOK}))},
			want:   due(model.DueDeleted),
		},
		"DeletingForPolicy": {
			reason: "The delete hooks run, whoever depends on the object.",
			args: args{step: policy, obj: object(books, "a", deleting, carrying(policy), handled(policy, model.StepStatus{Generation: 2, State: model.StateOK})),
				n: dependents("b")},
			want: due(model.DueDeleted),
		},
		"DeletingAndOK": {
			reason: "Success at this generation, and the finalizer still there: it is cleaned up once more.",
			args:   args{step: sync, obj: object(shelves, "a", deleting, carrying(sync), handled(sync, ok()))},
			want:   due(model.DueDeleted),
		},
		"DeletingWithDependents": {
			reason: "Due once, to say who still depends on it: one name for each kind, however many there are.",
			args: args{step: sync, obj: object(shelves, "a", deleting, carrying(sync), handled(sync, model.StepStatus{Generation: 2, State: model.StateOK})),
				n: model.Neighbours{Dependents: []model.Dependent{{Kind: "Z", Name: "z"}, {Kind: "A", Name: "b"}, {Kind: "A", Name: "a"}}}},
			want: due(model.DueDeleted,
				model.Blocker{Kind: "A", Name: "a", Reason: model.BlockerDependent},
				model.Blocker{Kind: "Z", Name: "z", Reason: model.BlockerDependent}),
		},
		"DeletingWaits": {
			reason: "The wait for the dependents is recorded.",
			args: args{step: sync, obj: object(shelves, "a", deleting, carrying(sync),
				handled(sync, waiting(model.Blocker{Kind: "Book", Name: "b", Reason: model.BlockerDependent}))), n: dependents("b", "c")},
			want: never,
		},
		"DeletingNextDependent": {
			reason: "The one that was named has gone, others are left: no news, or each of a thousand would wake the step.",
			args: args{step: sync, obj: object(shelves, "a", deleting, carrying(sync),
				handled(sync, waiting(model.Blocker{Kind: "Book", Name: "b", Reason: model.BlockerDependent}))), n: dependents("c")},
			want: never,
		},
		"DeletingOtherKind": {
			reason: "But another kind in the way is.",
			args: args{step: sync, obj: object(shelves, "a", deleting, carrying(sync),
				handled(sync, waiting(model.Blocker{Kind: "Other", Name: "b", Reason: model.BlockerDependent}))), n: dependents("c")},
			want: due(model.DueUnblocked, model.Blocker{Kind: "Book", Name: "c", Reason: model.BlockerDependent}),
		},
		"DeletingUnblocked": {
			reason: "No dependent is left.",
			args: args{step: sync, obj: object(shelves, "a", deleting, carrying(sync),
				handled(sync, waiting(model.Blocker{Kind: "Book", Name: "b", Reason: model.BlockerDependent})))},
			want: due(model.DueUnblocked),
		},
		"DeletingBeforeRetry": {
			reason: "A clean-up that failed waits for its next attempt.",
			args:   args{step: sync, obj: object(shelves, "a", deleting, carrying(sync), handled(sync, failed(soon)))},
			want:   later(time.Second),
		},
		"DeletingAtRetry": {
			reason: "And is due then.",
			args:   args{step: sync, obj: object(shelves, "a", deleting, carrying(sync), handled(sync, failed(at(0))))},
			want:   due(model.DueRetry),
		},
		"DeletingPermanent": {
			reason: "A clean-up that can never work waits for a human.",
			args:   args{step: sync, obj: object(shelves, "a", deleting, carrying(sync), handled(sync, model.StepStatus{State: model.StateFailed, Permanent: true}))},
			want:   never,
		},
		"DeletingRequested": {
			reason: "Who can ask for it.",
			args: args{step: sync, obj: object(shelves, "a", deleting, carrying(sync), annotated(model.AnnotationRequestedAt, "t1"),
				handled(sync, model.StepStatus{State: model.StateFailed, Permanent: true}))},
			want: due(model.DueRequested),
		},
		"DeletingDoesNotWaitForShelf": {
			reason: "Deletion runs the other way round: what an object depends on does not hold up its clean-up.",
			args:   args{step: sync, obj: object(books, "a", deleting, carrying(sync), handled(sync, model.StepStatus{Generation: 2, State: model.StateOK})), n: placed("fiction", nil)},
			want:   due(model.DueDeleted),
		},

		// Held back.
		"Paused": {
			reason: "A pause holds back whatever is due.",
			args:   args{step: sync, obj: object(shelves, "a", annotated(model.AnnotationPaused, "true"))},
			want:   never,
		},
		"PausedEmpty": {
			reason: "The annotation counts, not its value.",
			args:   args{step: sync, obj: object(shelves, "a", annotated(model.AnnotationPaused, ""))},
			want:   never,
		},
		"PausedFalse": {
			reason: "Save for false.",
			args:   args{step: sync, obj: object(shelves, "a", annotated(model.AnnotationPaused, "false"))},
			want:   due(model.DueChanged),
		},
		"PausedDeleting": {
			reason: "A pause holds back the clean-up too.",
			args:   args{step: sync, obj: object(shelves, "a", annotated(model.AnnotationPaused, "true"), deleting, carrying(sync))},
			want:   never,
		},
		"PausedRetry": {
			reason: "And does not even have a time.",
			args:   args{step: sync, obj: object(shelves, "a", annotated(model.AnnotationPaused, "true"), handled(sync, failed(soon)))},
			want:   never,
		},
		"NoSync": {
			reason: "The object has opted out of sync.",
			args:   args{step: sync, obj: object(books, "a", annotated(model.AnnotationNoSync, "true")), n: placed("fiction", synced)},
			want:   never,
		},
		"NoSyncIsNoPolicyBusiness": {
			reason: "But not of policy.",
			args:   args{step: policy, obj: object(books, "a", annotated(model.AnnotationNoSync, "true")), n: placed("fiction", synced)},
			want:   due(model.DueChanged),
		},
		"NoPolicy": {
			reason: "The object has opted out of policy.",
			args:   args{step: policy, obj: object(books, "a", annotated(model.AnnotationNoPolicy, "true")), n: placed("fiction", synced)},
			want:   never,
		},
		"NoSyncFalse": {
			reason: "An opt-out that says false is none.",
			args:   args{step: sync, obj: object(shelves, "a", annotated(model.AnnotationNoSync, "false"))},
			want:   due(model.DueChanged),
		},
		"NoSyncDeleting": {
			reason: "What was synced before the object opted out is cleaned up.",
			args:   args{step: sync, obj: object(shelves, "a", annotated(model.AnnotationNoSync, "true"), deleting, carrying(sync))},
			want:   due(model.DueDeleted),
		},
		"KindWithoutStep": {
			reason: "Services have no policy.",
			args:   args{step: policy, obj: object(shelves, "a")},
			want:   never,
		},
		// Finalizers are put back.
		"FinalizerRemoved": {
			reason: "A finalizer that somebody has removed is put back.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, marked(ok())))},
			want:   due(model.DueFinalizer),
		},
		"FinalizerRemovedWaiting": {
			reason: "Also of an object that waits.",
			args:   args{step: sync, obj: object(books, "a", handled(sync, marked(waiting(blocker("fiction", model.BlockerMissing)))), handled(policy, ok())), n: placed("fiction", nil)},
			want:   due(model.DueFinalizer),
		},
		"FinalizerRemovedOptedOut": {
			reason: "And of one that has opted out since: what was synced before is still to be cleaned up.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, marked(ok())), annotated(model.AnnotationNoSync, ""))},
			want:   due(model.DueFinalizer),
		},
		"FinalizerRemovedLongAgo": {
			reason: "A status of an earlier version does not say that there was one, but a sync that ran had one.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, model.StepStatus{State: model.StateOK, LastSuccess: at(0)}))},
			want:   due(model.DueFinalizer),
		},
		"NeverMarked": {
			reason: "A policy without Delete puts none on.",
			args:   args{step: policy, obj: object(books, "a", handled(sync, ok()), handled(policy, model.StepStatus{State: model.StateOK, LastSuccess: at(0)})), n: placed("fiction", synced)},
			want:   never,
		},
		"FinalizerRemovedPaused": {
			reason: "A paused object is left alone.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, marked(ok())), annotated(model.AnnotationPaused, ""))},
			want:   never,
		},
		"FinalizerRemovedDeleting": {
			reason: "The API takes no new finalizer of an object that is being deleted.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, marked(ok())), deleting)},
			want:   never,
		},
		"FinalizerRemovedChanged": {
			reason: "With other work the finalizer comes by itself.",
			args:   args{step: sync, obj: object(shelves, "a", handled(sync, marked(model.StepStatus{Generation: 2, State: model.StateOK})))},
			want:   due(model.DueChanged),
		},
		"KindWithoutStepDeleting": {
			reason: "Not even when a finalizer of that name stands there.",
			args:   args{step: policy, obj: object(shelves, "a", deleting, carrying(policy))},
			want:   never,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			model.SetConditions(tt.args.obj) // As every writer of a status does.
			got := model.Due(tt.args.step, tt.args.obj, tt.args.n, now)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("\n%s\nDue(...): -want, +got:\n%s", tt.reason, diff)
			}
			if got.Due() != (tt.want.Reason != "") {
				t.Errorf("\n%s\nDue() = %v", tt.reason, got.Due())
			}
		})
	}
}

// TestDueReport: whatever keeps a step from an object, its conditions say what is the case.
func TestDueReport(t *testing.T) {
	const sync, policy = model.StepSync, model.StepPolicy
	tests := map[string]struct {
		reason string
		obj    *model.Snapshot
		// then is what happens to the object after its conditions were written.
		then edit
		step model.Step
		want bool
	}{
		"Nothing":         {"Conditions that are right are not written again.", object(shelves, "a", handled(sync, ok())), func(*model.Snapshot) {}, sync, false},
		"Paused":          {"A pause is a change that no generation tells of.", object(shelves, "a", handled(sync, ok())), annotated(model.AnnotationPaused, ""), sync, true},
		"OptedOut":        {"So is an opt-out.", object(shelves, "a", handled(sync, ok())), annotated(model.AnnotationNoSync, ""), sync, true},
		"PausedChange":    {"A paused object whose spec changes is observed.", object(shelves, "a", handled(sync, ok()), annotated(model.AnnotationPaused, "")), func(s *model.Snapshot) { s.Generation++ }, sync, true},
		"OptedChange":     {"So is one that has opted out.", object(shelves, "a", annotated(model.AnnotationNoSync, "")), func(s *model.Snapshot) { s.Generation++ }, sync, true},
		"PausedDelete":    {"A paused object that is deleted says what it waits for.", object(shelves, "a", handled(sync, ok()), carrying(sync), annotated(model.AnnotationPaused, "")), deleting, sync, true},
		"NotTheFirst":     {"The first step of a kind writes for all.", object(books, "a", handled(sync, ok()), handled(policy, ok())), annotated(model.AnnotationPaused, ""), policy, false},
		"LostStep":        {"A finalizer of a step that the kind has lost goes.", object(shelves, "a", handled(sync, ok())), carrying(policy), sync, true},
		"NotOptedOut":     {"Of several steps the first one writes that still has something to do with the object.", object(books, "a", handled(sync, ok()), handled(policy, ok())), annotated(model.AnnotationNoSync, ""), policy, true},
		"CleaningUp":      {"A step that is cleaning up writes itself if it cannot.", object(books, "a", handled(sync, ok()), handled(policy, ok()), carrying(policy)), deleting, sync, false},
		"OthersFinalizer": {"An object that only others keep says so.", object(shelves, "a", handled(sync, ok()), func(s *model.Snapshot) { s.Finalizers = []string{"example.com/theirs"} }), deleting, sync, true},
		"LostLastStep":    {"The finalizer of a kind's last step goes, too, as long as its function is there.", object(plain, "a"), carrying(sync), sync, true},
		"NoStep":          {"A kind without steps has nobody who writes.", object(plain, "a"), annotated(model.AnnotationPaused, ""), sync, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			model.SetConditions(tt.obj)
			tt.then(tt.obj)
			if got := model.Due(tt.step, reread(t, tt.obj), model.Neighbours{}, now); (got.Reason == model.DueReport) != tt.want || got.Calls() {
				t.Errorf("\n%s\ngot %+v", tt.reason, got)
			}
		})
	}
}

// reread is the snapshot of the object as a function or the source reads it.
func reread(t *testing.T, s *model.Snapshot) *model.Snapshot {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{}}
	for field, part := range map[string]any{"metadata": &s.ObjectMeta, "status": &s.Status} {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(part)
		if err != nil {
			t.Fatal(err)
		}
		u.Object[field] = content
	}
	again, err := s.Kind.SnapshotOf(u)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestDueClock(t *testing.T) {
	// The API stores whole seconds; a clock does not.
	s := object(shelves, "a", handled(model.StepSync, failed(at(0))))
	model.SetConditions(s)
	tests := map[string]struct {
		reason string
		now    time.Time
		want   model.Verdict
	}{
		"JustBefore": {
			reason: "A retry must not come early, not by a nanosecond.",
			now:    now.Add(-time.Nanosecond),
			want:   model.Verdict{At: now},
		},
		"JustAfter": {
			reason: "But at once then.",
			now:    now.Add(time.Nanosecond),
			want:   model.Verdict{Reason: model.DueRetry},
		},
		"OtherZone": {
			reason: "The zone of a clock does not matter.",
			now:    now.In(time.FixedZone("somewhere", -5*3600)),
			want:   model.Verdict{Reason: model.DueRetry},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, model.Due(model.StepSync, s, model.Neighbours{}, tt.now)); diff != "" {
				t.Errorf("\n%s\nDue(...): -want, +got:\n%s", tt.reason, diff)
			}
		})
	}
}

func TestBlockerString(t *testing.T) {
	tests := map[string]struct {
		reason  string
		blocker model.Blocker
		want    string
	}{
		"Unset":     {"An empty field.", blocker("", model.BlockerUnset), "Shelf, which the spec does not name yet"},
		"Missing":   {"No such object.", blocker("a", model.BlockerMissing), "Shelf a, which does not exist"},
		"NotSynced": {"Not yet.", blocker("a", model.BlockerNotSynced), "Shelf a, which is not synced yet"},
		"Failed":    {"A failure.", blocker("a", model.BlockerFailed), "Shelf a, whose sync failed"},
		"Deleting":  {"It goes.", blocker("a", model.BlockerDeleting), "Shelf a, which is being deleted"},
		"Dependent": {"It is in the way of a deletion.", blocker("a", model.BlockerDependent), "Shelf a, which still depends on it, to be deleted"},
		"Ambiguous": {"No choice.", blocker("", model.BlockerAmbiguous), "exactly one Shelf in the namespace"},
		"Unknown":   {"A reason of a later version.", blocker("a", "Later"), "Shelf a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := fmt.Sprint(tt.blocker); got != tt.want {
				t.Errorf("%s\nwant %q\ngot  %q", tt.reason, tt.want, got)
			}
		})
	}
}
