package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/pkg/model"
)

type (
	service  = v1alpha1.HelloWorldService
	instance = v1alpha1.HelloWorldServiceInstance
)

const (
	// guests and hosts are how many instances and services a user has.
	guests, hosts = 8, 3
	// home is a service that always stays.
	home = "home"
	// unwelcome is a guest whose instances the policy deletes.
	unwelcome = "Tyrion Lannister"
	// thinking is the mean time between two changes of a user.
	thinking = 150 * time.Millisecond
)

// user changes some models, which nobody else does.
type user struct {
	world *world
	// prefix is that of the names of its models.
	prefix  string
	rng     *rand.Rand
	changes *tally
	// to and from are what is declared of instances and services: whom they greet, and in whose name. What is not in them
	// is not to be there.
	to, from map[string]string
	n        int
}

func newUser(w *world, prefix string, seed uint64, changes *tally) *user {
	return &user{world: w, prefix: prefix, rng: rand.New(rand.NewPCG(seed, 2)), changes: changes,
		to: map[string]string{}, from: map[string]string{}}
}

// run goes on until ctx ends.
func (u *user) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(u.rng.ExpFloat64() * float64(thinking))):
		}
		// A change is made as a whole, so that it is known what is declared.
		if err := u.change(context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("%s: %w", u.prefix, err)
		}
	}
}

// text is another one each time.
func (u *user) text() string {
	u.n++
	return fmt.Sprintf("%s %d", u.prefix, u.n)
}

func (u *user) anyHost() string {
	if n := u.rng.IntN(hosts + 1); n > 0 {
		return fmt.Sprintf("%s-host-%d", u.prefix, n)
	}
	return home
}

func (u *user) change(ctx context.Context) error {
	if u.rng.IntN(5) == 0 {
		return u.changeHost(ctx, fmt.Sprintf("%s-host-%d", u.prefix, 1+u.rng.IntN(hosts)))
	}
	name := fmt.Sprintf("%s-guest-%d", u.prefix, u.rng.IntN(guests))
	if _, ok := u.to[name]; !ok {
		return u.invite(ctx, name)
	}
	annotate := func(key string) error {
		return u.modify(ctx, name, "instance paused, opted out, back or asked for", func(i *instance) {
			value := "true"
			if key == model.AnnotationRequestedAt {
				value = u.text()
			} else if i.Annotations[key] == value {
				value = "false"
			}
			metav1.SetMetaDataAnnotation(&i.ObjectMeta, key, value)
		})
	}
	switch u.rng.IntN(14) {
	case 0, 1, 7:
		return u.dismiss(ctx, name)
	case 2:
		owner := u.anyHost()
		return u.modify(ctx, name, "instance moved to another service", func(i *instance) {
			i.Spec.Owner = &v1alpha1.OwnerReference{Name: owner}
		})
	case 3:
		return u.replace(ctx, name)
	case 4:
		return annotate(model.AnnotationPaused)
	case 5:
		return annotate(model.AnnotationNoSync)
	case 6:
		return annotate(model.AnnotationRequestedAt)
	default:
		return u.modify(ctx, name, "instance changed", func(i *instance) {
			u.to[name] = u.text()
			i.Spec.HelloTo = u.to[name]
		})
	}
}

// invite creates an instance, unless one of its name is still there.
func (u *user) invite(ctx context.Context, name string) error {
	to, owner := u.text(), u.anyHost()
	_, err := u.world.instances.Create(ctx, &instance{ObjectMeta: meta(name), Spec: v1alpha1.HelloWorldServiceInstanceSpec{
		HelloTo: to, Owner: &v1alpha1.OwnerReference{Name: owner}}})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		u.changes.add("instance created")
		u.to[name] = to
	}
	return err
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func (u *user) modify(ctx context.Context, name, what string, change func(*instance)) error {
	_, _, err := u.world.instances.Modify(ctx, namespace, name, func(i *instance) error {
		change(i)
		return nil
	})
	if err == nil {
		u.changes.add(what)
	}
	return err
}

// dismiss deletes an instance, or has its policy do so. One whose finalizer somebody has removed is let alone until that is
// back: it would go without a clean-up, which only pull could make up for.
func (u *user) dismiss(ctx context.Context, name string) error {
	i, err := u.world.instances.Get(ctx, namespace, name)
	if err != nil {
		return err
	}
	if i.Status.Sync != nil && i.Status.Sync.Finalizer && !hasFinalizer(i) {
		return nil
	}
	if u.rng.IntN(3) == 0 {
		err = u.modify(ctx, name, "instance made unwelcome: its policy deletes it", func(i *instance) { i.Spec.HelloTo = unwelcome })
	} else if err = u.world.instances.Delete(ctx, i); err == nil {
		u.changes.add("instance deleted")
	}
	if err == nil {
		delete(u.to, name)
	}
	return err
}

func hasFinalizer(i *instance) bool {
	for _, f := range i.Finalizers {
		if f == model.StepSync.Finalizer() {
			return true
		}
	}
	return false
}

