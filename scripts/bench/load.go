package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/xos-knative/synchronizer/scripts/bench/job"
)

// clients is how many users write at a time.
const clients = 32

// warm is how many models are made and deleted before anything is measured.
const warm = 20

// inParallel calls f for 0 to n-1, by all clients.
func inParallel(ctx context.Context, n int, f func(ctx context.Context, n int) error) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(clients)
	for k := range n {
		all.Go(func() error { return f(ctx, k) })
	}
	return all.Wait()
}

// greets is met by an instance that is ready and greets that guest.
func greets(to string) func(i *instance, gone bool) bool {
	return func(i *instance, gone bool) bool {
		return !gone && i.Spec.HelloTo == to && job.IsReady(&i.ObjectMeta, &i.Status)
	}
}

// warmUp does all of it a few times.
func (s *session) warmUp(ctx context.Context) error {
	_, err := s.measure(ctx, "warm-up", warm, greets("Warm"), func(ctx context.Context) error {
		return inParallel(ctx, warm, func(ctx context.Context, n int) error {
			return s.make(ctx, fmt.Sprintf("warm-%d", n), serviceOfRest, "Warm")
		})
	})
	if err != nil {
		return err
	}
	_, err = s.measure(ctx, "warm-up", warm, isGone, func(ctx context.Context) error { return s.deleteAll(ctx, s.watch.all()) })
	return err
}

func isGone(_ *instance, gone bool) bool { return gone }

// make creates an instance. The rest is up to the side.
func (s *session) make(ctx context.Context, name, owner, to string) error {
	i, err := s.create(ctx, name, owner, to)
	if err != nil || s.side.start != nil {
		return err
	}
	return s.sync(ctx, i)
}

// update changes an instance.
func (s *session) update(ctx context.Context, name, to string) error {
	i, err := s.change(ctx, name, to)
	if err != nil || s.side.start != nil {
		return err
	}
	return s.sync(ctx, i)
}

func (s *session) deleteAll(ctx context.Context, all []*instance) error {
	return inParallel(ctx, len(all), func(ctx context.Context, n int) error {
		if err := s.delete(ctx, all[n].Name); err != nil || s.side.start != nil {
			return err
		}
		return s.cleanUp(ctx, all[n])
	})
}

// newModels makes n instances. The first of them belong to the service that changes later.
func newModels(n int) load {
	return func(ctx context.Context, s *session) (result, error) {
		s.count = n
		return s.measure(ctx, "new", n, greets("Arya"), func(ctx context.Context) error {
			return inParallel(ctx, n, func(ctx context.Context, k int) error {
				owner := serviceOfMany
				if k >= s.bench.dependents {
					owner = serviceOfRest
				}
				return s.make(ctx, instanceName(k), owner, "Arya")
			})
		})
	}
}

// changedModels changes all of them.
func changedModels() load {
	return func(ctx context.Context, s *session) (result, error) {
		return s.measure(ctx, "changed", s.count, greets("Bran"), func(ctx context.Context) error {
			return inParallel(ctx, s.count, func(ctx context.Context, k int) error { return s.update(ctx, instanceName(k), "Bran") })
		})
	}
}

// changedService changes the service of many once.
func changedService() load {
	return func(ctx context.Context, s *session) (result, error) {
		before, err := s.service(ctx, serviceOfMany)
		if err != nil {
			return result{}, err
		}
		dependents := s.dependents()
		met := func(i *instance, gone bool) bool {
			return !gone && usesGeneration(i, before.Generation+1) && job.IsReady(&i.ObjectMeta, &i.Status)
		}
		return s.measure(ctx, "service changed", len(dependents), met, func(ctx context.Context) error {
			if _, err := s.changeService(ctx, serviceOfMany, "Sansa"); err != nil || s.side.start != nil {
				return err
			}
			if err := s.syncService(ctx, serviceOfMany); err != nil {
				return err
			}
			return inParallel(ctx, len(dependents), func(ctx context.Context, n int) error { return s.sync(ctx, dependents[n].DeepCopy()) })
		})
	}
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

// deletedModels deletes the instances of the service of many.
func deletedModels() load {
	return func(ctx context.Context, s *session) (result, error) {
		dependents := s.dependents()
		return s.measure(ctx, "deleted", len(dependents), isGone, func(ctx context.Context) error { return s.deleteAll(ctx, dependents) })
	}
}

// singleChanges changes one instance after the other, each when the one before is ready.
func singleChanges(name string, n int) load {
	return func(ctx context.Context, s *session) (result, error) {
		return s.measureEach(ctx, name, n, func(context.Context) error { time.Sleep(pause); return nil })
	}
}

// pause is how long nothing happens before a single change.
const pause = 20 * time.Millisecond

// changesFromZero does it while no function runs.
func changesFromZero(n int) load {
	return func(ctx context.Context, s *session) (result, error) {
		s.count = n
		if err := inParallel(ctx, n, func(ctx context.Context, k int) error {
			return s.make(ctx, instanceName(k), serviceOfRest, "Arya")
		}); err != nil {
			return result{}, err
		}
		return s.measureEach(ctx, "changes, each from zero", n, s.untilZero)
	}
}

// pullRound asks pull once to compare all models with the greeter.
func pullRound() load {
	return func(ctx context.Context, s *session) (result, error) {
		return s.measureCall(ctx, "pull round", s.count, func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.runner.address+"/pull", nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode/100 != 2 {
				text, _ := io.ReadAll(resp.Body)
				return fmt.Errorf("pull answered %s: %s", resp.Status, text)
			}
			return nil
		})
	}
}
