package step

import (
	"context"
	"errors"
	"hash/fnv"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// When a step is tried again. The model source waits, so no pod has to run.
const (
	// DeferredInterval is the wait after [Deferred].
	DeferredInterval = 5 * time.Second
	// WarningInterval, times the number of warnings in a row, is the wait after [Warning].
	WarningInterval = time.Minute
	// WarningMax is the longest wait after [Warning] (XOS has the same waits).
	WarningMax = 8 * time.Hour
	// FailedInterval, doubled with each failure in a row, is the wait after an error. Up to a tenth is
	// added, so that steps that failed together are not tried again together.
	FailedInterval = time.Second
	// FailedMax is the longest wait after an error.
	FailedMax = 10 * time.Minute
)

// MaxMessage is the longest status message, in bytes (XOS: 1024 characters).
const MaxMessage = 1024

// outcome makes the step's part of the status.
func (e *engine) outcome(ctx context.Context, o *observation, v model.Verdict, res result) (*model.StepStatus, error) {
	r := run{step: e.step, obj: o.obj, n: o.neighbours, finalizer: e.runners[o.GroupKind()].needsFinalizer(), handle: res.handle, err: res.err, now: e.now(o), own: res.own,
		wrote: len(res.feedback) > 0 || errors.Is(res.err, errUnsettled)}
	if v.Reason == model.DueFinalizer {
		kept := o.obj.Status.Step(e.step).DeepCopy()
		kept.Finalizer = false // The step no longer needs one.
		return kept, nil
	}
	if len(v.Blockers) > 0 && o.dependentsErr == nil {
		return r.waiting(v.Blockers), nil
	}
	if classOf(res.err).class == waiting && r.n.Dependencies == nil {
		// The dependencies decide whether the source can see the end of the wait.
		var err error
		if r.n.Dependencies, err = e.models.Dependencies(ctx, o.obj); err != nil {
			return nil, err
		}
	}
	return r.outcome(), nil
}

// run is one call of a step: what it began with, and what it returned.
type run struct {
	step model.Step
	obj  *model.Snapshot
	n    model.Neighbours
	// finalizer: the step needs one on the object.
	finalizer bool
	handle    string
	err       error
	now       time.Time
	// own has followed what the step wrote, nil if it was not called.
	own *model.Own
	// wrote: the step has changed models, beside what own knows of.
	wrote bool
}

// outcome turns what a step returned into its part of the status.
func (r run) outcome() *model.StepStatus {
	s := r.acknowledged()
	s.Finalizer = r.finalizer
	if r.handle != "" {
		s.Handle = r.handle
	}
	if r.step == model.StepSync && !r.obj.Deleting() {
		s.Dependencies = r.used()
	}
	if s.Unsettled = r.unsettled(); r.err == nil && s.Unsettled >= maxUnsettled {
		r.err = errUnsettled
	}
	if r.err == nil {
		r.succeed(s)
		return s
	}
	before, message := r.before(), truncate(oneLine(r.err))
	switch c := classOf(r.err); {
	case c.class == waiting && r.n.Ambiguous(c.blocker.Kind):
		s.State, s.Code, s.Message = model.StateWaiting, model.CodeInProgress, message
		s.WaitingFor = []model.Blocker{c.blocker}
	case c.class == deferred || c.class == waiting:
		// If the source cannot see the end of the wait (for another kind, or for an object that is there
		// already), the step itself has to look again.
		s.State, s.Code, s.Message = model.StateDeferred, model.CodeInProgress, message
		s.NextAttempt = after(r.now, DeferredInterval)
	case c.class == warning:
		s.State, s.Code, s.Message = model.StateOK, model.CodeOK, message
		s.Failures = before.Failures + 1
		s.LastSuccess = r.second()
		s.NextAttempt = after(r.now, min(WarningMax, WarningInterval*time.Duration(min(s.Failures, int32(WarningMax/WarningInterval)))))
	default:
		s.State, s.Code, s.Message = model.StateFailed, model.CodeError, joinErrors(before, message)
		s.Failures = before.Failures + 1
		s.LastFailure = r.second()
		if s.Permanent = c.class == permanent; !s.Permanent {
			s.NextAttempt = after(r.now, min(FailedMax, r.spread(failedWait(before.Failures))))
		}
	}
	return s
}

// succeed is the outcome of a step that returned no error. If somebody has requested the run, the
// message has the reason.
func (r run) succeed(s *model.StepStatus) {
	s.State, s.Code, s.Message = model.StateOK, model.CodeOK, model.MessageOK
	s.LastSuccess = r.second()
	if reason := r.obj.Annotations[model.AnnotationRequestReason]; reason != "" && s.RequestedAt != "" && s.RequestedAt != r.before().RequestedAt {
		s.Message = truncate(model.MessageOK + ", requested: " + reason)
	}
}

// used lists the dependencies that the sync was called with.
func (r run) used() []model.DependencyStatus {
	var used []model.DependencyStatus
	for _, d := range r.n.Dependencies {
		if d.Object != nil {
			status := model.DependencyStatus{Kind: d.GroupKind.Kind, Name: d.Name, UID: string(d.Object.UID), Generation: d.Object.Generation}
			if d.Observed {
				status.ObservedRevision = d.Object.Status.ObservedRevision
			}
			used = append(used, status)
		}
	}
	return used
}

// second is the time of the run in whole seconds, as the API stores it.
func (r run) second() *metav1.Time { return &metav1.Time{Time: r.now.Truncate(time.Second)} }

// waiting is the outcome of a step that was not called because something is in the way.
func (r run) waiting(blockers []model.Blocker) *model.StepStatus {
	s := r.acknowledged()
	s.State, s.Code, s.WaitingFor = model.StateWaiting, model.CodeInProgress, blockers
	names := make([]string, len(blockers))
	for i, b := range blockers {
		names[i] = b.String()
	}
	s.Message = truncate("waiting for " + strings.Join(names, "; "))
	return s
}

// before is the step's part as the run found it. Failures of an older generation do not count.
func (r run) before() model.StepStatus {
	status := r.obj.Status.Step(r.step)
	if status == nil {
		return model.StepStatus{}
	}
	before := *status
	if before.Generation != r.obj.Generation && before.Unsettled < maxUnsettled {
		before.Failures, before.Message = 0, ""
	}
	return before
}

// acknowledged is what all outcomes have in common.
func (r run) acknowledged() *model.StepStatus {
	before := r.before()
	generation, revision := r.obj.Generation, r.obj.Status.ObservedRevision
	if r.own != nil {
		generation, revision, _, _ = r.own.Seen()
	}
	s := &model.StepStatus{
		Generation:   generation,
		RequestedAt:  r.obj.Annotations[model.AnnotationRequestedAt],
		LastSuccess:  before.LastSuccess,
		LastFailure:  before.LastFailure,
		Handle:       before.Handle,
		Dependencies: before.Dependencies,
		Finalizer:    before.Finalizer,
	}
	if r.step == model.StepPolicy {
		s.ObservedRevision = revision
	}
	return s
}

func failedWait(failures int32) time.Duration {
	return min(FailedMax, FailedInterval<<min(failures, 20))
}

// spread adds up to a tenth, another part for each object.
func (r run) spread(d time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(r.obj.UID))
	return d + d/10*time.Duration(h.Sum32()%1000)/1000
}

// after rounds up to whole seconds, as the API stores them: a retry must not come early.
func after(now time.Time, d time.Duration) *metav1.Time {
	return &metav1.Time{Time: now.Add(d + time.Second - 1).Truncate(time.Second)}
}

// joinErrors keeps the last two different errors, like XOS's backend_status.
func joinErrors(before model.StepStatus, message string) string {
	message = truncate(message)
	if before.State != model.StateFailed || before.Message == "" {
		return message
	}
	previous := before.Message
	// The whole message is compared first, because an error can contain the separator.
	if previous == message || strings.HasSuffix(previous, model.MessageSeparator+message) {
		return previous
	}
	if i := strings.LastIndex(previous, model.MessageSeparator); i >= 0 {
		previous = previous[i+len(model.MessageSeparator):]
	}
	// The newest error must be complete, so the previous one is cut.
	room := MaxMessage - len(model.MessageSeparator) - len(message)
	if previous = cut(previous, max(0, room)); previous == "" {
		return message
	}
	return previous + model.MessageSeparator + message
}

func truncate(message string) string { return cut(strings.ToValidUTF8(message, "\uFFFD"), MaxMessage) }

// cut shortens s to at most n bytes and splits no character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
