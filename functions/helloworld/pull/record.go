package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

func (p Greetings) instances() model.Models[*v1alpha1.HelloWorldServiceInstance] {
	return model.For[*v1alpha1.HelloWorldServiceInstance](p.Models)
}

// mirrored is what the mirror of a greeting says. A name that the model would
// not take is left out: the greeter does not ask for more than one character.
func mirrored(g api.Greeting) (name, helloTo string) {
	if strings.TrimSpace(g.Name) == "" {
		return "", g.HelloTo
	}
	return g.Name, g.HelloTo
}

// adopt makes the mirror of a greeting that is not ours, or makes it follow.
func (p Greetings) adopt(ctx context.Context, g api.Greeting) (step.PullResult, error) {
	objectName := hello.MirrorName(g.ID)
	name, helloTo := mirrored(g)
	_, op, err := p.instances().CreateOrModify(ctx, p.Namespace, objectName, func(live *v1alpha1.HelloWorldServiceInstance) error {
		if live.UID == "" {
			live.Annotations = map[string]string{
				// Otherwise sync would push back what was just read (XOS: no_sync).
				model.AnnotationNoSync:     "true",
				hello.AnnotationGreetingID: g.ID,
			}
		}
		if id := live.Annotations[hello.AnnotationGreetingID]; id != g.ID {
			return fmt.Errorf("HelloWorldServiceInstance %s/%s has the name that the greeting's instance is to get: expected annotation %s to be %q, got %q",
				p.Namespace, objectName, hello.AnnotationGreetingID, g.ID, id)
		}
		if hello.Mirrors(live) && live.DeletionTimestamp.IsZero() {
			live.Spec.Name, live.Spec.HelloTo = name, helloTo
		}
		return nil
	})
	log := logging.FromContext(ctx).With(zap.String("greeting", g.ID), zap.String("name", objectName), zap.String("helloTo", helloTo))
	switch {
	case err != nil:
		return "", err
	case op == model.Created:
		log.Infow("Adopted")
		return step.PullCreated, nil
	case op == model.Updated:
		log.Infow("Followed")
		return step.PullUpdated, nil
	}
	return step.PullUnchanged, nil
}

// remove takes away a greeting of ours whose instance is gone.
func (p Greetings) remove(ctx context.Context, g api.Greeting) (step.PullResult, error) {
	live, err := p.instances().Get(ctx, p.Namespace, g.Model.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return "", err
	}
	if err == nil && string(live.UID) == g.Model.UID {
		return step.PullUnchanged, nil // It is younger than the index.
	}
	// With the generation, so that a sync which is late cannot bring it back.
	if err := p.Greeter.Delete(ctx, g.ID, g.Generation); err != nil {
		return "", err
	}
	logging.FromContext(ctx).Infow("Removed: its model is gone", zap.String("greeting", g.ID), zap.String("name", g.Model.Name))
	return step.PullOrphaned, nil
}

// mend asks for the sync of an instance whose greeting is missing or is not as
// it should be.
func (p Greetings) mend(ctx context.Context, name string, uid types.UID) (step.PullResult, error) {
	instance, err := p.instances().Get(ctx, p.Namespace, name)
	if apierrors.IsNotFound(err) || err == nil && (instance.UID != uid || instance.OwnerName() == "") {
		return step.PullUnchanged, nil
	}
	if err != nil {
		return "", err
	}
	service, err := model.For[*v1alpha1.HelloWorldService](p.Models).Get(ctx, p.Namespace, instance.OwnerName())
	if apierrors.IsNotFound(err) || err == nil && !settled(instance, service) {
		return step.PullUnchanged, nil
	}
	if err != nil {
		return "", err
	}
	reason := "the greeting was missing"
	greeting, err := p.Greeter.Get(ctx, hello.GreetingID(instance))
	if err != nil && !client.IsNotFound(err) {
		return "", err
	}
	if err == nil {
		reason = difference(*greeting, hello.GreetingOf(instance, service))
	}
	if reason == "" {
		return step.PullUnchanged, nil
	}

	if instance.Annotations == nil {
		instance.Annotations = map[string]string{}
	}
	instance.Annotations[model.AnnotationRequestedAt] = time.Now().UTC().Format(time.RFC3339Nano)
	instance.Annotations[model.AnnotationRequestReason] = "pull: " + reason
	_, _, err = p.instances().Update(ctx, instance)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return step.PullUnchanged, nil // Something is under way after all; the next round looks again.
	}
	if err != nil {
		return "", err
	}
	logging.FromContext(ctx).Infow("Drift", zap.String("name", name), zap.String("reason", reason))
	return step.PullDrifted, nil
}
