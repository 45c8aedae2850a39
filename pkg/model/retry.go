package model

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
)

// conflicts is how often, and after which waits, a change that met another one
// is tried: 6 times within about a second.
var conflicts = wait.Backoff{Steps: 6, Duration: 10 * time.Millisecond, Factor: 2.5, Jitter: 0.5}

// RetryOnConflict calls fn again after a short wait while it returns a
// Conflict, a few times at most, and returns fn's last error. fn must read the
// object that it changes anew each time.
//
// client-go's function of that name must not be used here: when the context of
// the very first call ends, it returns no error, as if the change were made.
func RetryOnConflict(ctx context.Context, fn func() error) error {
	return retry(ctx, apierrors.IsConflict, fn)
}

func retry(ctx context.Context, again func(error) bool, fn func() error) error {
	backoff := conflicts
	for {
		err := fn()
		if err == nil || !again(err) || backoff.Steps <= 1 {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(backoff.Step()):
		}
	}
}
