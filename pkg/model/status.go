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
	// StateOK: the step did its work.
	StateOK State = "OK"
	// StateDeferred: still in progress, tried again at a constant interval.
	StateDeferred State = "Deferred"
	// StateFailed: the step ended in an error, tried again at growing
	// intervals unless the failure is permanent.
	StateFailed State = "Failed"
	// StateWaiting: the step was not run, because something that the object
	// depends on (or, being deleted, that depends on the object) is in the way.
	StateWaiting State = "Waiting"
)

// Code is XOS's number for a state (backend_code, policy_code).
type Code int32

const (
	// CodeInProgress: not done, and no error.
	CodeInProgress Code = 0
	// CodeOK: done.
	CodeOK Code = 1
	// CodeError: the last attempt failed.
	CodeError Code = 2
)

// Status is the status of every model: the conditions, and what each step
// acknowledges. Each part belongs to its step and is written by it alone.
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
}

// Step returns the part that the step owns, nil if it has never run.
func (s *Status) Step(step Step) *StepStatus {
	switch step {
	case StepSync:
		return s.Sync
	case StepPolicy:
		return s.Policy
	}
	return nil
}

// SetStep replaces the part that the step owns.
func (s *Status) SetStep(step Step, part *StepStatus) {
	switch step {
	case StepSync:
		s.Sync = part
	case StepPolicy:
		s.Policy = part
	}
}

// StepStatus is a step's acknowledgement: which generation it has handled,
// how that ended, and when it wants to be called again.
//
// +kubebuilder:object:generate=true
type StepStatus struct {
	// Generation of the object that the step has handled.
	Generation int64 `json:"generation"`
	// How the last attempt ended.
	State State `json:"state"`
	// XOS's number for the state: 0 in progress, 1 OK, 2 error.
	Code Code `json:"code"`
	// What the step says: the last two different errors joined by " // ", a
	// warning, or what it is waiting for; 1024 bytes at most.
	// +optional
	Message string `json:"message,omitempty"`
	// Attempts in a row that ended in an error or a warning.
	// +optional
	Failures int32 `json:"failures,omitempty"`
	// The failure will not mend itself: no further attempt before the spec
	// changes or somebody asks for one.
	// +optional
	Permanent bool `json:"permanent,omitempty"`
	// When the step last succeeded.
	// +optional
	LastSuccess *metav1.Time `json:"lastSuccess,omitempty"`
	// When the step last failed.
	// +optional
	LastFailure *metav1.Time `json:"lastFailure,omitempty"`
	// When the step is tried again if nothing changes before.
	// +optional
	NextAttempt *metav1.Time `json:"nextAttempt,omitempty"`
	// Value of the annotation synchronizer.xos-knative.dev/requested-at that
	// the step has answered.
	// +optional
	RequestedAt string `json:"requestedAt,omitempty"`
	// What a waiting step waits for.
	// +optional
	// +listType=atomic
	WaitingFor []Blocker `json:"waitingFor,omitempty"`
	// Sync only: the micro-service's own id for the object (XOS: backend_handle).
	// +optional
	Handle string `json:"handle,omitempty"`
	// Sync only: the objects it depended on as they were when it was synced.
	// +optional
	// +listType=atomic
	Dependencies []DependencyStatus `json:"dependencies,omitempty"`
}

// DependencyStatus records which generation of a dependency a sync has used.
//
// +kubebuilder:object:generate=true
type DependencyStatus struct {
	// Kind of the dependency.
	Kind string `json:"kind"`
	// Name of the dependency, in the namespace of the object.
	Name string `json:"name"`
	// UID tells a re-created object from its predecessor.
	UID string `json:"uid"`
	// Generation that was used.
	Generation int64 `json:"generation"`
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
	// BlockerAmbiguous: not exactly one object of the kind exists in the
	// namespace, so that none can be chosen.
	BlockerAmbiguous BlockerReason = "Ambiguous"
)

// Blocker is what a waiting step waits for.
//
// +kubebuilder:object:generate=true
type Blocker struct {
	// Kind of the object that is waited for.
	Kind string `json:"kind"`
	// Name of the object that is waited for; empty for any of the kind.
	// +optional
	Name string `json:"name,omitempty"`
	// Why it is in the way: Unset, Missing, NotSynced, Failed, Deleting,
	// Dependent or Ambiguous.
	Reason BlockerReason `json:"reason"`
}

// String tells a reader of the status what is waited for.
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
