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
	// The waits of a line that fails again and again grow from minBackoff to maxBackoff.
	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second

	// All lines together are tried again at most retryRate times per second, after the first retryBurst: a sink that is away gets as
	// many requests whether a hundred or a hundred thousand events wait for it.
	retryRate  = rate.Limit(10)
	retryBurst = 100
)

// A backoff says how long a line waits after a failure. Lines that did not fail never wait.
type backoff struct {
	workqueue.TypedRateLimiter[store.Line] // of each line by itself

	all atomic.Pointer[rate.Limiter]
}

func newBackoff() *backoff {
	b := &backoff{TypedRateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[store.Line](minBackoff, maxBackoff)}
	b.forgetDebt()
	return b
}

// When implements workqueue.TypedRateLimiter.
func (b *backoff) When(line store.Line) time.Duration {
	own := b.TypedRateLimiter.When(line)
	// Shortened by up to a half, so that lines that failed together do not come back together.
	own -= rand.N(own/2 + 1)
	return max(own, b.all.Load().Reserve().Delay())
}

// forgetDebt lets lines come back as if none had failed lately.
func (b *backoff) forgetDebt() { b.all.Store(rate.NewLimiter(retryRate, retryBurst)) }
