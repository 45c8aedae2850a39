package step

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What the tests of package step_test need to know.
const (
	MaxRuns = maxRuns
	MaxSkew = maxSkew
)

func TestDeadlineIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		begin := time.Now()
		_, err := call(t.Context(), Deadline, func(context.Context) (string, error) { <-release; return "late", nil })
		if err == nil || !strings.Contains(err.Error(), "did not end within 25s") {
			t.Errorf("the function must not wait for a step that ignores its context, got %v", err)
		}
		if took := time.Since(begin); took != Deadline+time.Second {
			t.Errorf("want the deadline and one more second, got %v", took)
		}
		close(release)

		// The result of a step that ends within that second counts.
		handle, err := call(t.Context(), Deadline, func(ctx context.Context) (string, error) {
			<-ctx.Done()
			time.Sleep(time.Second / 2)
			return "just", nil
		})
		if handle != "just" || err != nil {
			t.Errorf("got %q, %v", handle, err)
		}
	})
}
