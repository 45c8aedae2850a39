package source

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// fullObject is an object as the API server sends it, decoded each time so that it
// shares nothing with others.
func fullObject(b testing.TB, i int) *unstructured.Unstructured {
	b.Helper()
	managed := `{"manager":%q,"operation":"Update","apiVersion":"example.dev/v1","time":"2025-01-01T00:00:00Z","fieldsType":"FieldsV1",
		"fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/last-applied-configuration":{}},"f:finalizers":{".":{},"v:\"synchronizer.xos-knative.dev/sync\"":{}}},
		"f:spec":{".":{},"f:name":{},"f:title":{},"f:owner":{".":{},"f:name":{}}},"f:status":{".":{},"f:conditions":{},"f:sync":{".":{},"f:generation":{},"f:state":{},"f:code":{},"f:lastSuccess":{}}}}}`
	condition := `{"type":%q,"status":"True","lastTransitionTime":"2025-01-01T00:00:00Z"}`
	text := fmt.Sprintf(`{"apiVersion":"example.dev/v1","kind":"Item","metadata":{"name":"item-%[1]d","namespace":"default","uid":"4f7c0f4c-9d5e-4a0e-8d6b-%012[1]d",
		"resourceVersion":"%[1]d","generation":1,"creationTimestamp":"2025-01-01T00:00:00Z","labels":{"app":"library","team":"fiction"},
		"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"apiVersion\":\"example.dev/v1\",\"kind\":\"Item\",\"metadata\":{\"name\":\"item-%[1]d\"},\"spec\":{\"name\":\"Item %[1]d\",\"title\":\"Title %[1]d\",\"owner\":{\"name\":\"owner-%[2]d\"}}}"},
		"finalizers":["synchronizer.xos-knative.dev/sync"],"managedFields":[%[3]s,%[4]s]},
		"spec":{"name":"Item %[1]d","title":"Title %[1]d","owner":{"name":"owner-%[2]d"}},
		"status":{"observedGeneration":1,"conditions":[%[5]s,%[6]s],"sync":{"generation":1,"state":"OK","code":1,"message":"OK","lastSuccess":"2025-01-01T00:00:00Z","handle":"4f7c0f4c-9d5e-4a0e-8d6b-%012[1]d",
		"dependencies":[{"kind":"Owner","name":"owner-%[2]d","uid":"uid-of-owner-%[2]d","generation":1}]}}}`,
		i, i%100, fmt.Sprintf(managed, "kubectl-client-side-apply"), fmt.Sprintf(managed, "sync"), fmt.Sprintf(condition, "Ready"), fmt.Sprintf(condition, "Synced"))
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(text), &u.Object); err != nil {
		b.Fatal(err)
	}
	u.SetGeneration(1) // As int64, which the API's decoder makes of it.
	_ = unstructured.SetNestedField(u.Object, int64(1), "status", "observedGeneration")
	_ = unstructured.SetNestedField(u.Object, int64(1), "status", "sync", "generation")
	_ = unstructured.SetNestedField(u.Object, int64(1), "status", "sync", "code")
	return u
}

// heap is what is in use on the heap, in bytes.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkMemory compares what the source keeps of an object with the object.
func BenchmarkMemory(b *testing.B) {
	const objects = 10_000
	var full, kept, tracked float64
	for range b.N {
		before := heap()
		all := cache.NewStore(cache.MetaNamespaceKeyFunc)
		for i := range objects {
			_ = all.Add(fullObject(b, i))
		}
		full += heap() - before
		runtime.KeepAlive(all)
		all = nil

		before = heap()
		s := inMemory(b, nil, Options{}, ownerKind, itemKind)
		w := s.kinds[itemKind.GVK.GroupKind()]
		for i := range objects {
			s.fill(w.snapshot(b.Context(), fullObject(b, i)).(*model.Snapshot))
		}
		kept += heap() - before

		// After each of them has been sent once.
		before = heap()
		for _, obj := range w.objects.List() {
			o := obj.(*model.Snapshot)
			s.tasks[keyOf(o, model.StepSync)] = &task{uid: o.UID, generation: o.Generation}
		}
		tracked += heap() - before
		runtime.KeepAlive(s)
		s.queue.ShutDown()
	}
	n := float64(b.N * objects)
	b.ReportMetric(full/n, "B/object")
	b.ReportMetric(kept/n, "B/snapshot")
	b.ReportMetric(tracked/n, "B/task")
	b.ReportMetric(full/(kept+tracked), "x-smaller")
	b.ReportMetric(0, "ns/op")
}

// settledSource knows objects that no step has work on, of 100 owners.
func settledSource(b *testing.B, objects int) *Source {
	b.Helper()
	s := inMemory(b, func(context.Context, cloudevents.Event) error { return nil }, Options{Clock: clocktesting.NewFakeClock(time.Now())}, ownerKind, itemKind)
	for i := range 100 {
		o := snapshot(ownerKind, fmt.Sprintf("owner-%d", i))
		o.Status.Sync = &model.StepStatus{Generation: 1, State: model.StateOK}
		s.fill(o)
	}
	w := s.kinds[itemKind.GVK.GroupKind()]
	for i := range objects {
		s.fill(w.snapshot(b.Context(), fullObject(b, i)).(*model.Snapshot))
	}
	return s
}

