package model

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Neighbours is what [Due] has to know beside the object itself.
type Neighbours struct {
	// Dependencies are what the object depends on, one for each of its kind's
	// DependsOn, in that order.
	Dependencies []Dependency
	// Dependents are the objects that depend on it. They matter only while it
	// is being deleted; leave them out otherwise.
	Dependents []Dependent
}

// Dependency is one thing that an object depends on, as it is now.
type Dependency struct {
	// DependsOn is the rule that makes it one.
	DependsOn
	// Name is empty when the object names none.
	Name string
	// Object is nil when there is none of that name.
	Object *Snapshot
	// Live is the whole of the object, for steps. The model source keeps only snapshots and leaves it nil.
	Live *unstructured.Unstructured
	// Candidates is how many objects of the kind, not being deleted, exist in
	// the namespace. It matters only when Name is empty.
	Candidates int
}

// Dependent is an object that depends on one that is being deleted.
type Dependent struct {
	Kind, Name string
	// Owned is the object if it is to be deleted with the one that it depends on, which is its only
	// owner (metadata.ownerReferences). The garbage collector of Kubernetes would do that only when the
	// owner is gone, and the owner waits for its dependents. The model source leaves it nil.
	Owned *Snapshot
	// Object is known to the model source only.
	Object *Snapshot
}

// Reason says why a step is due.
type Reason string

const (
	// DueDeleted: the object is being deleted and the step has not cleaned up.
	DueDeleted Reason = "Deleted"
	// DueChanged: never handled, or the spec changed.
	DueChanged Reason = "Changed"
	// DueRetry: the time of the next attempt has come.
	DueRetry Reason = "Retry"
	// DueRequested: somebody asked for it.
	DueRequested Reason = "Requested"
	// DueDependency: something it depends on has changed.
	DueDependency Reason = "DependencyChanged"
	// DueFeedback: a step has reported something new about the object, which its policy has not seen.
	DueFeedback Reason = "FeedbackChanged"
	// DueUnblocked: what it waited for has come.
	DueUnblocked Reason = "Unblocked"
	// DueFinalizer: somebody has removed the step's finalizer. It is put back; the step is not called.
	DueFinalizer Reason = "FinalizerRemoved"
	// DueOvertaken: another run of the step has stored its outcome while this one called the step. Only
	// an engine knows that; [Due] never says it.
	DueOvertaken Reason = "Overtaken"
	// DueReport: the conditions do not say what is the case. They are written; the step is not called.
	DueReport Reason = "NotReported"
)

// Verdict is what [Due] says.
type Verdict struct {
	// Reason says why the step is due; empty if it is not.
	Reason Reason
	// Blockers, of a step that is due, are in its way: the step must not be
	// run, the state Waiting is to be recorded.
	Blockers []Blocker
	// At, of a step that is not due, is when it will be if nothing changes
	// before; zero if only a change can make it due.
	At time.Time
}

// Due reports whether there is work for the engine.
func (v Verdict) Due() bool { return v.Reason != "" }

// Calls reports whether the step is to be called, and not only the object to be put right.
func (v Verdict) Calls() bool {
	return v.Due() && v.Reason != DueFinalizer && v.Reason != DueReport && len(v.Blockers) == 0
}

// Passing reports whether all that is in the step's way is about to go: what the object depends on is just going to be
// synced, and what depends on it is just going to be deleted. To record Waiting, and wake a function for that, is not
// worth it then. Of what fails or has to wait itself this is not so any more.
func (v Verdict) Passing(n Neighbours) bool {
	for _, b := range v.Blockers {
		d := slices.IndexFunc(n.Dependencies, func(d Dependency) bool { return d.GroupKind.Kind == b.Kind && d.Name == b.Name })
		t := slices.IndexFunc(n.Dependents, func(t Dependent) bool { return t.Kind == b.Kind && t.Name == b.Name })
		switch {
		case b.Reason == BlockerNotSynced && d >= 0 && n.Dependencies[d].Object.unhandled():
		case b.Reason == BlockerDependent && t >= 0 && n.Dependents[t].Object.unhandled() && n.Dependents[t].Object.Deleting():
		default:
			return false
		}
	}
	return len(v.Blockers) > 0
}

// unhandled reports whether the sync is going to handle the object as it is now for the first time.
func (s *Snapshot) unhandled() bool {
	if s == nil || s.Paused() || s.Deleting() && !s.Carries(StepSync) {
		return false
	}
	return s.Status.Sync == nil || s.Status.Sync.Generation != s.Generation
}

