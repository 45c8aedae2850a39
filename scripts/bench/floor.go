package main

import (
	"context"
	"fmt"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/scripts/bench/job"
)

// What a side without programs of its own does: the writes, and nothing else.

// sync does for an instance what has to be done.
func (s *session) sync(ctx context.Context, i *instance) (err error) {
	if len(i.Finalizers) == 0 {
		if i, err = s.patch(ctx, i.Name, fmt.Sprintf(`{"metadata":{"finalizers":[%q]}}`, job.Finalizer)); err != nil {
			return err
		}
	}
	greeting, err := s.greeter.Put(ctx, string(i.UID), job.Greeting(i, s.known[i.OwnerName()]))
	if err != nil {
		return err
	}
	job.SetStatus(i, job.Synced(i, s.known[i.OwnerName()], greeting.ID), job.OK(i.Generation))
	return s.rest.Put().Namespace(namespace).Resource(instanceResource).Name(i.Name).SubResource("status").Body(i).Do(ctx).Error()
}

// cleanUp does it for one that was deleted.
func (s *session) cleanUp(ctx context.Context, i *instance) error {
	if err := s.greeter.Delete(ctx, string(i.UID), i.Generation+1); err != nil {
		return err
	}
	_, err := s.patch(ctx, i.Name, `{"metadata":{"finalizers":null}}`)
	return err
}

// syncService does it for a service, and remembers it.
func (s *session) syncService(ctx context.Context, name string) error {
	now, err := s.service(ctx, name)
	if err != nil {
		return err
	}
	part := job.OK(now.Generation)
	job.SetServiceStatus(now, part)
	s.known[name] = now
	return s.rest.Put().Namespace(namespace).Resource(serviceResource).Name(name).SubResource("status").Body(now).Do(ctx).Error()
}

// usesGeneration reports whether an instance was synced with this generation of its service.
func usesGeneration(i *instance, generation int64) bool {
	sync := i.Status.Step(model.StepSync)
	return sync != nil && len(sync.Dependencies) == 1 && sync.Dependencies[0].Generation == generation
}
