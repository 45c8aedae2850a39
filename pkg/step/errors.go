package step

import (
	"errors"
	"slices"
	"strings"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// deferredError, innocuousError, permanentError and waitError are the classes
// of errors that an engine tells apart, also when they are wrapped.
type (
	deferredError  struct{ message string }
	innocuousError struct{ error }
	permanentError struct{ error }
	waitError      struct {
		message string
		blocker model.Blocker
	}
)

func (e deferredError) Error() string  { return e.message }
func (e innocuousError) Unwrap() error { return e.error }
func (e permanentError) Unwrap() error { return e.error }
func (e waitError) Error() string      { return e.message }

// Deferred says that the work is still in progress and no error: the state is
// Deferred, the step is called again every 5 s (XOS: DeferredException, whose
// documentation promises that the wait does not grow).
func Deferred(message string) error { return deferredError{message} }

// Innocuous says that the work is done, with a warning: the state is OK with
// the error as message, and the step is called again after 1 min, 2 min, ...
// at most 8 h (XOS: InnocuousException). Innocuous(nil) is nil.
func Innocuous(err error) error {
	if err == nil {
		return nil
	}
	return innocuousError{err}
}

// Permanent says that trying again is of no use: the state is Failed, and the
// step is called again only after the spec has changed or somebody has asked
// for it. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// WaitForOne says that a policy cannot choose: the state is Waiting until
// exactly one object of the kind, which must be among those that the object's
// kind depends on, exists in the namespace. No pod runs meanwhile.
func WaitForOne(kind, message string) error {
	return waitError{message, model.Blocker{Kind: kind, Reason: model.BlockerAmbiguous}}
}

// joinedError is what several steps of one object came to: the message of all
// errors, and the class of the one that asks for most.
type joinedError struct {
	message string
	rules   error
}

func (e joinedError) Error() string { return e.message }
func (e joinedError) Unwrap() error { return e.rules }

// join makes one error of several, nil of none. An error of no class comes
// before all others, so that a failure is neither hidden nor given up because
// of what another step says; then what is to be tried again, then the rest.
func join(errs ...error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	messages := make([]string, len(errs))
	for i, err := range errs {
		messages[i] = err.Error()
	}
	rules := slices.MinFunc(errs, func(a, b error) int { return rank(a) - rank(b) })
	return joinedError{strings.Join(messages, "; "), rules}
}

// rank orders errors by what they ask for; the lowest one rules.
func rank(err error) int {
	if _, ok := as[deferredError](err); ok {
		return 1
	}
	if _, ok := as[waitError](err); ok {
		return 2
	}
	if _, ok := as[permanentError](err); ok {
		return 3
	}
	if _, ok := as[innocuousError](err); ok {
		return 4
	}
	return 0
}

// as is errors.As for a value.
func as[E error](err error) (E, bool) {
	var e E
	ok := errors.As(err, &e)
	return e, ok
}
