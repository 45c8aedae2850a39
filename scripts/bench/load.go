package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/scripts/bench/job"
)

const (
	// clients is how many users write at a time.
	clients = 32
	// warm is how many models are made and deleted before anything is measured.
	warm = 20
	// pause is how long nothing happens before a single change.
	pause = 20 * time.Millisecond

	// The services: the first one is that of most instances, and changes.
	serviceOfMany, serviceOfRest = "many", "rest"
)

// load is one thing that is measured in a session.
type load func(ctx context.Context, s *session) (result, error)

// inParallel calls f for 0 to n-1, by all clients.
func inParallel(ctx context.Context, n int, f func(ctx context.Context, n int) error) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(clients)
	for k := range n {
		all.Go(func() error { return f(ctx, k) })
	}
	return all.Wait()
}

// condition says whether an instance is as it should be.
type condition func(i *instance, gone bool) bool

// greets is met by an instance that is ready and greets that guest.
func greets(to string) condition {
	return func(i *instance, gone bool) bool {
		return !gone && i.Spec.HelloTo == to && job.IsReady(&i.ObjectMeta, &i.Status)
	}
}

// follows is met by an instance that is ready and was synced with that generation of its service.
func follows(generation int64) condition {
	return func(i *instance, gone bool) bool {
		used := i.Status.Sync
		return !gone && used != nil && len(used.Dependencies) == 1 && used.Dependencies[0].Generation == generation && job.IsReady(&i.ObjectMeta, &i.Status)
	}
}

func isGone(_ *instance, gone bool) bool { return gone }

func instanceName(n int) string { return fmt.Sprintf("guest-%05d", n) }

// make creates instances that greet the same guest. The first of them belong to the service that changes later.
func (s *session) make(n int, to string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		return inParallel(ctx, n, func(ctx context.Context, k int) error {
			owner := &v1alpha1.OwnerReference{Name: serviceOfMany}
			if k >= s.bench.dependents {
				owner.Name = serviceOfRest
			}
			i := &instance{ObjectMeta: metav1.ObjectMeta{Name: instanceName(k)}, Spec: v1alpha1.HelloWorldServiceInstanceSpec{HelloTo: to, Owner: owner}}
			if err := s.create(ctx, instances, i); err != nil {
				return err
			}
			return s.sync(ctx, i)
		})
	}
}

// update changes an instance.
func (s *session) update(ctx context.Context, name, to string) error {
	i := &instance{}
	if err := s.patch(ctx, instances, name, fmt.Sprintf(`{"spec":{"helloTo":%q}}`, to), i); err != nil {
		return err
	}
	return s.sync(ctx, i)
}

func (s *session) deleteAll(all []*instance) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		return inParallel(ctx, len(all), func(ctx context.Context, n int) error {
			if err := s.delete(ctx, all[n].Name); err != nil {
				return err
			}
			return s.cleanUp(ctx, all[n])
		})
	}
}

// warmUp does the job a few times.
func (s *session) warmUp(ctx context.Context) error {
	if _, err := s.measure(ctx, "warm-up", warm, greets("Warm"), s.make(warm, "Warm")); err != nil {
		return err
	}
	_, err := s.measure(ctx, "warm-up", warm, isGone, s.deleteAll(s.watch.all()))
	return err
}

// newInstances makes n instances.
func newInstances(n int) load {
	return func(ctx context.Context, s *session) (result, error) {
		s.count = n
		return s.measure(ctx, "new", n, greets("Arya"), s.make(n, "Arya"))
	}
}

// changedInstances changes all of them.
func changedInstances(ctx context.Context, s *session) (result, error) {
	return s.measure(ctx, "changed", s.count, greets("Bran"), func(ctx context.Context) error {
		return inParallel(ctx, s.count, func(ctx context.Context, k int) error { return s.update(ctx, instanceName(k), "Bran") })
	})
}

// changedService changes the service of many once.
func changedService(ctx context.Context, s *session) (result, error) {
	dependents := s.dependents()
	return s.measure(ctx, "service changed", len(dependents), follows(2), func(ctx context.Context) error {
		o := &service{}
		if err := s.patch(ctx, services, serviceOfMany, `{"spec":{"helloFrom":"Sansa"}}`, o); err != nil {
			return err
		}
		if err := s.syncService(ctx, o); err != nil {
			return err
		}
		return inParallel(ctx, len(dependents), func(ctx context.Context, n int) error { return s.sync(ctx, dependents[n].DeepCopy()) })
	})
}

// dependents are the instances of the service of many.
func (s *session) dependents() (some []*instance) {
	for _, i := range s.watch.all() {
		if i.OwnerName() == serviceOfMany {
			some = append(some, i)
		}
	}
	return some
}

// deletedInstances deletes the instances of the service of many.
func deletedInstances(ctx context.Context, s *session) (result, error) {
	dependents := s.dependents()
	return s.measure(ctx, "deleted", len(dependents), isGone, s.deleteAll(dependents))
}

// singleChanges changes one instance after the other, each when the one before is ready.
func singleChanges(n int) load {
	return func(ctx context.Context, s *session) (result, error) {
		return s.measureEach(ctx, "changes, one at a time", n, func(context.Context) error { time.Sleep(pause); return nil })
	}
}

// changesFromZero does it while no function runs.
func changesFromZero(n int) load {
	return func(ctx context.Context, s *session) (result, error) {
		s.count = n
		if _, err := s.measure(ctx, "new", n, greets("Arya"), s.make(n, "Arya")); err != nil {
			return result{}, err
		}
		return s.measureEach(ctx, "changes, each from zero", n, s.untilZero)
	}
}

// pullRound asks pull once to compare all models with the greeter. It answers when the round has ended.
func pullRound(ctx context.Context, s *session) (result, error) {
	return s.around(ctx, "pull round", s.count, func(ctx context.Context) (time.Duration, []float64, error) {
		began := time.Now()
		resp, err := call(ctx, http.MethodPost, s.runner.address, pullPath, http.Header{
			"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/bench"}, "Ce-Type": {step.EventPing}})
		if err != nil {
			return 0, nil, err
		}
		return time.Since(began), nil, resp.Body.Close()
	})
}
