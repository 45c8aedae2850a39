package drive

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/xos-knative/synchronizer/scripts/bench/job"
)

// Clients is how many users write at a time.
const Clients = 32

// InParallel calls f for 0 to n-1, by all clients.
func InParallel(ctx context.Context, n int, f func(ctx context.Context, n int) error) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(Clients)
	for k := range n {
		all.Go(func() error { return f(ctx, k) })
	}
	return all.Wait()
}

// Condition says whether an instance is as it should be.
type Condition func(i *Instance, gone bool) bool

// Greets is met by an instance that is ready and greets that guest.
func Greets(to string) Condition {
	return func(i *Instance, gone bool) bool {
		return !gone && i.Spec.HelloTo == to && job.IsReady(&i.ObjectMeta, &i.Status)
	}
}

// IsGone is met by an instance that is deleted and cleaned up.
func IsGone(_ *Instance, gone bool) bool { return gone }

// InstanceName is the name of the instance with a number.
func InstanceName(n int) string { return fmt.Sprintf("guest-%05d", n) }
