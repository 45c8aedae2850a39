package model

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// State says how a step's last attempt ended.
//
// +kubebuilder:validation:Enum=OK;Deferred;Failed;Waiting
type State string

const (
	// StateOK: the step has succeeded.
	StateOK State = "OK"
	// StateDeferred: the work is in progress; the step is tried again after a constant wait.
	StateDeferred State = "Deferred"
	// StateFailed: the step has failed; it is tried again after growing waits, unless the failure is
	// permanent.
	StateFailed State = "Failed"
	// StateWaiting: the step was not called, because something is in the way that the object depends
	// on or, if it is being deleted, that depends on the object.
	StateWaiting State = "Waiting"
)

// MessageSeparator stands between the last two different errors of a step.
const MessageSeparator = " // "

// Code is XOS's number for a state (backend_code, policy_code).
type Code int32

const (
	// CodeInProgress: not done, but not failed.
	CodeInProgress Code = 0
	// CodeOK: done.
	CodeOK Code = 1
	// CodeError: the last attempt failed.
	CodeError Code = 2
)

// Status is the status of every model: the conditions, and a part for each step. Only the step itself
// writes its part. A model on which steps report what they know of the micro-service has a status of its
// own, with a field Observed:
//
//	type BookStatus struct {
//		model.Status `json:",inline"`
//		// +optional
//		Observed BookObserved `json:"observed,omitempty"`
//	}
//
// +kubebuilder:object:generate=true
type Status struct {
	duckv1.Status `json:",inline"`

	// Outcome of the last sync step.
	// +optional
	Sync *StepStatus `json:"sync,omitempty"`
	// Outcome of the last policy step.
	// +optional
	Policy *StepStatus `json:"policy,omitempty"`
	// How often status.observed, what the steps report of the micro-service, has changed.
	// +optional
	ObservedRevision int64 `json:"observedRevision,omitempty"`
	// The events of the micro-service that the object was made of last: late and repeated ones are known by
	// them.
	// +optional
	// +listType=map
	// +listMapKey=stream
	LastEvents []LastEvents `json:"lastEvents,omitempty"`
}

// Step returns the step's part, nil if the step has never run.
func (s *Status) Step(step Step) *StepStatus {
	switch step {
	case StepSync:
		return s.Sync
	case StepPolicy:
		return s.Policy
	}
	return nil
}

// SetStep replaces the step's part.
func (s *Status) SetStep(step Step, part *StepStatus) {
	switch step {
	case StepSync:
		s.Sync = part
	case StepPolicy:
		s.Policy = part
	}
}

// StepStatus is a step's part of the status: which generation it has handled, how that ended, and when
// it is tried again.
//
// +kubebuilder:object:generate=true
type StepStatus struct {
	// Generation of the object that the step has handled.
	Generation int64 `json:"generation"`
	// How the last attempt ended.
	State State `json:"state"`
	// XOS's number for the state: 0 in progress, 1 OK, 2 error.
	Code Code `json:"code"`
	// Message of the step: the last two different errors joined by " // ", a warning, or what it is
	// waiting for. It has at most 1024 bytes.
	// +optional
	Message string `json:"message,omitempty"`
	// How many attempts in a row ended with an error or a warning.
	// +optional
	Failures int32 `json:"failures,omitempty"`
	// The failure does not go away by itself: there is no further attempt before the spec changes or
	// somebody requests one.
	// +optional
	Permanent bool `json:"permanent,omitempty"`
	// When the step last succeeded.
	// +optional
	LastSuccess *metav1.Time `json:"lastSuccess,omitempty"`
	// When the step last failed.
	// +optional
	LastFailure *metav1.Time `json:"lastFailure,omitempty"`
	// When the step is tried again, unless something changes before.
	// +optional
	NextAttempt *metav1.Time `json:"nextAttempt,omitempty"`
	// The value of annotation synchronizer.xos-knative.dev/requested-at that the step has handled.
	// +optional
	RequestedAt string `json:"requestedAt,omitempty"`
	// The step has put its finalizer on the object. If it is missing, it is put back.
	// +optional
	Finalizer bool `json:"finalizer,omitempty"`
	// Policy only: the observedRevision of the object that the policy has seen, or has made itself.
	// +optional
	ObservedRevision int64 `json:"observedRevision,omitempty"`
	// How many runs in a row, each within 10 seconds after the one before, have changed models. At 100
	// the step counts as one that never settles: it fails, and is called again only after a wait.
	// +optional
	Unsettled int32 `json:"unsettled,omitempty"`
	// What a waiting step waits for.
	// +optional
	// +listType=atomic
	WaitingFor []Blocker `json:"waitingFor,omitempty"`
	// Sync only: the micro-service's own id for the object (XOS: backend_handle).
	// +optional
	Handle string `json:"handle,omitempty"`
	// Sync only: the objects that it depends on, as they were when it was synced.
	// +optional
	// +listType=atomic
	Dependencies []DependencyStatus `json:"dependencies,omitempty"`
}

// DependencyStatus says which generation of a dependency a sync has used.
//
// +kubebuilder:object:generate=true
type DependencyStatus struct {
	// Kind of the dependency.
	Kind string `json:"kind"`
	// Name of the dependency, in the namespace of the object.
	Name string `json:"name"`
	// UID of the dependency. An object that is created again under the same name has another one.
	UID string `json:"uid"`
	// Generation of the dependency that was used.
	Generation int64 `json:"generation"`
	// The observedRevision of the dependency that was used, if the kind uses what the dependency reports.
	// +optional
	ObservedRevision int64 `json:"observedRevision,omitempty"`
}

// BlockerReason says why something is in the way.
type BlockerReason string

const (
	// BlockerUnset: the field that names the dependency is empty.
	BlockerUnset BlockerReason = "Unset"
	// BlockerMissing: the dependency does not exist.
	BlockerMissing BlockerReason = "Missing"
	// BlockerNotSynced: the dependency is not synced at its current generation.
	BlockerNotSynced BlockerReason = "NotSynced"
	// BlockerFailed: the last sync of the dependency failed.
	BlockerFailed BlockerReason = "Failed"
	// BlockerDeleting: the dependency is being deleted.
	BlockerDeleting BlockerReason = "Deleting"
	// BlockerDependent: it depends on the object, which is being deleted.
	BlockerDependent BlockerReason = "Dependent"
	// BlockerAmbiguous: the namespace has none or several objects of the kind, so none can be chosen.
	BlockerAmbiguous BlockerReason = "Ambiguous"
)

// Blocker is what a waiting step waits for.
//
// +kubebuilder:object:generate=true
type Blocker struct {
	// Kind of the object that is waited for.
	Kind string `json:"kind"`
	// Name of the object that is waited for. Empty means any of the kind.
	// +optional
	Name string `json:"name,omitempty"`
	// Why it is in the way: Unset, Missing, NotSynced, Failed, Deleting, Dependent or Ambiguous.
	Reason BlockerReason `json:"reason"`
}

// String is what the message of a waiting step says.
func (b Blocker) String() string {
	object := b.Kind
	if b.Name != "" {
		object += " " + b.Name
	}
	switch b.Reason {
	case BlockerUnset:
		return object + ", which the spec does not name yet"
	case BlockerMissing:
		return object + ", which does not exist"
	case BlockerNotSynced:
		return object + ", which is not synced yet"
	case BlockerFailed:
		return object + ", whose sync failed"
	case BlockerDeleting:
		return object + ", which is being deleted"
	case BlockerDependent:
		return object + ", which still depends on it, to be deleted"
	case BlockerAmbiguous:
		return "exactly one " + object + " in the namespace"
	}
	return object
}