func quietly(b *testing.B) context.Context {
	return logging.WithLogger(b.Context(), zap.NewNop().Sugar())
}

// drain evaluates all that is queued.
func drain(ctx context.Context, s *Source) (evaluated int) {
	for s.queue.Len() > 0 {
		k, _ := s.queue.Get()
		s.track(ctx, k, func(now time.Time) todo { return s.evaluate(k, now) })
		s.queue.Done(k)
		evaluated++
	}
	return evaluated
}

// perObject measures fn for 1,000 and for 10,000 objects and reports the cost
// of an object, and how it grows: 1 is linear, 10 is quadratic.
func perObject(b *testing.B, fn func(b *testing.B, objects int) time.Duration) {
	var cost [2]float64
	for range b.N {
		for i, objects := range []int{1_000, 10_000} {
			cost[i] += float64(fn(b, objects).Nanoseconds()) / float64(objects) / float64(b.N)
		}
	}
	b.ReportMetric(cost[0], "ns/object-of-1000")
	b.ReportMetric(cost[1], "ns/object-of-10000")
	b.ReportMetric(1e9/cost[1], "objects/s")
	b.ReportMetric(cost[1]/cost[0], "growth")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSettled looks at objects that need nothing, as after a restart.
func BenchmarkSettled(b *testing.B) {
	perObject(b, func(b *testing.B, objects int) time.Duration {
		s := settledSource(b, objects)
		defer s.queue.ShutDown()
		ctx := quietly(b)
		began := time.Now()
		s.mu.Lock()
		s.enqueueAll(s.kinds[itemKind.GVK.GroupKind()])
		s.mu.Unlock()
		if n := drain(ctx, s); n != objects {
			b.Fatalf("expected %d objects to be looked at, got %d", objects, n)
		}
		return time.Since(began)
	})
}

// BenchmarkOwnerChanged has all objects depend on one owner, whose spec
// changes: each is sent and acknowledged.
func BenchmarkOwnerChanged(b *testing.B) {
	perObject(b, func(b *testing.B, objects int) time.Duration {
		s := settledSource(b, objects)
		defer s.queue.ShutDown()
		ctx := quietly(b)
		s.Window = objects // What waits for steps is not the source's cost.
		w := s.kinds[itemKind.GVK.GroupKind()]
		owner := snapshot(ownerKind, "the-owner")
		owner.Generation = 2
		owner.Status.Sync = &model.StepStatus{Generation: 2, State: model.StateOK}
		for _, obj := range w.objects.List() {
			o := *obj.(*model.Snapshot)
			o.Refs = []string{"the-owner"}
			s.fill(&o)
		}
		began := time.Now()
		s.put(owner)
		drain(ctx, s)
		s.workers.Wait()
		for _, obj := range w.objects.List() {
			o := *obj.(*model.Snapshot)
			o.Status.Sync = &model.StepStatus{Generation: 1, State: model.StateOK, Dependencies: []model.DependencyStatus{
				{Kind: "Owner", Name: "the-owner", UID: string(owner.UID), Generation: 2}}}
			s.put(&o)
		}
		drain(ctx, s)
		took := time.Since(began)
		if l := s.lane(key{groupKind: itemKind.GVK.GroupKind(), step: model.StepSync}); l.inFlight != 0 || len(s.tasks) < objects {
			b.Fatalf("expected %d events that are acknowledged, got %d of which %d are not", objects, len(s.tasks), l.inFlight)
		}
		return took
	})
}

// BenchmarkOwnerDeleted takes the dependents of an owner that waits for their
// end away, one by one.
func BenchmarkOwnerDeleted(b *testing.B) {
	perObject(b, func(b *testing.B, objects int) time.Duration {
		s := settledSource(b, 0)
		defer s.queue.ShutDown()
		ctx := quietly(b)
		owner := snapshot(ownerKind, "the-owner")
		owner.DeletionTimestamp = metaTime(time.Now())
		owner.Finalizers = []string{model.StepSync.Finalizer()}
		owner.Status.Sync = &model.StepStatus{Generation: 1, State: model.StateWaiting, WaitingFor: []model.Blocker{
			{Kind: "Item", Name: "item-0", Reason: model.BlockerDependent}}}
		s.fill(owner)
		items := make([]*model.Snapshot, objects)
		for i := range items {
			items[i] = snapshot(itemKind, fmt.Sprintf("item-%d", i), "the-owner")
			items[i].DeletionTimestamp = metaTime(time.Now())
			s.fill(items[i])
		}
		began := time.Now()
		for _, o := range items {
			s.remove(o)
			drain(ctx, s)
		}
		took := time.Since(began)
		if f := s.tasks[keyOf(owner, model.StepSync)]; f == nil || f.attempts != 1 {
			b.Fatal("expected one event for the owner, when the last of its dependents was gone")
		}
		return took
	})
}
