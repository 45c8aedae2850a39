package main

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// habits does to models what users do, and checks that their statuses stay true.
func (s *suite) habits(ctx context.Context) error {
	if err := apply(ctx, newService("habits", "Arya Stark"), newInstance("replaced", "Hot Pie", "habits"), newInstance("owned", "Gendry", "habits")); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{s.replaced, s.paused, s.optedOut, s.missing, s.owned} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// replaced replaces an instance by its manifest, which has no finalizers, and deletes it.
func (s *suite) replaced(ctx context.Context) error {
	if _, err := kubectl(ctx, "wait", "--for=condition=Ready", "hwsi/replaced", timeout); err != nil {
		return err
	}
	manifest, err := json.Marshal(newInstance("replaced", "Hot Pie", "habits"))
	if err != nil {
		return err
	}
	if _, err := kubectlStdin(ctx, string(manifest), "replace", "-f", "-"); err != nil {
		return err
	}
	if err := until(ctx, "the finalizer of sync is put back", func() error {
		i, err := instance(ctx, "replaced")
		if err != nil {
			return err
		}
		return expect(slices.Contains(i.Finalizers, model.StepSync.Finalizer()), "it has %v", i.Finalizers)
	}); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "delete", "hwsi/replaced", timeout); err != nil {
		return err
	}
	return s.greets(ctx, "Hot Pie", "")
}

// paused pauses an instance, changes it and deletes it: each time the status says so, and who can change that.
func (s *suite) paused(ctx context.Context) error {
	if err := apply(ctx, newInstance("paused", "Lommy", "habits")); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "wait", "--for=condition=Ready", "hwsi/paused", timeout); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "annotate", "hwsi/paused", model.AnnotationPaused+"=true"); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "patch", "hwsi/paused", "--type=merge", "-p", `{"spec": {"helloTo": "Yoren"}}`); err != nil {
		return err
	}
	if err := untilReadyIs(ctx, "paused", "False", model.ReasonPaused); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "delete", "hwsi/paused", "--wait=false"); err != nil {
		return err
	}
	if err := untilReadyIs(ctx, "paused", "False", model.ReasonPaused); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "annotate", "hwsi/paused", model.AnnotationPaused+"-"); err != nil {
		return err
	}
	return gone(ctx, "hwsi", "paused")
}

// optedOut makes an instance that no step may touch: kubectl wait ends all the same.
func (s *suite) optedOut(ctx context.Context) error {
	i := newInstance("opted-out", "Jaqen", "habits").(map[string]any)
	i["metadata"] = map[string]any{"name": "opted-out", "annotations": map[string]any{model.AnnotationNoSync: "true", model.AnnotationNoPolicy: "true"}}
	if err := apply(ctx, i); err != nil {
		return err
	}
	if err := untilReadyIs(ctx, "opted-out", "True", model.ReasonOptedOut); err != nil {
		return err
	}
	_, err := kubectl(ctx, "delete", "hwsi/opted-out", timeout)
	return err
}

// missing names a service that does not exist: the status says what is missing.
func (s *suite) missing(ctx context.Context) error {
	if err := apply(ctx, newInstance("lost", "Syrio", "nobody")); err != nil {
		return err
	}
	if err := untilReadyIs(ctx, "lost", "Unknown", string(model.StateWaiting)); err != nil {
		return err
	}
	_, err := kubectl(ctx, "delete", "hwsi/lost", timeout)
	return err
}

// owned makes a service the owner of an instance that depends on it, and deletes it: both go, in order.
func (s *suite) owned(ctx context.Context) error {
	owner, err := get[v1alpha1.HelloWorldService](ctx, "helloworldservices", "habits")
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": []any{map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "HelloWorldService", "name": owner.Name, "uid": owner.UID}}}})
	if err != nil {
		return err
	}
	if _, err := kubectl(ctx, "patch", "hwsi/owned", "--type=merge", "-p", string(patch)); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "delete", "hws/habits", timeout); err != nil {
		return err
	}
	if err := gone(ctx, "hwsi", "owned"); err != nil {
		return err
	}
	return s.greets(ctx, "Gendry", "")
}

// untilReadyIs waits until the condition Ready of an instance is this, for its current generation.
func untilReadyIs(ctx context.Context, name, status, reason string) error {
	return until(ctx, name+" has Ready="+status+" with reason "+reason, func() error {
		i, err := instance(ctx, name)
		if err != nil {
			return err
		}
		c := i.Status.GetCondition(model.ConditionReady)
		return expect(c != nil && string(c.Status) == status && c.Reason == reason && i.Status.ObservedGeneration == i.Generation,
			"it has %+v, and generation %d of %d is observed", c, i.Status.ObservedGeneration, i.Generation)
	})
}