// Due decides whether the step has work on the object, and if not now, when.
// It is pure: the same arguments give the same answer, in the model source
// (which events to send) and in the engines (whether to act on one).
//
// The rules, first match wins:
//
//	paused, or the kind lacks the step                      not due
//	being deleted without the step's finalizer              not due
//	opted out and not being deleted                         not due
//	never handled, or handled at another generation         due
//	being deleted, and not tried before or tried with success due (the clean-up is still to be done)
//	requested-at differs from what was answered             due
//	a dependency is newer than the one recorded (sync)      due
//	the feedback is newer than the one seen (policy)        due
//	waiting, and what it waited for has come                due
//	the time of the next attempt has come                   due
//
// and for an object on which the step has no work by these rules:
//
//	not paused or being deleted, and its finalizer is gone  due: it is put back
//	the conditions do not say what is the case              due, for one step of the object: they are written
//
// The last one holds for every object, also if it is paused or has opted out.
//
// A step that is due and has something in its way is due once, so that the
// engine can record Waiting and for whom, and then again only when that has
// come or has changed. Only sync looks at dependencies: a policy must be able
// to run while they are missing, for that is what it may have to fix (give an
// instance its owner, delete what depends on a deleted object).
func Due(step Step, obj *Snapshot, n Neighbours, now time.Time) Verdict {
	v := work(step, obj, n, now)
	switch {
	case v.Due():
	case !obj.Paused() && !obj.Deleting() && obj.LostFinalizer(step):
		return Verdict{Reason: DueFinalizer}
	case obj.Unreported && step == obj.reporter():
		return Verdict{Reason: DueReport}
	}
	return v
}

// Settled reports whether the sync has made the backend as the object says now, with what it depends on as
// that is now, and nothing keeps it from doing so again.
func Settled(obj *Snapshot, n Neighbours, now time.Time) bool {
	status := obj.Status.Sync
	if status == nil || status.State != StateOK || Due(StepSync, obj, n, now).Due() {
		return false
	}
	asked := *obj
	Request(&asked, now, "")
	asked.Annotations[AnnotationRequestedAt] += "+" // Not what was asked for before, whatever the clock says.
	return Due(StepSync, &asked, n, now).Calls()
}

// reporter is the step that writes the conditions: one that has handled the object as it is, for the function
// of another one, which the kind may just have got, need not be there. It is empty if all steps still have to
// handle the object: they write them.
func (s *Snapshot) reporter() Step {
	mayRun := func(step Step) bool {
		if s.Deleting() {
			return s.Carries(step) && !s.Paused()
		}
		return !s.OptedOut(step) && !s.Paused()
	}
	pending := false
	for _, step := range s.Kind.Steps {
		if !mayRun(step) {
			continue
		}
		if status := s.Status.Step(step); status != nil && status.Generation == s.Generation {
			return step
		}
		pending = true
	}
	if pending {
		return ""
	}
	// Of a kind that has lost its last step, one that it had: its function may still be there.
	for _, step := range append(slices.Clone(s.Kind.Steps), Steps()...) {
		if s.Kind.Has(step) || s.Carries(step) || s.Status.Step(step) != nil {
			return step
		}
	}
	return ""
}

// work applies the rules by which a step is called, or has to wait.
func work(step Step, obj *Snapshot, n Neighbours, now time.Time) Verdict {
	switch {
	case obj.Paused() || !obj.Kind.Has(step):
		return Verdict{}
	case obj.Deleting() && !obj.Carries(step):
		return Verdict{}
	case !obj.Deleting() && obj.OptedOut(step):
		return Verdict{}
	}

	status := obj.Status.Step(step)
	var blockers []Blocker
	if step == StepSync {
		blockers = blocking(obj, n)
	}
	reason, at := trigger(step, obj, n, now)

	if len(blockers) == 0 {
		if reason == "" && status.State == StateWaiting && hasCome(step, status, n) {
			reason = DueUnblocked
		}
		return verdict(reason, nil, at)
	}
	if status == nil || status.State != StateWaiting {
		return verdict(reason, blockers, at)
	}
	// It waits already: only news about what it waits for is worth a run.
	if reason == "" && !slices.EqualFunc(status.WaitingFor, blockers, sameBlocker) {
		reason = DueUnblocked
	}
	return verdict(reason, blockers, time.Time{})
}

// LostFinalizer reports whether the step has put its finalizer on the object and somebody has removed
// it, as kubectl replace and restores from a backup do. That changes no generation. Statuses of earlier
// versions do not say whether there was one; a sync that has run had one.
func (s *Snapshot) LostFinalizer(step Step) bool {
	status := s.Status.Step(step)
	if !s.Kind.Has(step) || status == nil || s.Carries(step) {
		return false
	}
	ran := status.LastSuccess != nil || status.LastFailure != nil
	return status.Finalizer || step == StepSync && ran
}

// sameBlocker reports whether it is news to a waiting step that b is in the way
// instead of a. Which of its dependents an object that is being deleted waits
// for is none: otherwise the end of each of a thousand would wake the step.
func sameBlocker(a, b Blocker) bool {
	return a == b || a.Reason == BlockerDependent && b.Reason == BlockerDependent && a.Kind == b.Kind
}

// verdict keeps the three fields of a Verdict consistent.
func verdict(reason Reason, blockers []Blocker, at time.Time) Verdict {
	if reason == "" {
		return Verdict{At: at}
	}
	return Verdict{Reason: reason, Blockers: blockers}
}

