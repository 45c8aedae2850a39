package model

import (
	"math"
	"slices"

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
	// ReasonWarning: the step succeeded with a warning.
	ReasonWarning = "Warning"
	// ReasonPermanent: the step failed and is not tried again by itself.
	ReasonPermanent = "Permanent"
)

func conditionOf(step Step) apis.ConditionType {
	if step == StepSync {
		return ConditionSynced
	}
	return ConditionPolicyApplied
}

// SetConditions computes the conditions and the observed generation of the snapshot's status from the
// steps' parts of it. Every writer of a status calls it; nothing else writes conditions.
//
// A step that the object has opted out of has a condition with severity Info, which Ready ignores. The
// observed generation is the oldest one that a step has handled. So after a change of the spec
// `kubectl wait --for=condition=Ready` waits for the steps, and does not believe the old condition.
func SetConditions(obj *Snapshot) {
	var counted []apis.ConditionType
	observed := int64(math.MaxInt64)
	for _, step := range obj.Kind.Steps {
		if obj.OptedOut(step) {
			continue
		}
		counted = append(counted, conditionOf(step))
		handled := int64(0)
		if s := obj.Status.Step(step); s != nil {
			handled = s.Generation
		}
		observed = min(observed, handled)
	}
	obj.Status.ObservedGeneration = min(observed, obj.Generation)
	obj.Status.Conditions = slices.DeleteFunc(obj.Status.Conditions, func(c apis.Condition) bool {
		lost := slices.ContainsFunc(Steps(), func(s Step) bool { return c.Type == conditionOf(s) && !obj.Kind.Has(s) })
		return lost || c.Type == conditionPoliced
	})

	conditions := apis.NewLivingConditionSet(counted...).Manage(&obj.Status)
	for _, step := range obj.Kind.Steps {
		conditions.SetCondition(condition(step, obj))
	}
	// SetCondition does not update Ready. Ready has the reason of the first step that has failed,
	// otherwise of the first one that is in progress.
	ready := apis.Condition{Type: ConditionReady, Status: corev1.ConditionTrue}
	for _, t := range counted {
		c := conditions.GetCondition(t)
		if c.IsFalse() && ready.Status != corev1.ConditionFalse || c.IsUnknown() && ready.Status == corev1.ConditionTrue {
			ready.Status, ready.Reason, ready.Message = c.Status, c.Reason, c.Message
		}
	}
	conditions.SetCondition(ready)
}

// condition is the condition of one step of the object.
func condition(step Step, obj *Snapshot) apis.Condition {
	c := apis.Condition{Type: conditionOf(step), Status: corev1.ConditionUnknown}
	status := obj.Status.Step(step)
	switch {
	case obj.OptedOut(step):
		c.Reason, c.Severity = ReasonOptedOut, apis.ConditionSeverityInfo
		c.Message = "annotation " + step.OptOut()
	case status == nil || status.Generation != obj.Generation:
		c.Reason = ReasonPending
		c.Message = "the current generation is not handled yet"
	case status.State == StateOK:
		c.Status = corev1.ConditionTrue
		if status.Failures > 0 {
			c.Reason, c.Message = ReasonWarning, status.Message
		}
	case status.State == StateFailed:
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, string(StateFailed), status.Message
		if status.Permanent {
			c.Reason = ReasonPermanent
		}
	default:
		c.Reason, c.Message = string(status.State), status.Message
	}
	return c
}
