package main

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	greeter "github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/scripts/bench/job"
)

const (
	// ownerField is the index of instances by their service.
	ownerField = "owner"
	// noOwner is in the index for instances that name none; no service can have this name.
	noOwner = "/"
)

func ownerOf(o client.Object) []string {
	if name := o.(*v1alpha1.HelloWorldServiceInstance).OwnerName(); name != "" {
		return []string{name}
	}
	return []string{noOwner}
}

// instances reconciles HelloWorldServiceInstances.
type instances struct {
	client.Client
	greeter *greeter.Client
}

func (r *instances) setUp(manager ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(manager).
		// Not for its own writes of the status.
		For(&v1alpha1.HelloWorldServiceInstance{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.HelloWorldService{}, handler.EnqueueRequestsFromMapFunc(r.dependents), builder.WithPredicates(settled)).
		Complete(r)
}

// settled lets a change of a service through when it is synced: its instances cannot be synced before.
var settled = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, now := e.ObjectOld.(*v1alpha1.HelloWorldService), e.ObjectNew.(*v1alpha1.HelloWorldService)
	return isSynced(now) && (!isSynced(before) || before.Generation != now.Generation)
}}

func isSynced(s *v1alpha1.HelloWorldService) bool {
	return s.Status.Sync != nil && s.Status.Sync.State == model.StateOK && s.Status.Sync.Generation == s.Generation
}

// dependents are the instances of a service, and those that look for one.
func (r *instances) dependents(ctx context.Context, o client.Object) (all []reconcile.Request) {
	for _, owner := range []string{o.GetName(), noOwner} {
		list := &v1alpha1.HelloWorldServiceInstanceList{}
		if err := r.List(ctx, list, client.InNamespace(o.GetNamespace()), client.MatchingFields{ownerField: owner}, client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "Cannot list the instances of a service")
		}
		for i := range list.Items {
			all = append(all, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return all
}

// Reconcile does the work of the policy, then that of the sync.
func (r *instances) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	i := &v1alpha1.HelloWorldServiceInstance{}
	if err := r.Get(ctx, req.NamespacedName, i); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	switch {
	case !i.DeletionTimestamp.IsZero():
		return ctrl.Result{}, r.cleanUp(ctx, i)
	case job.Unwelcome(i.Spec.HelloTo):
		log.FromContext(ctx).Info(i.Spec.HelloTo + " is not going to get greeted!")
		// Somebody may have corrected the guest since the instance was read.
		return ctrl.Result{}, client.IgnoreNotFound(r.Delete(ctx, i, client.Preconditions{UID: &i.UID, ResourceVersion: &i.ResourceVersion}))
	case i.OwnerName() == "":
		return ctrl.Result{}, r.adopt(ctx, i)
	}
	return ctrl.Result{}, r.sync(ctx, i)
}

// adopt gives the instance to the only service of its namespace. Its change brings it back here.
func (r *instances) adopt(ctx context.Context, i *v1alpha1.HelloWorldServiceInstance) error {
	list := &v1alpha1.HelloWorldServiceList{}
	if err := r.List(ctx, list, client.InNamespace(i.Namespace)); err != nil {
		return err
	}
	var owners []string
	for _, s := range list.Items {
		if s.DeletionTimestamp.IsZero() {
			owners = append(owners, s.Name)
		}
	}
	if len(owners) != 1 {
		return r.wait(ctx, i, model.Blocker{Kind: "HelloWorldService", Reason: model.BlockerAmbiguous})
	}
	before := i.DeepCopy()
	i.Spec.Owner = &v1alpha1.OwnerReference{Name: owners[0]}
	return r.Patch(ctx, i, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// sync makes the greeter greet the guest.
func (r *instances) sync(ctx context.Context, i *v1alpha1.HelloWorldServiceInstance) error {
	s := &v1alpha1.HelloWorldService{}
	err := r.Get(ctx, types.NamespacedName{Namespace: i.Namespace, Name: i.OwnerName()}, s)
	blocker := model.Blocker{Kind: "HelloWorldService", Name: i.OwnerName()}
	switch {
	case apierrors.IsNotFound(err):
		blocker.Reason = model.BlockerMissing
	case err != nil:
		return err
	case !s.DeletionTimestamp.IsZero():
		blocker.Reason = model.BlockerDeleting
	case !isSynced(s):
		blocker.Reason = model.BlockerNotSynced
	}
	if blocker.Reason != "" {
		return r.wait(ctx, i, blocker)
	}
	if isDone(i, s) {
		return nil
	}
	before := i.DeepCopy()
	if controllerutil.AddFinalizer(i, job.Finalizer) {
		if err := r.Patch(ctx, i, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			return err
		}
	}
	greeting, err := r.greeter.Put(ctx, string(i.UID), job.Greeting(i, s))
	if err != nil {
		return r.fail(ctx, i, fmt.Errorf("greeting %s: %w", i.Spec.HelloTo, err))
	}
	log.FromContext(ctx).Info(greeting.Message)
	return r.acknowledge(ctx, i, job.Synced(i, s, greeting.ID), job.OK(i.Generation))
}

// isDone reports whether the instance was synced as it is, with its service as it is.
func isDone(i *v1alpha1.HelloWorldServiceInstance, s *v1alpha1.HelloWorldService) bool {
	return job.IsReady(&i.ObjectMeta, &i.Status) && controllerutil.ContainsFinalizer(i, job.Finalizer) &&
		equality.Semantic.DeepEqual(i.Status.Sync.Dependencies, job.Uses(s))
}

// wait says what the instance waits for. Its watch brings the instance back.
func (r *instances) wait(ctx context.Context, i *v1alpha1.HelloWorldServiceInstance, b model.Blocker) error {
	return r.acknowledge(ctx, i, job.Waiting(i.Generation, b), job.OK(i.Generation))
}

// fail says what is wrong. It is tried again, unless only another spec can fix it.
func (r *instances) fail(ctx context.Context, i *v1alpha1.HelloWorldServiceInstance, err error) error {
	sync := &model.StepStatus{Generation: i.Generation, State: model.StateFailed, Code: model.CodeError, Message: err.Error(), Permanent: greeter.IsInvalid(err)}
	if stored := r.acknowledge(ctx, i, sync, job.OK(i.Generation)); stored != nil {
		return stored
	}
	if sync.Permanent {
		return reconcile.TerminalError(err)
	}
	return err
}

// acknowledge writes the status, if that changes it.
func (r *instances) acknowledge(ctx context.Context, i *v1alpha1.HelloWorldServiceInstance, sync, policy *model.StepStatus) error {
	before := i.Status.DeepCopy()
	if before.Policy != nil && before.Policy.Generation == i.Generation {
		policy = before.Policy
	}
	job.SetStatus(i, sync, policy)
	if equality.Semantic.DeepEqual(before, &i.Status) {
		return nil
	}
	return r.Status().Update(ctx, i)
}

// cleanUp removes the greeting, then lets the instance go.
func (r *instances) cleanUp(ctx context.Context, i *v1alpha1.HelloWorldServiceInstance) error {
	if !controllerutil.ContainsFinalizer(i, job.Finalizer) {
		return nil
	}
	if err := r.greeter.Delete(ctx, string(i.UID), i.Generation); err != nil {
		return err
	}
	before := i.DeepCopy()
	controllerutil.RemoveFinalizer(i, job.Finalizer)
	return client.IgnoreNotFound(r.Patch(ctx, i, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})))
}
