package outbox

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/client-go/util/workqueue"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/store"
)

const (
	// A line that fails again and again waits from minBackoff up to maxBackoff.
	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second

	// All lines together are tried again at most retryRate times per second, after the first
	// retryBurst. So a sink that is down gets no more requests if more events wait for it.
	retryRate  = rate.Limit(10)
	retryBurst = 100
)

// backoff says how long a line waits after a failure. Lines that did not fail do not wait.
type backoff struct {
	// TypedRateLimiter is for each line by itself.
	workqueue.TypedRateLimiter[store.Line]
	// all is for all lines together.
	all atomic.Pointer[rate.Limiter]
}

func newBackoff() *backoff {
	b := &backoff{TypedRateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[store.Line](minBackoff, maxBackoff)}
	b.reset()
	return b
}

// When implements workqueue.TypedRateLimiter.
func (b *backoff) When(line store.Line) time.Duration {
	own := b.TypedRateLimiter.When(line)
	// Up to a half less, so that lines that failed together are not tried again together.
	own -= rand.N(own/2 + 1)
	return max(own, b.all.Load().Reserve().Delay())
}

// reset forgets how many lines have failed.
func (b *backoff) reset() { b.all.Store(rate.NewLimiter(retryRate, retryBurst)) }
