package step

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// When a step is tried again. The model source waits for it, so that no pod has to.
const (
	// DeferredInterval is the constant wait after [Deferred].
	DeferredInterval = 5 * time.Second
	// WarningInterval times the number of warnings in a row is the wait after [Warning]; at most
	// WarningMax (both as in XOS).
	WarningInterval = time.Minute
	WarningMax      = 8 * time.Hour
	// FailedInterval, doubled with each failure in a row, is the wait after an error, with up to a
	// tenth more so that many failures do not come back all at once; at most FailedMax.
	FailedInterval = time.Second
	FailedMax      = 10 * time.Minute
)

// MaxMessage is the longest status message, in bytes (XOS: 1024 characters).
const MaxMessage = 1024

// messageOK is what XOS writes as backend_status after a success.
const messageOK = "OK"

// outcome is what the step's part of the status becomes.
func (e *engine) outcome(ctx context.Context, o *observation, v model.Verdict, res result) (*model.StepStatus, error) {
	r := run{step: e.step, obj: o.obj, n: o.neighbours, handle: res.handle, err: res.err, now: e.clock.Now()}
	if len(v.Blockers) > 0 && o.blind == nil {
		return r.waiting(v.Blockers), nil
	}
	if classOf(res.err).class == waiting && r.n.Dependencies == nil {
		// Whether the wait can end by itself depends on them.
		var err error
		if r.n.Dependencies, err = e.models.Dependencies(ctx, o.obj); err != nil {
			return nil, err
		}
	}
	return r.outcome(), nil
}

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
	s := r.acknowledged()
	if r.handle != "" {
		s.Handle = r.handle
	}
	if r.step == model.StepSync && !r.obj.Deleting() {
		s.Dependencies = r.used()
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
		// Also a wait that the source cannot see the end of (for another kind, for a choice that is
		// there already): the step has to look for itself.
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
			s.NextAttempt = after(r.now, min(FailedMax, wait.Jitter(failedWait(before.Failures), 0.1)))
		}
	}
	return s
}

// succeed is the outcome of a step that returned no error. It repeats why somebody asked for the run.
func (r run) succeed(s *model.StepStatus) {
	s.State, s.Code, s.Message = model.StateOK, model.CodeOK, messageOK
	s.LastSuccess = r.second()
	if reason := r.obj.Annotations[model.AnnotationRequestReason]; reason != "" && s.RequestedAt != "" && s.RequestedAt != r.before().RequestedAt {
		s.Message = truncate(messageOK + ", requested: " + reason)
	}
}

// used lists the dependencies that the sync was called with.
func (r run) used() (used []model.DependencyStatus) {
	for _, d := range r.n.Dependencies {
		if d.Object != nil {
			used = append(used, model.DependencyStatus{
				Kind: d.Kind.Kind, Name: d.Name, UID: string(d.Object.UID), Generation: d.Object.Generation})
		}
	}
	return used
}

// second is the time of the run as the API stores it.
func (r run) second() *metav1.Time { return &metav1.Time{Time: r.now.Truncate(time.Second)} }

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
