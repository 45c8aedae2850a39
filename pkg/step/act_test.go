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
			t.Errorf("a step that does not heed its context must not hold up the function, got %v", err)
		}
		if took := time.Since(begin); took != Deadline+time.Second {
			t.Errorf("want its deadline and a second of grace, got %v", took)
		}
		close(release)

		// One that ends within the grace is heard.
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
