package main

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/model"
)

type (
	service  = v1alpha1.HelloWorldService
	instance = v1alpha1.HelloWorldServiceInstance
)

// index is what a round remembers of the instances: some 300 bytes of each, so that a small pod can
// compare 100,000 of them.
type index struct {
	// ours has all instances by their UID, which is the id of their greeting.
	ours map[types.UID]*declared
	// mirrors has the instances that pull has made, by the id of the greeting that they were made of.
	mirrors map[string]mirror
}

// declared is an instance that the greeter may have a greeting of.
type declared struct {
	name string
	// want is the greeting that the greeter must have, nil if that is not settled.
	want *api.PutRequest
	// seen is true if the greeter has listed the greeting.
	seen bool
}

// mirror is an instance that was made of a greeting.
type mirror struct {
	shows text
	// follows is false if the instance no longer changes with the greeting.
	follows bool
}

// text is what a mirror takes from its greeting.
type text struct{ name, helloTo string }

func (p Greetings) services() model.Models[*service]   { return model.For[*service](p.Models) }
func (p Greetings) instances() model.Models[*instance] { return model.For[*instance](p.Models) }

// index reads the instances and their services, page by page.
func (p Greetings) index(ctx context.Context) (*index, error) {
	services := map[string]*service{}
	err := p.services().Each(ctx, p.Namespace, model.Filter{}, func(s *service) error {
		services[s.Name] = &service{ // Without status and managed fields, which take the most memory.
			ObjectMeta: metav1.ObjectMeta{UID: s.UID, Generation: s.Generation, DeletionTimestamp: s.DeletionTimestamp},
			Spec:       s.Spec,
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	known := &index{ours: map[types.UID]*declared{}, mirrors: map[string]mirror{}}
	err = p.instances().Each(ctx, p.Namespace, model.Filter{}, func(i *instance) error {
		known.ours[i.UID] = &declared{name: i.Name, want: required(i, services[i.OwnerName()])}
		if id, ok := i.Annotations[hello.AnnotationGreetingID]; ok && i.Name == hello.MirrorName(id) {
			known.mirrors[id] = mirror{
				shows:   text{i.Spec.Name, i.Spec.HelloTo},
				follows: hello.Mirrors(i) && i.DeletionTimestamp.IsZero(),
			}
		}
		return nil
	})
	return known, err
}

// required is the greeting that the greeter must have for an instance. It is nil if that is not settled:
// if the instance is not synced as it is now, from the service as it is now, or will be synced again.
// A greeting that differs then is no drift.
func required(i *instance, s *service) *api.PutRequest {
	if !i.DeletionTimestamp.IsZero() || model.Paused(i) || model.OptedOut(i, model.StepSync) {
		return nil
	}
	status := i.Status.Sync
	if status == nil || status.State != model.StateOK || status.Generation != i.Generation {
		return nil
	}
	if asked := i.Annotations[model.AnnotationRequestedAt]; asked != "" && asked != status.RequestedAt {
		return nil
	}
	if s == nil || !s.DeletionTimestamp.IsZero() || !slices.ContainsFunc(status.Dependencies, func(d model.DependencyStatus) bool {
		return d.UID == string(s.UID) && d.Generation == s.Generation
	}) {
		return nil
	}
	greeting := hello.GreetingOf(i, s)
	return &greeting
}
