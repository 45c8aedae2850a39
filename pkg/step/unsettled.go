package step

import (
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// Steps can wake each other: a policy changes an object, whose sync reports something, which wakes the
// policy. That ends when nothing changes any more. If it does not, nobody would notice more than load.
const (
	// maxUnsettled is how many runs in a row may change models before the step counts as one that never
	// settles.
	maxUnsettled = 100
	// unsettledPause is the time between two runs after which that count starts again.
	unsettledPause = 10 * time.Second
)

// errUnsettled is the outcome of a step that never settles.
var errUnsettled = fmt.Errorf("the step does not settle: each of its last %d runs changed models, and was woken again within %s; it is called again at the next attempt, or when somebody asks for it", maxUnsettled, unsettledPause)

// unsettled is how many runs in a row have changed models, with this one.
func (r run) unsettled() int32 {
	before, wrote := r.before(), r.wrote
	if r.own != nil && !wrote {
		_, _, _, wrote = r.own.Seen()
	}
	switch {
	case !wrote:
		return 0
	case errors.Is(r.err, errUnsettled):
		return maxUnsettled + 1 // It was woken again, and not called.
	case before.Unsettled > maxUnsettled:
		return maxUnsettled
	case before.Unsettled == maxUnsettled:
		return 1 // Nothing has woken it since its last attempt.
	}
	for _, last := range []*metav1.Time{before.LastSuccess, before.LastFailure} {
		if last != nil && r.now.Sub(last.Time) < unsettledPause+time.Second { // They are stored in whole seconds.
			return before.Unsettled + 1
		}
	}
	return 1
}

// restless reports whether the step must not be called now, although something has changed: it does not
// settle, and its next attempt is not due.
func (e *engine) restless(o *observation, v model.Verdict) bool {
	status := o.obj.Status.Step(e.step)
	if status == nil || status.Unsettled < maxUnsettled || o.obj.Deleting() || v.Reason == model.DueRequested || v.Reason == model.DueRetry {
		return false
	}
	return status.NextAttempt != nil && e.now(o).Before(status.NextAttempt.Time)
}
