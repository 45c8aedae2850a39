package model_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"

	"github.com/xos-knative/synchronizer/pkg/model"
)

func TestSetConditions(t *testing.T) {
	const sync, policy = model.StepSync, model.StepPolicy
	type conditions map[apis.ConditionType]apis.Condition
	is := func(status corev1.ConditionStatus, reason, message string) apis.Condition {
		return apis.Condition{Status: status, Reason: reason, Message: message}
	}
	const yes, no, unknown = corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown
	pending := is(unknown, model.ReasonPending, "generation 3 is not handled yet")
	permanent := is(no, "Permanent", "never (not tried again until the spec changes or somebody asks for it)")
	held := is(no, "Paused", "annotation synchronizer.xos-knative.dev/paused holds back all steps")
	info := func(message string) apis.Condition {
		c := is(unknown, model.ReasonOptedOut, message)
		c.Severity = apis.ConditionSeverityInfo
		return c
	}

	tests := map[string]struct {
		reason   string
		obj      *model.Snapshot
		want     conditions
		observed int64
	}{
		"Nothing": {
			reason:   "Before any step has run, all is unknown.",
			obj:      object(books, "a"),
			want:     conditions{"Synced": pending, "PolicyApplied": pending, "Ready": pending},
			observed: 0,
		},
		"Ready": {
			reason:   "Both steps have handled this generation with success.",
			obj:      object(books, "a", handled(sync, ok()), handled(policy, ok())),
			want:     conditions{"Synced": is(yes, "OK", ""), "PolicyApplied": is(yes, "OK", ""), "Ready": is(yes, "OK", "")},
			observed: 3,
		},
		"OneStep": {
			reason:   "A kind without policy is ready when it is synced, and has no condition PolicyApplied.",
			obj:      object(shelves, "a", handled(sync, ok())),
			want:     conditions{"Synced": is(yes, "OK", ""), "Ready": is(yes, "OK", "")},
			observed: 3,
		},
		"NoSteps": {
			reason:   "A kind without steps has nothing to wait for.",
			obj:      object(plain, "a"),
			want:     conditions{"Ready": is(yes, "OK", "OK")},
			observed: 3,
		},
		"OldGeneration": {
			reason: "Success of an older generation is none, and the observed generation is that of the slowest step.",
			obj: object(books, "a", handled(policy, ok()),
				handled(sync, model.StepStatus{Generation: 2, State: model.StateOK})),
			want:     conditions{"Synced": pending, "PolicyApplied": is(yes, "OK", ""), "Ready": pending},
			observed: 2,
		},
		"StatusAhead": {
			reason:   "The observed generation is never one that does not exist.",
			obj:      object(shelves, "a", handled(sync, model.StepStatus{Generation: 9, State: model.StateOK})),
			want:     conditions{"Synced": pending, "Ready": pending},
			observed: 3,
		},
		"Failed": {
			reason: "A failure explains why the object is not ready, before what is in progress.",
			obj: object(books, "a", handled(sync, model.StepStatus{State: model.StateDeferred, Message: "later"}),
				handled(policy, model.StepStatus{State: model.StateFailed, Message: "no"})),
			want:     conditions{"Synced": is(unknown, "Deferred", "later"), "PolicyApplied": is(no, "Failed", "no"), "Ready": is(no, "Failed", "no")},
			observed: 3,
		},
		"BothFailed": {
			reason: "Of two failures the first step's is told.",
			obj: object(books, "a", handled(sync, model.StepStatus{State: model.StateFailed, Message: "s"}),
				handled(policy, model.StepStatus{State: model.StateFailed, Message: "p"})),
			want:     conditions{"Synced": is(no, "Failed", "s"), "PolicyApplied": is(no, "Failed", "p"), "Ready": is(no, "Failed", "s")},
			observed: 3,
		},
		"Permanent": {
			reason:   "A failure for good is told apart.",
			obj:      object(shelves, "a", handled(sync, model.StepStatus{State: model.StateFailed, Permanent: true, Message: "never"})),
			want:     conditions{"Synced": permanent, "Ready": permanent},
			observed: 3,
		},
		"Waiting": {
			reason:   "What is waited for is neither success nor failure.",
			obj:      object(shelves, "a", handled(sync, model.StepStatus{State: model.StateWaiting, Message: "for x"})),
			want:     conditions{"Synced": is(unknown, "Waiting", "for x"), "Ready": is(unknown, "Waiting", "for x")},
			observed: 3,
		},
		"Warning": {
			reason:   "A success with a warning is a success.",
			obj:      object(shelves, "a", handled(sync, model.StepStatus{State: model.StateOK, Failures: 1, Message: "hm"})),
			want:     conditions{"Synced": is(yes, "Warning", "hm"), "Ready": is(yes, "Warning", "hm")},
			observed: 3,
		},
		"NoSync": {
			reason: "A step that the object has opted out of is told as information and does not count.",
			obj:    object(books, "a", annotated(model.AnnotationNoSync, "true"), handled(policy, ok())),
			want: conditions{"Synced": info("annotation synchronizer.xos-knative.dev/no-sync"),
				"PolicyApplied": is(yes, "OK", ""), "Ready": is(yes, "OK", "")},
			observed: 3,
		},
		"AllOptedOut": {
			reason: "With all steps kept away there is nothing to wait for, and that is said.",
			obj:    object(shelves, "a", annotated(model.AnnotationNoSync, "true")),
			want: conditions{"Synced": info("annotation synchronizer.xos-knative.dev/no-sync"),
				"Ready": is(yes, model.ReasonOptedOut, "the object has opted out of all steps")},
			observed: 3,
		},
		"Paused": {
			reason:   "Nobody looks after a paused object: it is not ready, whatever it was before.",
			obj:      object(shelves, "a", annotated(model.AnnotationPaused, ""), handled(sync, model.StepStatus{Generation: 2, State: model.StateOK})),
			want:     conditions{"Synced": held, "Ready": held},
			observed: 3,
		},
		"PausedDeleting": {
			reason: "A deletion that cannot go on says why, and who can change that.",
			obj:    object(shelves, "a", annotated(model.AnnotationPaused, ""), handled(sync, ok()), carrying(sync), deleting),
			want: conditions{"Synced": is(no, "Paused", held.Message+", also the clean-up that the deletion waits for: remove the annotation"),
				"Ready": is(no, "Paused", held.Message+", also the clean-up that the deletion waits for: remove the annotation")},
			observed: 3,
		},
		"Deleting": {
			reason: "A deletion that is blocked says by whom.",
			obj: object(shelves, "a", carrying(sync), deleting,
				handled(sync, model.StepStatus{State: model.StateWaiting, Message: "waiting for Book b"})),
			want:     conditions{"Synced": is(unknown, "Waiting", "waiting for Book b"), "Ready": is(no, "Deleting", "being deleted: waiting for Book b")},
			observed: 3,
		},
		"Retried": {
			reason: "A failure says which attempt it was, and when the next one is.",
			obj:    object(shelves, "a", handled(sync, model.StepStatus{State: model.StateFailed, Message: "no", Failures: 4, NextAttempt: at(0)})),
			want: conditions{"Synced": is(no, "Failed", "no (attempt 4, the next at 2024-02-29T12:00:00Z)"),
				"Ready": is(no, "Failed", "no (attempt 4, the next at 2024-02-29T12:00:00Z)")},
			observed: 3,
		},
		"Deferred": {
			reason: "So does what is in progress.",
			obj:    object(shelves, "a", handled(sync, model.StepStatus{State: model.StateDeferred, Message: "later", NextAttempt: at(0)})),
			want: conditions{"Synced": is(unknown, "Deferred", "later (next attempt at 2024-02-29T12:00:00Z)"),
				"Ready": is(unknown, "Deferred", "later (next attempt at 2024-02-29T12:00:00Z)")},
			observed: 3,
		},
		"BackIn": {
			reason: "When the object opts in again the condition counts again.",
			obj: func() *model.Snapshot {
				s := object(books, "a", annotated(model.AnnotationNoSync, "true"), handled(policy, ok()))
				model.SetConditions(s)
				delete(s.Annotations, model.AnnotationNoSync)
				return s
			}(),
			want:     conditions{"Synced": pending, "PolicyApplied": is(yes, "OK", ""), "Ready": pending},
			observed: 0,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			model.SetConditions(tt.obj)
			got := conditions{}
			for _, c := range tt.obj.Status.Conditions {
				if c.LastTransitionTime.Inner.IsZero() {
					t.Errorf("%s has no time", c.Type)
				}
				got[c.Type] = c
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(apis.Condition{}, "Type", "LastTransitionTime")); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tt.reason, diff)
			}
			if tt.obj.Status.ObservedGeneration != tt.observed {
				t.Errorf("\n%s\nobservedGeneration: want %d, got %d", tt.reason, tt.observed, tt.obj.Status.ObservedGeneration)
			}

			before, _ := json.Marshal(tt.obj.Status)
			model.SetConditions(tt.obj)
			if after, _ := json.Marshal(tt.obj.Status); string(after) != string(before) {
				t.Errorf("computing the same conditions again must change nothing, transition times included:\n%s\n%s", before, after)
			}
		})
	}
}
