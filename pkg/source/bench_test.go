package source

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/uuid"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// memberKind is a model with all that one can have: both steps and an owner.
var memberKind = &model.Kind{GVK: ownerKind.GVK.GroupVersion().WithKind("Member"), Resource: "members", Steps: model.Steps(), DependsOn: itemKind.DependsOn}

func uidOf(kind, i int) types.UID {
	return types.UID(uuid.UUID{0: 1, 1: byte(kind), 12: byte(i >> 24), 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}.String())
}

// settled is an object on which no step has work, as the API has it.
func settled(k *model.Kind, i int) *model.Snapshot {
	at := metav1.NewTime(time.Date(2025, 1, 1, 0, 0, i%1000, 0, time.UTC))
	o := &model.Snapshot{Kind: k, ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("tenant-%d", i%10), Name: fmt.Sprintf("%s-%07d", k.Resource, i),
		UID: uidOf(0, i), ResourceVersion: fmt.Sprint(1_000_000 + i), Generation: 1}}
	for _, step := range k.Steps {
		o.Finalizers = append(o.Finalizers, step.Finalizer())
		o.Status.SetStep(step, &model.StepStatus{Generation: 1, State: model.StateOK, Code: model.CodeOK, Message: model.MessageOK, LastSuccess: &at, Finalizer: true})
	}
	model.SetConditions(o)
	return o
}

// member is a settled object of an owner.
func member(i int, owner *model.Snapshot) *model.Snapshot {
	o := settled(memberKind, i)
	o.Namespace, o.UID, o.Refs = owner.Namespace, uidOf(1, i), []string{owner.Name}
	o.Status.Sync.Handle = "handle-of-" + o.Name
	o.Status.Sync.Dependencies = []model.DependencyStatus{{Kind: owner.Kind.GVK.Kind, Name: owner.Name, UID: string(owner.UID), Generation: owner.Generation}}
	return o
}

// settledSource knows members on which no step has work, of as many owners, and has looked at each.
func settledSource(t testing.TB, members, owners int) *Source {
	t.Helper()
	send := func(context.Context, cloudevents.Event) error { return nil }
	s := inMemory(t, send, Options{Clock: clocktesting.NewFakeClock(time.Now())}, ownerKind, memberKind)
	t.Cleanup(s.queue.ShutDown)
	all := make([]*model.Snapshot, owners)
	for i := range all {
		all[i] = settled(ownerKind, i)
		s.fill(all[i])
	}
	for i := range members {
		s.fill(member(i, all[i%owners]))
	}
	s.lookAtAll(t)
	return s
}

// lookAtAll has everything looked at, as after a start, and checks that no step has work.
func (s *Source) lookAtAll(t testing.TB) {
	t.Helper()
	want := 0
	s.mu.Lock()
	for _, w := range s.kinds {
		s.enqueueAll(w)
		want += len(w.records) * len(w.Steps)
	}
	s.mu.Unlock()
	if got := drain(quietly(t), s); got != want || len(s.tasks) > 0 {
		t.Fatalf("expected %d steps to be looked at, none of which has work, got %d, %d with work", want, got, len(s.tasks))
	}
}

func quietly(t testing.TB) context.Context {
	return logging.WithLogger(t.Context(), zap.NewNop().Sugar())
}

// drain evaluates all that is queued.
func drain(ctx context.Context, s *Source) (evaluated int) {
	for s.queue.Len() > 0 {
		next, _ := s.queue.Get()
		s.track(ctx, next.Value(), func(now time.Time) todo { return s.evaluate(next.Value(), now) })
		s.queue.Done(next)
		evaluated++
	}
	return evaluated
}

// heap is what is in use on the heap, in bytes. What is interned goes only some time after it was collected.
func heap() float64 {
	var m runtime.MemStats
	for same, last := 0, uint64(math.MaxUint64); same < 3; last = min(last, m.HeapAlloc) {
		runtime.GC()
		runtime.ReadMemStats(&m)
		if same++; m.HeapAlloc < last-last/1000 {
			same = 0
		}
	}
	return float64(m.HeapAlloc)
}

// perMember is how many bytes a source keeps for each of its settled members, all in all.
func perMember(t testing.TB, members, owners int) float64 {
	before := heap()
	s := settledSource(t, members, owners)
	bytes := heap() - before
	runtime.KeepAlive(s)
	return bytes / float64(members)
}

// TestHeap bounds what a settled object costs: the record, its key, what depends on what, the queue and the tracker.
func TestHeap(t *testing.T) {
	if got := perMember(t, 20_000, 100); got > 400 {
		t.Errorf("expected at most 400 bytes for a settled object, got %.0f", got)
	}
}

