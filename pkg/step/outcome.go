package step

import (
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// When a step is tried again; all of them are waited for by the model source,
// without a pod.
const (
	// DeferredInterval is the constant wait after [Deferred].
	DeferredInterval = 5 * time.Second
	// InnocuousInterval times the number of warnings in a row is the wait
	// after [Innocuous]; at most InnocuousMax (both as in XOS).
	InnocuousInterval = time.Minute
	InnocuousMax      = 8 * time.Hour
	// FailedInterval, doubled with each failure in a row, is the wait after an
	// error, with up to a tenth more so that many failures do not come back
	// all at once; at most FailedMax.
	FailedInterval = time.Second
	FailedMax      = 10 * time.Minute
)

// MaxMessage is the longest status message, in bytes (XOS: 1024 characters).
const MaxMessage = 1024

// messageOK is what XOS writes as backend_status after a success.
const messageOK = "OK"

// run is one call of a step: what it began with and what it came to.
type run struct {
	step   model.Step
	obj    *model.Snapshot
	n      model.Neighbours
	handle string
	err    error
	now    time.Time
}

// outcome turns what a step returned into its part of the status.
func (r run) outcome() *model.StepStatus {
	before := r.before()
	s := r.acknowledged()
	now := &metav1.Time{Time: r.now.Truncate(time.Second)}
	if r.handle != "" {
		s.Handle = r.handle
	}
	if r.step == model.StepSync && !r.obj.Deleting() {
		s.Dependencies = nil
		for _, d := range r.n.Dependencies {
			if d.Object != nil {
				s.Dependencies = append(s.Dependencies, model.DependencyStatus{
					Kind: d.Kind.Kind, Name: d.Name, UID: string(d.Object.UID), Generation: d.Object.Generation})
			}
		}
	}

	waiting, waits := as[waitError](r.err)
	// Only what the source watches for this object can end the wait; for
	// anything else (another kind, a choice that is there already, an object
	// that is being deleted) the step has to be asked again and again.
	watched := waits && r.n.Ambiguous(waiting.blocker.Kind)
	_, deferred := as[deferredError](r.err)
	_, innocuous := as[innocuousError](r.err)
	_, permanent := as[permanentError](r.err)
	switch {
	case r.err == nil:
		s.State, s.Code, s.Message = model.StateOK, model.CodeOK, messageOK
		if reason := r.obj.Annotations[model.AnnotationRequestReason]; reason != "" && s.RequestedAt != "" && s.RequestedAt != before.RequestedAt {
			s.Message = truncate(messageOK + ", requested: " + reason)
		}
		s.LastSuccess = now
	case watched:
		s.State, s.Code, s.Message = model.StateWaiting, model.CodeInProgress, truncate(r.err.Error())
		s.WaitingFor = []model.Blocker{waiting.blocker}
	case deferred || waits:
		s.State, s.Code, s.Message = model.StateDeferred, model.CodeInProgress, truncate(r.err.Error())
		s.NextAttempt = after(r.now, DeferredInterval)
	case innocuous:
		s.State, s.Code, s.Message = model.StateOK, model.CodeOK, truncate(r.err.Error())
		s.Failures = before.Failures + 1
		s.LastSuccess = now
		s.NextAttempt = after(r.now, min(InnocuousMax, InnocuousInterval*time.Duration(min(s.Failures, int32(InnocuousMax/InnocuousInterval)))))
	default:
		s.State, s.Code, s.Message = model.StateFailed, model.CodeError, joinErrors(before, r.err.Error())
		s.Failures = before.Failures + 1
		s.LastFailure = now
		if s.Permanent = permanent; !permanent {
			s.NextAttempt = after(r.now, min(FailedMax, wait.Jitter(failedWait(before.Failures), 0.1)))
		}
	}
	return s
}

// waiting is the outcome of a step that was not run because of what is in its way.
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

// before is the step's part as the run found it. Failures of an older
// generation do not count: a changed spec is a fresh start.
func (r run) before() model.StepStatus {
	status := r.obj.Status.Step(r.step)
	if status == nil {
		return model.StepStatus{}
	}
	before := *status
	if before.Generation != r.obj.Generation {
		before.Failures, before.Message = 0, ""
	}
	return before
}

// acknowledged is what every outcome says and keeps.
func (r run) acknowledged() *model.StepStatus {
	before := r.before()
	return &model.StepStatus{
		Generation:   r.obj.Generation,
		RequestedAt:  r.obj.Annotations[model.AnnotationRequestedAt],
		LastSuccess:  before.LastSuccess,
		LastFailure:  before.LastFailure,
		Handle:       before.Handle,
		Dependencies: before.Dependencies,
	}
}

func failedWait(failures int32) time.Duration {
	return min(FailedMax, FailedInterval<<min(failures, 20))
}

// after rounds up to the second, because that is what the API stores: a retry
// must not come early.
func after(now time.Time, d time.Duration) *metav1.Time {
	return &metav1.Time{Time: now.Add(d + time.Second - 1).Truncate(time.Second)}
}

const separator = " // "

// joinErrors keeps the last two different errors, as XOS's backend_status does.
func joinErrors(before model.StepStatus, message string) string {
	message = truncate(message)
	if before.State != model.StateFailed || before.Message == "" {
		return message
	}
	previous := before.Message
	// The whole is looked at first, because an error may hold the separator.
	if previous == message || strings.HasSuffix(previous, separator+message) {
		return previous
	}
	if i := strings.LastIndex(previous, separator); i >= 0 {
		previous = previous[i+len(separator):]
	}
	// The newest error is the one that must be read whole.
	room := MaxMessage - len(separator) - len(message)
	if previous = cut(previous, max(0, room)); previous == "" {
		return message
	}
	return previous + separator + message
}

func truncate(message string) string { return cut(strings.ToValidUTF8(message, "\uFFFD"), MaxMessage) }

// cut shortens to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
