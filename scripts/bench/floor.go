package main

import (
	"context"
	"fmt"

	"github.com/xos-knative/synchronizer/scripts/bench/drive"
	"github.com/xos-knative/synchronizer/scripts/bench/job"
)

// What the driver itself does for a side without programs: the writes, and nothing else.

// sync does for an instance what has to be done.
func (s *session) sync(ctx context.Context, i *drive.Instance) error {
	if s.side.start != nil {
		return nil
	}
	if len(i.Finalizers) == 0 {
		if err := s.Patch(ctx, drive.Instances, i.Name, fmt.Sprintf(`{"metadata":{"finalizers":[%q]}}`, job.Finalizer), i); err != nil {
			return err
		}
	}
	owner := s.owners[i.OwnerName()]
	greeting, err := s.greeter.Put(ctx, string(i.UID), job.Greeting(i, owner))
	if err != nil {
		return err
	}
	job.SetStatus(i, job.Synced(i, owner, greeting.ID), job.OK(i.Generation))
	return s.PutStatus(ctx, drive.Instances, i.Name, i)
}

// cleanUp does it for one that was deleted since it was read.
func (s *session) cleanUp(ctx context.Context, i *drive.Instance) error {
	if s.side.start != nil {
		return nil
	}
	if err := s.greeter.Delete(ctx, string(i.UID), i.Generation+1); err != nil {
		return err
	}
	return s.Patch(ctx, drive.Instances, i.Name, `{"metadata":{"finalizers":null}}`, &drive.Instance{})
}

// syncService does it for a service, and remembers it.
func (s *session) syncService(ctx context.Context, o *drive.Service) error {
	if s.owners[o.Name] = o; s.side.start != nil {
		return nil
	}
	job.SetServiceStatus(o, job.OK(o.Generation))
	return s.PutStatus(ctx, drive.Services, o.Name, o)
}
