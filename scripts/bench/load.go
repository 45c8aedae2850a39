package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/scripts/bench/drive"
	"github.com/xos-knative/synchronizer/scripts/bench/job"
	"github.com/xos-knative/synchronizer/scripts/bench/report"
)

const (
	// warm is how many models are made and deleted before anything is measured.
	warm = 20
	// pause is how long nothing happens before a single change.
	pause = 20 * time.Millisecond

	// The services: the first one is that of most instances, and changes.
	serviceOfMany, serviceOfRest = "many", "rest"
)

// load is one thing that is measured in a session.
type load func(ctx context.Context, s *session) (report.Result, error)

// follows is met by an instance that is ready and was synced with that generation of its service.
func follows(generation int64) drive.Condition {
	return func(i *drive.Instance, gone bool) bool {
		used := i.Status.Sync
		return !gone && used != nil && len(used.Dependencies) == 1 && used.Dependencies[0].Generation == generation && job.IsReady(&i.ObjectMeta, &i.Status)
	}
}

// make creates instances that greet the same guest. The first of them belong to the service that changes later.
func (s *session) make(n int, to string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		return drive.InParallel(ctx, n, func(ctx context.Context, k int) error {
			owner := &v1alpha1.OwnerReference{Name: serviceOfMany}
			if k >= s.bench.dependents {
				owner.Name = serviceOfRest
			}
			i := &drive.Instance{ObjectMeta: metav1.ObjectMeta{Name: drive.InstanceName(k)}, Spec: v1alpha1.HelloWorldServiceInstanceSpec{HelloTo: to, Owner: owner}}
			if err := s.Create(ctx, drive.Instances, i); err != nil {
				return err
			}
			return s.sync(ctx, i)
		})
	}
}

// update changes an instance.
func (s *session) update(ctx context.Context, name, to string) error {
	i := &drive.Instance{}
	if err := s.Patch(ctx, drive.Instances, name, fmt.Sprintf(`{"spec":{"helloTo":%q}}`, to), i); err != nil {
		return err
	}
	return s.sync(ctx, i)
}

func (s *session) deleteAll(all []*drive.Instance) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		return drive.InParallel(ctx, len(all), func(ctx context.Context, n int) error {
			if err := s.Delete(ctx, all[n].Name); err != nil {
				return err
			}
			return s.cleanUp(ctx, all[n])
		})
	}
}

// warmUp does the job a few times.
func (s *session) warmUp(ctx context.Context) error {
	if _, err := s.measure(ctx, "warm-up", warm, drive.Greets("Warm"), s.make(warm, "Warm")); err != nil {
		return err
	}
	_, err := s.measure(ctx, "warm-up", warm, drive.IsGone, s.deleteAll(s.watch.All()))
	return err
}

// newInstances makes n instances.
func newInstances(n int) load {
	return func(ctx context.Context, s *session) (report.Result, error) {
		s.count = n
		return s.measure(ctx, "new", n, drive.Greets("Arya"), s.make(n, "Arya"))
	}
}

// changedInstances changes all of them.
func changedInstances(ctx context.Context, s *session) (report.Result, error) {
	return s.measure(ctx, "changed", s.count, drive.Greets("Bran"), func(ctx context.Context) error {
		return drive.InParallel(ctx, s.count, func(ctx context.Context, k int) error { return s.update(ctx, drive.InstanceName(k), "Bran") })
	})
}

// changedService changes the service of many once.
func changedService(ctx context.Context, s *session) (report.Result, error) {
	dependents := s.dependents()
	return s.measure(ctx, "service changed", len(dependents), follows(2), func(ctx context.Context) error {
		o := &drive.Service{}
		if err := s.Patch(ctx, drive.Services, serviceOfMany, `{"spec":{"helloFrom":"Sansa"}}`, o); err != nil {
			return err
		}
		if err := s.syncService(ctx, o); err != nil {
			return err
		}
		return drive.InParallel(ctx, len(dependents), func(ctx context.Context, n int) error { return s.sync(ctx, dependents[n].DeepCopy()) })
	})
}

// dependents are the instances of the service of many.
func (s *session) dependents() (some []*drive.Instance) {
	for _, i := range s.watch.All() {
		if i.OwnerName() == serviceOfMany {
			some = append(some, i)
		}
	}
	return some
}

// deletedInstances deletes the instances of the service of many.
func deletedInstances(ctx context.Context, s *session) (report.Result, error) {
	dependents := s.dependents()
	return s.measure(ctx, "deleted", len(dependents), drive.IsGone, s.deleteAll(dependents))
}

// singleChanges changes one instance after the other, each when the one before is ready.
func singleChanges(n int) load {
	return func(ctx context.Context, s *session) (report.Result, error) {
		return s.measureEach(ctx, "changes, one at a time", n, func(context.Context) error { time.Sleep(pause); return nil })
	}
}

// changesFromZero does it while no function runs.
func changesFromZero(n int) load {
	return func(ctx context.Context, s *session) (report.Result, error) {
		s.count = n
		if _, err := s.measure(ctx, "new", n, drive.Greets("Arya"), s.make(n, "Arya")); err != nil {
			return report.Result{}, err
		}
		return s.measureEach(ctx, "changes, each from zero", n, s.untilZero)
	}
}

// pullRound asks pull once to compare all models with the greeter. It answers when the round has ended.
func pullRound(ctx context.Context, s *session) (report.Result, error) {
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