// replace is kubectl replace -f with a manifest that knows of no finalizers and annotations.
func (u *user) replace(ctx context.Context, name string) error {
	to := u.text()
	for {
		o, err := u.world.read(ctx, namespace, name)
		if err != nil {
			return err
		}
		o.SetFinalizers(nil)
		o.SetAnnotations(nil)
		_ = unstructured.SetNestedField(o.Object, to, "spec", "helloTo")
		if err = u.world.write(ctx, o); apierrors.IsConflict(err) {
			continue
		}
		if err == nil {
			u.changes.add("instance replaced, without its finalizers")
			u.to[name] = to
		}
		return err
	}
}

// changeHost creates, changes or deletes a service.
func (u *user) changeHost(ctx context.Context, name string) error {
	if _, ok := u.from[name]; !ok {
		return u.host(ctx, name)
	}
	if u.rng.IntN(3) == 0 {
		u.changes.add("service deleted, if only after its instances")
		delete(u.from, name)
		return u.world.services.Delete(ctx, &service{ObjectMeta: meta(name)})
	}
	from := u.text()
	_, _, err := u.world.services.Modify(ctx, namespace, name, func(s *service) error {
		s.Spec.HelloFrom = from
		return nil
	})
	if err == nil {
		u.changes.add("service changed, with all its instances")
		u.from[name] = from
	}
	return err
}

// host creates a service, unless one of its name is still there.
func (u *user) host(ctx context.Context, name string) error {
	from := u.text()
	_, err := u.world.services.Create(ctx, &service{ObjectMeta: meta(name), Spec: v1alpha1.HelloWorldServiceSpec{HelloFrom: from}})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		u.changes.add("service created")
		u.from[name] = from
	}
	return err
}

// settle ends what only users can end: no object stays paused or opted out, and each instance belongs to a service that is
// to be there.
func settle(ctx context.Context, w *world, users []*user, changes *tally) error {
	from := map[string]bool{}
	for _, u := range users {
		for name := range u.from {
			from[name] = true
		}
	}
	return w.instances.Each(ctx, namespace, model.Filter{}, func(i *instance) error {
		_, op, err := w.instances.Modify(ctx, namespace, i.Name, func(i *instance) error {
			delete(i.Annotations, model.AnnotationPaused)
			if i.Annotations[model.AnnotationMirrors] == "" {
				delete(i.Annotations, model.AnnotationNoSync)
			}
			if i.DeletionTimestamp.IsZero() && !from[i.OwnerName()] {
				i.Spec.Owner = &v1alpha1.OwnerReference{Name: home}
			}
			return nil
		})
		if op == model.Updated {
			changes.add("instance settled in the end")
		}
		if model.IsGone(err) {
			return nil
		}
		return err
	})
}

// visitor is a user of the greeter, who knows nothing of models.
type visitor struct {
	world    *world
	rng      *rand.Rand
	changes  *tally
	accepted []string // the names of greetings that the greeter has accepted
	own      []string // the ids of greetings that are the greeter's own
}

// run goes on until ctx ends: it asks for greetings, and has the greeter keep some of its own.
func (v *visitor) run(ctx context.Context) error {
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(v.rng.ExpFloat64() * float64(4*thinking))):
		}
		name := fmt.Sprintf("Visitor %d", n)
		switch {
		case n%10 == 9:
			id := fmt.Sprintf("own-%d", n)
			if _, err := v.world.greeter.Put(ctx, id, api.PutRequest{Name: name, HelloTo: name}); err == nil {
				v.own = append(v.own, id)
				v.changes.add("greeting of the greeter's own")
			}
		case n%25 == 13:
			v.world.tick(ctx)
			v.changes.add("tick of pull")
		case n%5 == 1:
			// There are several services, so the policy does not choose.
			if err := v.welcome(context.WithoutCancel(ctx)); err != nil {
				return err
			}
		default:
			if v.request(ctx, api.Request{Name: name, HelloTo: name}) {
				v.accepted = append(v.accepted, name)
				v.changes.add("greeting asked for, becomes an instance by an event")
			}
		}
	}
}

// request reports whether the greeter has accepted a request.
func (v *visitor) request(ctx context.Context, r api.Request) bool {
	body, err := json.Marshal(r)
	if err != nil {
		return false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, greeterURL+"/greetings", bytes.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := v.world.http.Do(req)
	if err != nil {
		return false // The greeter was killed or stopped. It may have accepted the request.
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusCreated
}

// welcome gives an owner to what was made of requests.
func (v *visitor) welcome(ctx context.Context) error {
	return v.world.instances.Each(ctx, namespace, model.Filter{}, func(i *instance) error {
		if i.Spec.Owner != nil || !i.DeletionTimestamp.IsZero() {
			return nil
		}
		_, _, err := v.world.instances.Modify(ctx, namespace, i.Name, func(i *instance) error {
			i.Spec.Owner = &v1alpha1.OwnerReference{Name: home}
			return nil
		})
		if err == nil {
			v.changes.add("instance of a visitor given to a service")
		}
		if model.IsGone(err) {
			return nil
		}
		return err
	})
}
