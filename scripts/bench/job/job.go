// Package job is the part of the measured job that all sides of the bench share: what an instance of hello-world is at the
// greeter, and what its status says in the end. The floor and the operator use it. The functions of hello-world have the
// same in packages that nobody else may import.
package job

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// Finalizer is the one that a side other than ours puts on.
const Finalizer = "bench.xos-knative.dev/greeting"

// Unwelcome reports whether the policy deletes instances that greet this guest.
func Unwelcome(helloTo string) bool {
	return helloTo == "Tyrion Lannister" || helloTo == "Joffrey Baratheon"
}

// Greeting is the greeting that an instance of a service stands for.
func Greeting(i *v1alpha1.HelloWorldServiceInstance, s *v1alpha1.HelloWorldService) api.PutRequest {
	return api.PutRequest{
		Name:       i.DisplayName(),
		HelloFrom:  s.Spec.HelloFrom,
		HelloTo:    i.Spec.HelloTo,
		Generation: i.Generation,
		Model:      &api.ModelRef{Namespace: i.Namespace, Name: i.Name, UID: string(i.UID)},
		From:       &api.Version{UID: string(s.UID), Generation: s.Generation},
	}
}

// Uses is how the status of an instance names the version of its service that it was synced with.
func Uses(s *v1alpha1.HelloWorldService) []model.DependencyStatus {
	return []model.DependencyStatus{{Kind: "HelloWorldService", Name: s.Name, UID: string(s.UID), Generation: s.Generation}}
}

// OK is a step's part of the status after a success.
func OK(generation int64) *model.StepStatus {
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	return &model.StepStatus{Generation: generation, State: model.StateOK, Code: model.CodeOK, Message: model.MessageOK, LastSuccess: &now}
}

// Synced is the sync's part of the status of an instance after a success.
func Synced(i *v1alpha1.HelloWorldServiceInstance, s *v1alpha1.HelloWorldService, handle string) *model.StepStatus {
	part := OK(i.Generation)
	part.Finalizer, part.Handle, part.Dependencies = true, handle, Uses(s)
	return part
}

// SetStatus makes the status of an instance from the parts of both steps.
func SetStatus(i *v1alpha1.HelloWorldServiceInstance, sync, policy *model.StepStatus) {
	i.Status.Sync, i.Status.Policy = sync, policy
	setConditions(&i.ObjectMeta, &i.Status, model.StepSync, model.StepPolicy)
}

// SetServiceStatus makes the status of a service, which has one step.
func SetServiceStatus(s *v1alpha1.HelloWorldService, sync *model.StepStatus) {
	s.Status.Sync = sync
	setConditions(&s.ObjectMeta, &s.Status, model.StepSync)
}

func setConditions(meta *metav1.ObjectMeta, status *model.Status, steps ...model.Step) {
	snapshot := &model.Snapshot{ObjectMeta: *meta, Kind: &model.Kind{Steps: steps}, Status: *status}
	model.SetConditions(snapshot)
	*status = snapshot.Status
}

// IsReady reports whether a status says that everything is done for the object's current generation.
func IsReady(meta *metav1.ObjectMeta, status *model.Status) bool {
	return status.ObservedGeneration == meta.Generation && status.GetCondition(model.ConditionReady).IsTrue()
}

// Waiting is a step's part of the status while something is in the way.
func Waiting(generation int64, b model.Blocker) *model.StepStatus {
	return &model.StepStatus{Generation: generation, State: model.StateWaiting, Code: model.CodeInProgress,
		Message: "waiting for " + b.String(), WaitingFor: []model.Blocker{b}}
}
