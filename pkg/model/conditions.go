package model

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
)

// Condition types of every model, in Knative's duck form.
const (
	// ConditionReady is True when all steps have succeeded for the object's current generation.
	ConditionReady = apis.ConditionReady
	// ConditionSynced is about the sync step.
	ConditionSynced apis.ConditionType = "Synced"
	// ConditionPolicyApplied is about the policy step.
	ConditionPolicyApplied apis.ConditionType = "PolicyApplied"

	// conditionPoliced is the name of PolicyApplied in earlier versions.
	conditionPoliced apis.ConditionType = "Policed"
)

// Reasons of conditions that are not the state of a step.
const (
	// ReasonPending: the step has not handled the current generation yet.
	ReasonPending = "Pending"
	// ReasonOptedOut: an annotation of the object excludes it from the step.
	ReasonOptedOut = "OptedOut"
	// ReasonPaused: an annotation holds back all steps.
	ReasonPaused = "Paused"
	// ReasonDeleting: the object is being deleted.
	ReasonDeleting = "Deleting"
	// ReasonCleanedUp: the object is being deleted, and the step has nothing to clean up any more.
	ReasonCleanedUp = "CleanedUp"
	// ReasonWarning: the step succeeded with a warning.
	ReasonWarning = "Warning"
	// ReasonPermanent: the step failed and is not tried again by itself.
	ReasonPermanent = "Permanent"
)

// MessageOK is the message of a success if there is nothing else to say, as in XOS's backend_status.
const MessageOK = "OK"

func conditionOf(step Step) apis.ConditionType {
	if step == StepSync {
		return ConditionSynced
	}
	return ConditionPolicyApplied
}

// SetConditions computes the conditions and the observed generation of the snapshot's status from its
// metadata and from the steps' parts of the status. Every writer of a status calls it; nothing else
// writes conditions. Each condition has a reason and a message, also if it is True.
//
// A step that the object has opted out of has a condition with severity Info, which Ready ignores. A
// paused object is not Ready: nobody looks after it. The observed generation is the oldest one that a
// step has handled. So after a change of the spec `kubectl wait --for=condition=Ready` waits for the
// steps, and does not believe the old condition. Of a paused object it is the current generation: that
// is what the conditions are about.
//
// An object of a retired kind has none of these.
func SetConditions(obj *Snapshot) {
	if obj.Kind.Retired {
		obj.Status.ObservedGeneration = 0
		obj.Status.Conditions = slices.DeleteFunc(obj.Status.Conditions, func(c apis.Condition) bool {
			return c.Type == ConditionReady || c.Type == ConditionSynced || c.Type == ConditionPolicyApplied || c.Type == conditionPoliced
		})
		return
	}
	counted := slices.DeleteFunc(slices.Clone(obj.Kind.Steps), func(step Step) bool {
		if obj.Deleting() {
			return !obj.Carries(step) // It has cleaned up, or has nothing to clean up.
		}
		return obj.OptedOut(step)
	})
	obj.Status.ObservedGeneration = observed(obj, counted)
	obj.Status.Conditions = slices.DeleteFunc(obj.Status.Conditions, func(c apis.Condition) bool {
		lost := slices.ContainsFunc(Steps(), func(s Step) bool { return c.Type == conditionOf(s) && !obj.Kind.Has(s) })
		return lost || c.Type == conditionPoliced
	})
	types := make([]apis.ConditionType, len(counted))
	for i, step := range counted {
		types[i] = conditionOf(step)
	}
	conditions := apis.NewLivingConditionSet(types...).Manage(&obj.Status)
	for _, step := range obj.Kind.Steps {
		conditions.SetCondition(condition(step, obj))
	}
	// SetCondition does not update Ready.
	conditions.SetCondition(ready(obj, counted))
}

func observed(obj *Snapshot, counted []Step) int64 {
	oldest := obj.Generation
	if obj.Paused() {
		return oldest
	}
	for _, step := range counted {
		handled := int64(0)
		if s := obj.Status.Step(step); s != nil {
			handled = s.Generation
		}
		oldest = min(oldest, handled)
	}
	return oldest
}