// trigger applies the rules that do not look at what is in the way.
func trigger(step Step, obj *Snapshot, n Neighbours, now time.Time) (Reason, time.Time) {
	status := obj.Status.Step(step)
	changed := DueChanged
	if obj.Deleting() {
		changed = DueDeleted
	}
	if status == nil || status.Generation != obj.Generation {
		return changed, time.Time{}
	}
	// The finalizer is still there although the clean-up is not known to have
	// failed: a process died between the clean-up and taking the finalizer away.
	if obj.Deleting() && status.State == StateOK {
		return DueDeleted, time.Time{}
	}
	if asked := obj.Annotations[AnnotationRequestedAt]; asked != "" && asked != status.RequestedAt {
		return DueRequested, time.Time{}
	}
	if step == StepSync && !obj.Deleting() && dependencyChanged(status, n) {
		return DueDependency, time.Time{}
	}
	if step == StepPolicy && !obj.Deleting() && obj.Status.ObservedRevision > status.ObservedRevision {
		return DueFeedback, time.Time{}
	}
	if status.State == StateWaiting || status.Permanent {
		return "", time.Time{}
	}
	if status.NextAttempt == nil {
		// A failure always comes with a next attempt. One that was lost must
		// not leave the object stuck.
		if status.State == StateFailed || status.State == StateDeferred {
			return DueRetry, time.Time{}
		}
		return "", time.Time{}
	}
	if !now.Before(status.NextAttempt.Time) {
		return DueRetry, time.Time{}
	}
	return "", status.NextAttempt.Time
}

// dependencyChanged reports whether a dependency is not the one, or newer than
// the one, that the last sync used, or is there no more. A waiting object has
// used none.
func dependencyChanged(status *StepStatus, n Neighbours) bool {
	if status.State == StateWaiting {
		return false
	}
	for _, d := range n.Dependencies {
		if d.Object == nil {
			lost := slices.ContainsFunc(status.Dependencies, func(s DependencyStatus) bool {
				return s.Kind == d.GroupKind.Kind && s.Name == d.Name
			})
			if lost {
				return true
			}
			continue
		}
		used := slices.ContainsFunc(status.Dependencies, func(s DependencyStatus) bool {
			return s.UID == string(d.Object.UID) && s.Generation >= d.Object.Generation &&
				(!d.Observed || s.ObservedRevision >= d.Object.Status.ObservedRevision)
		})
		if !used {
			return true
		}
	}
	return false
}

// blocking lists what keeps a sync from running: dependencies that are not
// ready, or, when the object is being deleted, the kinds that still depend on it.
func blocking(obj *Snapshot, n Neighbours) []Blocker {
	var blockers []Blocker
	if obj.Problem != "" && !obj.Deleting() {
		return nil // The sync fails with that: no wait ends it.
	}
	if obj.Deleting() {
		// One name for each kind: the list must stay short however many there are.
		dependents := slices.SortedFunc(slices.Values(n.Dependents), func(a, b Dependent) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
		})
		for _, d := range slices.CompactFunc(dependents, func(a, b Dependent) bool { return a.Kind == b.Kind }) {
			blockers = append(blockers, Blocker{Kind: d.Kind, Name: d.Name, Reason: BlockerDependent})
		}
		return blockers
	}
	for _, d := range n.Dependencies {
		if reason := d.blocks(); reason != "" {
			blockers = append(blockers, Blocker{Kind: d.GroupKind.Kind, Name: d.Name, Reason: reason})
		}
	}
	return blockers
}

// blocks says why the dependency is not ready; empty if it is.
func (d Dependency) blocks() BlockerReason {
	switch {
	case d.Name == "":
		return BlockerUnset
	case d.Object == nil:
		return BlockerMissing
	case d.Object.Deleting():
		return BlockerDeleting
	case !d.Object.Kind.Has(StepSync) || d.Object.OptedOut(StepSync):
		// Nothing will ever sync it, so there is nothing to wait for.
		return ""
	}
	status := d.Object.Status.Sync
	switch {
	case status == nil || status.Generation != d.Object.Generation:
		return BlockerNotSynced
	case status.State == StateFailed:
		return BlockerFailed
	case status.State != StateOK:
		return BlockerNotSynced
	}
	return ""
}

// hasCome reports whether what a waiting step recorded is no longer in the way.
// For sync that is so as soon as nothing is; a policy says which kind it waits for.
func hasCome(step Step, status *StepStatus, n Neighbours) bool {
	if step == StepSync {
		return true
	}
	return !slices.ContainsFunc(status.WaitingFor, func(b Blocker) bool { return n.Ambiguous(b.Kind) })
}

// Ambiguous reports whether the object depends on one of the kind, names none,
// and not exactly one exists that it could name. Only for this can a policy
// wait: of anything else nobody would tell it when it comes, and it has to
// look for itself.
func (n Neighbours) Ambiguous(kind string) bool {
	return slices.ContainsFunc(n.Dependencies, func(d Dependency) bool {
		return d.GroupKind.Kind == kind && d.Name == "" && d.Candidates != 1
	})
}
