package model

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// conflicts is how often, and after which waits, a write that met another one is tried: 6 times
// within about a second.
var conflicts = wait.Backoff{Steps: 6, Duration: 10 * time.Millisecond, Factor: 2.5, Jitter: 0.5}

// retry calls fn again after a short wait while it says so, a few times at most, and returns fn's
// last error. fn must read the object that it changes again each time.
//
// If ctx ends during a wait the error is that of ctx, and it is no Conflict any more: a caller that
// takes a Conflict as "somebody else is at work" must not take the end of its own time for one.
// (client-go's RetryOnConflict must not be used here: when the context of the very first call ends,
// it returns no error, as if the change were made.)
func retry(ctx context.Context, fn func() (again bool, err error)) error {
	backoff := conflicts
	for {
		again, err := fn()
		if err == nil || !again || backoff.Steps <= 1 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (the last answer was: %v)", ctx.Err(), err)
		case <-time.After(backoff.Step()):
		}
	}
}