// ready sums up the steps. It has the reason of the first step that has failed, otherwise of the first
// one that is in progress.
func ready(obj *Snapshot, counted []Step) apis.Condition {
	r := apis.Condition{Type: ConditionReady, Status: corev1.ConditionTrue, Reason: string(StateOK), Message: MessageOK}
	switch {
	case obj.Paused():
		return apis.Condition{Type: ConditionReady, Status: corev1.ConditionFalse, Reason: ReasonPaused, Message: paused(obj)}
	case len(counted) == 0 && len(obj.Kind.Steps) > 0 && !obj.Deleting():
		r.Reason, r.Message = ReasonOptedOut, "the object has opted out of all steps"
	}
	for i, step := range counted {
		c := condition(step, obj)
		if i == 0 || c.IsFalse() && r.Status != corev1.ConditionFalse || c.IsUnknown() && r.Status == corev1.ConditionTrue {
			r.Status, r.Reason, r.Message = c.Status, c.Reason, c.Message
		}
	}
	if obj.Deleting() {
		r.Status, r.Reason, r.Message = corev1.ConditionFalse, ReasonDeleting, "being deleted: "+r.Message
		if len(counted) == 0 {
			r.Message = "being deleted, waiting for whoever removes the finalizers: " + strings.Join(slices.DeleteFunc(slices.Clone(obj.Finalizers), obj.Kind.lost), ", ")
		}
	}
	return r
}

// unreported reports whether the conditions, or the finalizers of steps that the kind no longer has, are
// not as they must be.
func (s *Snapshot) unreported() bool {
	if slices.ContainsFunc(s.Finalizers, s.Kind.lost) {
		return true
	}
	if s.Kind.Retired {
		// Not by Ready: that can be somebody else's, who has the kind now.
		return s.Status.GetCondition(ConditionSynced) != nil || s.Status.GetCondition(ConditionPolicyApplied) != nil
	}
	now := *s
	now.Status.Conditions = slices.Clone(s.Status.Conditions)
	SetConditions(&now)
	return now.Status.ObservedGeneration != s.Status.ObservedGeneration ||
		!slices.EqualFunc(now.Status.Conditions, s.Status.Conditions, sameCondition)
}

// lost reports whether a finalizer is that of a step that the kind no longer has. Whoever reports removes it.
func (k *Kind) lost(finalizer string) bool {
	return slices.ContainsFunc(Steps(), func(step Step) bool { return finalizer == step.Finalizer() && !k.Has(step) })
}

func sameCondition(a, b apis.Condition) bool {
	a.LastTransitionTime, b.LastTransitionTime = apis.VolatileTime{}, apis.VolatileTime{}
	return a == b
}

// condition is the condition of one step of the object.
func condition(step Step, obj *Snapshot) apis.Condition {
	c := apis.Condition{Type: conditionOf(step), Status: corev1.ConditionUnknown}
	status := obj.Status.Step(step)
	switch {
	case obj.Paused():
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, ReasonPaused, paused(obj)
	case obj.Deleting() && !obj.Carries(step):
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, ReasonCleanedUp, "nothing is left to clean up"
	case obj.OptedOut(step) && !obj.Deleting():
		c.Reason, c.Severity = ReasonOptedOut, apis.ConditionSeverityInfo
		c.Message = "annotation " + step.OptOut()
	case status == nil || status.Generation != obj.Generation:
		c.Reason, c.Message = ReasonPending, fmt.Sprintf("generation %d is not handled yet", obj.Generation)
	case status.State == StateOK:
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, string(StateOK), status.Message
		if status.Failures > 0 {
			c.Reason = ReasonWarning
		}
	case status.State == StateFailed:
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, string(StateFailed), status.Message+next(status)
		if status.Permanent {
			c.Reason = ReasonPermanent
		}
	default:
		c.Reason, c.Message = string(status.State), status.Message+next(status)
	}
	return c
}

// paused says why nothing happens, and who can change that.
func paused(obj *Snapshot) string {
	message := fmt.Sprintf("annotation %s holds back all steps", AnnotationPaused)
	if !obj.Deleting() {
		return message
	}
	return message + ", also the clean-up that the deletion waits for: remove the annotation"
}

// next says which attempt failed and when the next one is due.
func next(s *StepStatus) string {
	switch {
	case s.Permanent:
		return " (not tried again until the spec changes or somebody asks for it)"
	case s.NextAttempt == nil:
		return ""
	case s.Failures == 0:
		return fmt.Sprintf(" (next attempt at %s)", s.NextAttempt.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf(" (attempt %d, the next at %s)", s.Failures, s.NextAttempt.UTC().Format(time.RFC3339))
}
