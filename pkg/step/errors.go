package step

import (
	"errors"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// class says what happens after an error. Of several errors the lowest class decides: the error of one
// step neither hides another's failure nor ends its retries.
type class int

const (
	failed    class = iota // Tried again after growing waits.
	deferred               // Tried again after a constant wait.
	waiting                // Called again when the wait ends.
	permanent              // Not tried again.
	warning                // Done, and called again much later.
)

// classified is an error with a class.
type classified struct {
	error
	class   class
	blocker model.Blocker // Of class waiting.
}

func (e classified) Unwrap() error { return e.error }

// Deferred says that the work is still in progress, which is not a failure: the state is Deferred, and
// the step is called again after 5 s (XOS: DeferredException, whose documentation promises that the
// wait does not grow).
func Deferred(message string) error {
	return classified{error: errors.New(message), class: deferred}
}

// Warning says that the work is done, with a warning: the state is OK with the error as message, and
// the step is called again after 1 min, 2 min, ... at most 8 h (XOS: InnocuousException).
// Warning(nil) is nil.
func Warning(err error) error { return classify(err, warning) }

// Permanent says that to try again is of no use: the state is Failed, and the step is called again only
// if the spec changes or somebody requests it. Permanent(nil) is nil.
func Permanent(err error) error { return classify(err, permanent) }

// WaitForOne says that a policy cannot choose: the state is Waiting until exactly one object of the
// kind is in the namespace. The object's kind must depend on that kind. No pod runs while it waits.
func WaitForOne(kind, message string) error {
	return classified{error: errors.New(message), class: waiting, blocker: model.Blocker{Kind: kind, Reason: model.BlockerAmbiguous}}
}

func classify(err error, c class) error {
	if err == nil {
		return nil
	}
	return classified{error: err, class: c}
}

// classOf finds the class of an error that can wrap others. Of joined errors (errors.Join, several %w)
// the lowest class decides. An error without a class is a failure.
func classOf(err error) classified {
	switch e := err.(type) {
	case classified:
		return e
	case interface{ Unwrap() error }:
		return classOf(e.Unwrap())
	case interface{ Unwrap() []error }:
		worst := classified{error: err, class: warning + 1}
		for _, inner := range e.Unwrap() {
			if c := classOf(inner); c.class < worst.class {
				worst = c
			}
		}
		if worst.class <= warning {
			return worst
		}
	}
	return classified{error: err, class: failed}
}
