package step

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// Reasons of the Kubernetes Events that the engine records, besides [model.ReasonCleanedUp]; the action
// is the step.
const (
	reasonWaiting   = "Waiting"
	reasonFailed    = "Failed"
	reasonPermanent = "FailedPermanently"
	reasonRestored  = "FinalizerRestored"
)

// reasonRecovered is for a success after a failure.
var reasonRecovered = map[model.Step]string{
	model.StepSync:   string(model.ConditionSynced),
	model.StepPolicy: string(model.ConditionPolicyApplied),
}

// tell records what is news in an outcome that was stored. What goes well from the beginning is none, and
// neither is an attempt that ended like the one before.
func (e *engine) tell(o *observation, outcome *model.StepStatus) {
	before := o.obj.Status.Step(e.step)
	if before == nil {
		before = &model.StepStatus{}
	}
	same := before.State == outcome.State && before.Permanent == outcome.Permanent && before.Message == outcome.Message
	switch {
	case outcome.State == model.StateFailed && !same && outcome.Permanent:
		e.note(o, corev1.EventTypeWarning, reasonPermanent, outcome.Message)
	case outcome.State == model.StateFailed && !same:
		e.note(o, corev1.EventTypeWarning, reasonFailed, outcome.Message)
	case outcome.State == model.StateWaiting && !same:
		e.note(o, corev1.EventTypeNormal, reasonWaiting, outcome.Message)
	case outcome.State == model.StateOK && hadFailed(before):
		e.note(o, corev1.EventTypeNormal, reasonRecovered[e.step], outcome.Message)
	}
}

// hadFailed reports whether the step has not succeeded since its last failure. It may have waited meanwhile.
func hadFailed(s *model.StepStatus) bool {
	return s.State != model.StateOK && s.LastFailure != nil && (s.LastSuccess == nil || !s.LastFailure.Before(s.LastSuccess))
}

// tellCleanedUp records a clean-up, if an event has said before that it failed or has to wait.
func (e *engine) tellCleanedUp(o *observation, message string) {
	before := o.obj.Status.Step(e.step)
	if before == nil || before.Generation != o.obj.Generation || before.State != model.StateFailed && before.State != model.StateWaiting {
		return
	}
	if message == "" {
		message = model.MessageOK
	}
	e.note(o, corev1.EventTypeNormal, model.ReasonCleanedUp, message)
}

func (e *engine) note(o *observation, eventType, reason, note string) {
	e.events.record(o.live, eventType, reason, string(e.step), note)
}
