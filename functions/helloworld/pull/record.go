package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// adopt makes the mirror of a greeting of the greeter's own, or changes it with the greeting.
func (p Greetings) adopt(ctx context.Context, g api.Greeting) (step.PullResult, error) {
	objectName, shows := hello.MirrorName(g.ID), shown(g)
	made, op, err := p.instances().CreateOrModify(ctx, p.Namespace, objectName, func(live *instance) error {
		if live.UID == "" {
			live.Annotations = map[string]string{
				// Otherwise sync would push back what was just read (XOS: no_sync).
				model.AnnotationNoSync:     "true",
				hello.AnnotationGreetingID: g.ID,
			}
		}
		if id := live.Annotations[hello.AnnotationGreetingID]; id != g.ID {
			return fmt.Errorf("HelloWorldServiceInstance %s/%s has the name of the greeting's mirror: expected annotation %s to be %q, got %q",
				p.Namespace, objectName, hello.AnnotationGreetingID, g.ID, id)
		}
		if hello.Mirrors(live) && live.DeletionTimestamp.IsZero() {
			live.Spec.Name, live.Spec.HelloTo = shows.name, shows.helloTo
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	log := logging.FromContext(ctx).With(zap.String("greeting", g.ID), zap.String("name", objectName), zap.String("helloTo", g.HelloTo))
	switch op {
	case model.Created:
		log.Infow("Adopted")
		step.Event(ctx, made, "Adopted", "made of the greeter's own greeting %s", g.ID)
		return step.PullCreated, nil
	case model.Updated:
		log.Infow("The mirror is updated")
		return step.PullUpdated, nil
	}
	return step.PullUnchanged, nil
}

// shown is what the mirror of a greeting takes from it. The model refuses a blank name, which the
// greeter accepts: the mirror then has none.
func shown(g api.Greeting) text {
	if strings.TrimSpace(g.Name) == "" {
		return text{"", g.HelloTo}
	}
	return text{g.Name, g.HelloTo}
}

// remove deletes a greeting whose instance is gone.
func (p Greetings) remove(ctx context.Context, g api.Greeting) (step.PullResult, error) {
	live, err := p.instances().Get(ctx, p.Namespace, g.Model.Name)
	if ignoreNotFound(err) != nil {
		return "", err
	}
	if err == nil && string(live.UID) == g.Model.UID {
		return step.PullUnchanged, nil // It was created after the index was read.
	}
	// With the generation, so that a late sync cannot bring it back.
	if err := p.Greeter.Delete(ctx, g.ID, g.Generation); err != nil {
		return "", err
	}
	logging.FromContext(ctx).Infow("Removed: its model is gone", zap.String("greeting", g.ID), zap.String("name", g.Model.Name))
	return step.PullOrphaned, nil
}

// repair asks for a sync of an instance whose greeting is missing or different.
func (p Greetings) repair(ctx context.Context, name string, uid types.UID) (step.PullResult, error) {
	i, want, err := p.read(ctx, name, uid)
	if err != nil || want == nil {
		return step.PullUnchanged, err
	}
	greeting, err := p.Greeter.Get(ctx, hello.GreetingID(i))
	if err != nil && !client.IsNotFound(err) {
		return "", err
	}
	reason := difference(greeting, want)
	if reason == "" {
		return step.PullUnchanged, nil
	}
	metav1.SetMetaDataAnnotation(&i.ObjectMeta, model.AnnotationRequestedAt, time.Now().UTC().Format(time.RFC3339Nano))
	metav1.SetMetaDataAnnotation(&i.ObjectMeta, model.AnnotationRequestReason, "pull: "+reason)
	_, _, err = p.instances().Update(ctx, i)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return step.PullUnchanged, nil // Somebody has just changed it; the next round looks again.
	}
	if err != nil {
		return "", err
	}
	step.Event(ctx, i, "Drifted", "%s: it is synced again", reason)
	logging.FromContext(ctx).Infow("Drift", zap.String("name", name), zap.String("reason", reason))
	return step.PullDrifted, nil
}

// read reads an instance again, and its service. It returns no greeting if the instance is gone or
// not settled.
func (p Greetings) read(ctx context.Context, name string, uid types.UID) (*instance, *api.PutRequest, error) {
	i, err := p.instances().Get(ctx, p.Namespace, name)
	if err != nil || i.UID != uid || i.OwnerName() == "" {
		return nil, nil, ignoreNotFound(err)
	}
	s, err := p.services().Get(ctx, p.Namespace, i.OwnerName())
	if err != nil {
		return nil, nil, ignoreNotFound(err)
	}
	return i, required(i, s), nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// difference says how a greeting differs from the one that its instance wants; empty if it does not.
func difference(g *api.Greeting, want *api.PutRequest) string {
	switch {
	case g == nil:
		return "the greeting was missing"
	case g.HelloTo != want.HelloTo:
		return fmt.Sprintf("hello_to of the greeting was changed to %q", g.HelloTo)
	case g.HelloFrom != want.HelloFrom:
		return fmt.Sprintf("hello_from of the greeting was changed to %q", g.HelloFrom)
	case g.Name != want.Name:
		return fmt.Sprintf("name of the greeting was changed to %q", g.Name)
	case g.Model == nil || g.Model.UID != want.Model.UID:
		return "the greeting was no longer marked as that of its model"
	case g.Generation < want.Generation:
		return fmt.Sprintf("the greeting was of generation %d, the model is of %d", g.Generation, want.Generation)
	}
	return ""
}
