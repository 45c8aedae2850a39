package outbox

import (
	"testing"
	"time"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/store"
)

func TestBackoff(t *testing.T) {
	b := newBackoff()
	line := store.Line{1}
	for _, want := range []time.Duration{minBackoff, 2 * minBackoff, 4 * minBackoff, 8 * minBackoff} {
		if got := b.When(line); got < want/2 || got > want {
			t.Errorf("the wait of a line grows: got %s, want %s, or up to a half less", got, want)
		}
	}
	for range 20 {
		if got := b.When(line); got > maxBackoff {
			t.Errorf("but not forever: got %s, want at most %s", got, maxBackoff)
		}
	}
	b.Forget(line)
	if got := b.When(line); got > minBackoff {
		t.Errorf("after a success the wait of a line is short again: got %s, want at most %s", got, minBackoff)
	}

	const lines = 10_000
	var last time.Duration
	for i := range lines {
		last = b.When(store.Line{2, byte(i), byte(i >> 8)})
	}
	if want := time.Second * (lines - 2*retryBurst) / time.Duration(retryRate); last < want {
		t.Errorf("many lines are spread over time: the last one waits %s, want at least %s", last, want)
	}
	b.reset()
	if got := b.When(store.Line{3}); got > minBackoff {
		t.Errorf("after a recovery a line waits because of its own failures only: got %s, want at most %s", got, minBackoff)
	}
}
