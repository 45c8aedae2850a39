package main

import (
	"context"
	"crypto/sha256"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// index is what a round remembers of the instances: some 200 bytes of each, so
// that any number that the API can hold fits into a small pod.
type index struct {
	// ours is keyed by the instances' UID, which is the id of their greeting.
	ours map[types.UID]*declared
	// mirrors is keyed by the id of the greeting that was pulled.
	mirrors map[string]mirror
}

// declared is an instance whose greeting is ours to keep.
type declared struct {
	name       string
	generation int64
	// says is what its greeting should say; only of one that is settled.
	says    digest
	settled bool
	// seen tells that the greeter listed its greeting.
	seen bool
}

// mirror is an instance that was made of a greeting.
type mirror struct {
	says digest
	// follows tells that it goes on being made like the greeting.
	follows bool
}

// digest stands for texts that are only compared.
type digest [16]byte

func digestOf(texts ...string) digest {
	h := sha256.New()
	for _, t := range texts {
		h.Write([]byte(t))
		h.Write([]byte{0xff}) // In no UTF-8 text, so that none can hide a border.
	}
	return digest(h.Sum(nil)[:16])
}

// matches tells whether the greeting is as the instance says. It asks what
// [difference] asks, of less.
func (d *declared) matches(g api.Greeting) bool {
	return g.Model != nil && g.Model.UID == g.ID && g.Generation >= d.generation && d.says == digestOf(g.Name, g.HelloFrom, g.HelloTo)
}

// index reads the instances and their services, page by page.
func (p Greetings) index(ctx context.Context) (*index, error) {
	services := map[string]*v1alpha1.HelloWorldService{}
	err := model.For[*v1alpha1.HelloWorldService](p.Models).Each(ctx, p.Namespace, model.Filter{}, func(s *v1alpha1.HelloWorldService) error {
		services[s.Name] = &v1alpha1.HelloWorldService{ // Without status and managed fields.
			ObjectMeta: metav1.ObjectMeta{UID: s.UID, Generation: s.Generation, DeletionTimestamp: s.DeletionTimestamp},
			Spec:       s.Spec,
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	all := &index{ours: map[types.UID]*declared{}, mirrors: map[string]mirror{}}
	return all, model.For[*v1alpha1.HelloWorldServiceInstance](p.Models).Each(ctx, p.Namespace, model.Filter{}, func(i *v1alpha1.HelloWorldServiceInstance) error {
		d := &declared{name: i.Name, generation: i.Generation}
		if service := services[i.OwnerName()]; settled(i, service) {
			want := hello.GreetingOf(i, service)
			d.settled, d.says = true, digestOf(want.Name, want.HelloFrom, want.HelloTo)
		}
		all.ours[i.UID] = d
		if id, ok := i.Annotations[hello.AnnotationGreetingID]; ok && i.Name == hello.MirrorName(id) {
			all.mirrors[id] = mirror{
				says:    digestOf(i.Spec.Name, i.Spec.HelloTo),
				follows: hello.Mirrors(i) && i.DeletionTimestamp.IsZero(),
			}
		}
		return nil
	})
}

// settled tells whether the greeter must have what the instance says: it was
// synced as it is now, from the service as it is now, and nothing is under way.
// Of any other instance a greeting that differs is no drift.
func settled(i *v1alpha1.HelloWorldServiceInstance, service *v1alpha1.HelloWorldService) bool {
	if !i.DeletionTimestamp.IsZero() || model.Paused(i) || model.OptedOut(i, model.StepSync) {
		return false
	}
	status := i.Status.Sync
	if status == nil || status.State != model.StateOK || status.Generation != i.Generation {
		return false
	}
	if asked := i.Annotations[model.AnnotationRequestedAt]; asked != "" && asked != status.RequestedAt {
		return false
	}
	if service == nil || !service.DeletionTimestamp.IsZero() {
		return false
	}
	for _, d := range status.Dependencies {
		if d.UID == string(service.UID) && d.Generation == service.Generation {
			return true
		}
	}
	return false
}