// BenchmarkMemory shows the same for more objects, and for objects of which each has an owner of its own.
func BenchmarkMemory(b *testing.B) {
	for _, n := range []struct{ members, owners int }{{10_000, 100}, {20_000, 100}, {100_000, 100}, {100_000, 100_000}} {
		b.Run(fmt.Sprintf("%dMembers%dOwners", n.members, n.owners), func(b *testing.B) {
			var bytes float64
			for range b.N {
				bytes += perMember(b, n.members, n.owners)
			}
			b.ReportMetric(bytes/float64(b.N), "B/model")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// perObject measures fn for 10,000 and for 100,000 objects and reports the cost
// of an object, and how it grows: 1 is linear, 10 is quadratic.
func perObject(b *testing.B, fn func(b *testing.B, objects int) time.Duration) {
	var cost [2]float64
	for range b.N {
		for i, objects := range []int{10_000, 100_000} {
			cost[i] += float64(fn(b, objects).Nanoseconds()) / float64(objects) / float64(b.N)
		}
	}
	b.ReportMetric(cost[0], "ns/object-of-10000")
	b.ReportMetric(cost[1], "ns/object-of-100000")
	b.ReportMetric(1e9/cost[1], "objects/s")
	b.ReportMetric(cost[1]/cost[0], "growth")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSettled looks at objects that need nothing, as after a restart.
func BenchmarkSettled(b *testing.B) {
	perObject(b, func(b *testing.B, objects int) time.Duration {
		s := settledSource(b, objects, 100)
		began := time.Now()
		s.lookAtAll(b)
		return time.Since(began)
	})
}

// BenchmarkStart takes objects in and looks at each, as at a start.
func BenchmarkStart(b *testing.B) {
	perObject(b, func(b *testing.B, objects int) time.Duration {
		s := settledSource(b, 0, 100)
		owner := settled(ownerKind, 0)
		all := make([]*model.Snapshot, objects)
		for i := range all {
			all[i] = member(i, owner)
		}
		began := time.Now()
		s.fill(all...)
		s.lookAtAll(b)
		return time.Since(began)
	})
}

// BenchmarkLook makes what the tracker decides by, and decides.
func BenchmarkLook(b *testing.B) {
	s := settledSource(b, 1000, 10)
	k := keyOf(member(7, settled(ownerKind, 7)), model.StepSync)
	now := time.Now()
	b.Run("Look", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.seen.look(k)
		}
	})
	b.Run("Due", func(b *testing.B) {
		b.ReportAllocs()
		o, n, _ := s.seen.look(k)
		for b.Loop() {
			if model.Due(k.step, o, n, now).Due() {
				b.Fatal("expected a settled object not to be due")
			}
		}
	})
	b.Run("Evaluate", func(b *testing.B) {
		ctx := quietly(b)
		b.ReportAllocs()
		for b.Loop() {
			s.track(ctx, k, func(now time.Time) todo { return s.evaluate(k, now) })
		}
	})
}

// BenchmarkNeighbours looks for what is in the way of the deletion of an owner, and for what a change of it wakes.
func BenchmarkNeighbours(b *testing.B) {
	for _, dependents := range []int{10, 10_000} {
		s := settledSource(b, dependents, 1)
		owner := settled(ownerKind, 0)
		b.Run(fmt.Sprintf("Deleted/%d", dependents), func(b *testing.B) {
			deleted := *owner
			deleted.DeletionTimestamp = metaTime(time.Now())
			for b.Loop() {
				if n, _ := s.neighbours(&deleted); len(n.Dependents) != 1 {
					b.Fatal("expected one dependent to stand for all")
				}
			}
		})
		b.Run(fmt.Sprintf("Changed/%d", dependents), func(b *testing.B) {
			for b.Loop() {
				s.put(owner)
				drain(quietly(b), s)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*dependents), "ns/dependent")
		})
	}
}

// BenchmarkOwnerChanged has all objects depend on one owner, whose spec
// changes: each is sent and acknowledged.
func BenchmarkOwnerChanged(b *testing.B) {
	perObject(b, func(b *testing.B, objects int) time.Duration {
		s := settledSource(b, objects, 1)
		ctx := quietly(b)
		s.Window = objects // What waits for steps is not the source's cost.
		owner := settled(ownerKind, 0)
		owner.Generation, owner.Status.Sync.Generation = 2, 2
		after := make([]*model.Snapshot, objects)
		for i := range after {
			after[i] = member(i, owner)
		}
		began := time.Now()
		s.put(owner)
		drain(ctx, s)
		s.workers.Wait()
		l := s.lane(key{groupKind: memberKind.GVK.GroupKind(), step: model.StepSync})
		if l.inFlight != objects {
			b.Fatalf("expected %d events, got %d", objects, l.inFlight)
		}
		for _, o := range after {
			s.put(o)
		}
		drain(ctx, s)
		took := time.Since(began)
		if l.inFlight != 0 || len(s.tasks) != 0 {
			b.Fatalf("expected all to be acknowledged, %d events are not", l.inFlight)
		}
		return took
	})
}

// BenchmarkOwnerDeleted takes the dependents of an owner that waits for their
// end away, one by one.
func BenchmarkOwnerDeleted(b *testing.B) {
	perObject(b, func(b *testing.B, objects int) time.Duration {
		s := settledSource(b, objects, 1)
		ctx := quietly(b)
		owner := settled(ownerKind, 0)
		owner.DeletionTimestamp = metaTime(time.Now())
		owner.Status.Sync = &model.StepStatus{Generation: 1, State: model.StateWaiting, WaitingFor: []model.Blocker{
			{Kind: "Member", Name: "any", Reason: model.BlockerDependent}}}
		s.fill(owner)
		began := time.Now()
		for i := range objects {
			s.remove(member(i, owner))
			drain(ctx, s)
		}
		took := time.Since(began)
		if f := s.tasks[keyOf(owner, model.StepSync)]; f == nil || f.attempts != 1 {
			b.Fatal("expected one event for the owner, when the last of its dependents was gone")
		}
		return took
	})
}
