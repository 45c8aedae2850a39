package main

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/scripts/bench/job"
)

// services reconciles HelloWorldServices. The greeter does not know them, but their instances wait for them, and they wait
// for their instances to go first.
type services struct{ client.Client }

func (r *services) setUp(manager ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(manager).
		For(&v1alpha1.HelloWorldService{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.HelloWorldServiceInstance{}, handler.EnqueueRequestsFromMapFunc(owner), builder.WithPredicates(left)).
		Complete(r)
}

// left lets through what may have been the last instance of a service.
var left = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.(*v1alpha1.HelloWorldServiceInstance).OwnerName() != e.ObjectNew.(*v1alpha1.HelloWorldServiceInstance).OwnerName()
	},
}

func owner(_ context.Context, o client.Object) []reconcile.Request {
	name := o.(*v1alpha1.HelloWorldServiceInstance).OwnerName()
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
}

// Reconcile says that the service is synced, or lets it go.
func (r *services) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &v1alpha1.HelloWorldService{}
	if err := r.Get(ctx, req.NamespacedName, s); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !s.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.cleanUp(ctx, s)
	}
	before := s.DeepCopy()
	if controllerutil.AddFinalizer(s, job.Finalizer) {
		if err := r.Patch(ctx, s, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			return ctrl.Result{}, err
		}
	}
	if isSynced(s) {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{}, r.acknowledge(ctx, s, job.OK(s.Generation))
}

// cleanUp lets the service go when it has no instances any more.
func (r *services) cleanUp(ctx context.Context, s *v1alpha1.HelloWorldService) error {
	if !controllerutil.ContainsFinalizer(s, job.Finalizer) {
		return nil
	}
	list := &v1alpha1.HelloWorldServiceInstanceList{}
	if err := r.List(ctx, list, client.InNamespace(s.Namespace), client.MatchingFields{ownerField: s.Name}, client.Limit(1)); err != nil {
		return err
	}
	if len(list.Items) > 0 {
		b := model.Blocker{Kind: "HelloWorldServiceInstance", Name: list.Items[0].Name, Reason: model.BlockerDependent}
		return r.acknowledge(ctx, s, job.Waiting(s.Generation, b))
	}
	before := s.DeepCopy()
	controllerutil.RemoveFinalizer(s, job.Finalizer)
	return client.IgnoreNotFound(r.Patch(ctx, s, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})))
}

// acknowledge writes the status, if that changes it.
func (r *services) acknowledge(ctx context.Context, s *v1alpha1.HelloWorldService, sync *model.StepStatus) error {
	before := s.Status.DeepCopy()
	job.SetServiceStatus(s, sync)
	if equality.Semantic.DeepEqual(before, &s.Status) {
		return nil
	}
	return r.Status().Update(ctx, s)
}
