package model_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// dice makes random objects that are dense in coincidences: few names, few
// generations, times around now.
type dice struct{ *rand.Rand }

func (d dice) one(of int) bool { return d.IntN(of) == 0 }

func pick[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

func (d dice) time() *metav1.Time {
	if d.one(3) {
		return nil
	}
	return &metav1.Time{Time: now.Add(time.Duration(d.IntN(5)-2) * time.Second)}
}

func (d dice) status() *model.StepStatus {
	if d.one(4) {
		return nil
	}
	s := &model.StepStatus{
		Generation:  int64(2 + d.IntN(2)),
		State:       pick(d, model.StateOK, model.StateDeferred, model.StateFailed, model.StateWaiting),
		Permanent:   d.one(5),
		RequestedAt: pick(d, "", "t1", "t2"),
		NextAttempt: d.time(),
	}
	for range d.IntN(3) {
		s.WaitingFor = append(s.WaitingFor, model.Blocker{
			Kind: pick(d, "Shelf", "Other"), Name: pick(d, "", "a", "b"),
			Reason: pick(d, model.BlockerUnset, model.BlockerMissing, model.BlockerNotSynced, model.BlockerFailed,
				model.BlockerDeleting, model.BlockerDependent, model.BlockerAmbiguous)})
	}
	for range d.IntN(3) {
		s.Dependencies = append(s.Dependencies, model.DependencyStatus{Kind: "Shelf", Name: pick(d, "a", "b"),
			UID: pick(d, "uid-a", "uid-b"), Generation: int64(2 + d.IntN(2))})
	}
	return s
}

func (d dice) object(kind *model.Kind, name string) *model.Snapshot {
	s := &model.Snapshot{Kind: kind, ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, UID: types.UID("uid-" + name), Generation: int64(2 + d.IntN(2))}}
	for _, key := range []string{model.AnnotationPaused, model.AnnotationNoSync, model.AnnotationNoPolicy} {
		if d.one(8) {
			metav1.SetMetaDataAnnotation(&s.ObjectMeta, key, pick(d, "true", "false", ""))
		}
	}
	if d.one(3) {
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, model.AnnotationRequestedAt, pick(d, "", "t1", "t2"))
	}
	if d.one(3) {
		s.DeletionTimestamp = &metav1.Time{Time: now}
	}
	for _, step := range model.Steps() {
		if d.one(2) {
			s.Finalizers = append(s.Finalizers, step.Finalizer())
		}
		s.Status.SetStep(step, d.status())
	}
	return s
}

func (d dice) neighbours(obj *model.Snapshot) model.Neighbours {
	var n model.Neighbours
	if obj.Deleting() {
		for range d.IntN(3) {
			n.Dependents = append(n.Dependents, model.Dependent{Kind: pick(d, "A", "B"), Name: pick(d, "a", "b")})
		}
		return n
	}
	for _, rule := range obj.Kind.DependsOn {
		dependency := model.Dependency{DependsOn: rule, Name: pick(d, "", "a", "b")}
		switch {
		case dependency.Name == "":
			dependency.Candidates = d.IntN(3)
		case !d.one(3):
			dependency.Object = d.object(shelves, dependency.Name)
		}
		n.Dependencies = append(n.Dependencies, dependency)
	}
	return n
}

// reported is the object with the conditions that an engine writes, and without the finalizers of
// steps that its kind has lost.
func reported(obj *model.Snapshot) *model.Snapshot {
	r := *obj
	model.SetConditions(&r)
	r.Finalizers = slices.DeleteFunc(slices.Clone(obj.Finalizers), func(f string) bool {
		return slices.ContainsFunc(model.Steps(), func(s model.Step) bool { return f == s.Finalizer() && !obj.Kind.Has(s) })
	})
	return &r
}

func TestDueProperties(t *testing.T) {
	for seed := range uint64(4000) {
		d := dice{rand.New(rand.NewPCG(seed, 1))}
		obj := d.object(pick(d, shelves, books, plain), "self")
		n := d.neighbours(obj)
		step := pick(d, model.Steps()...)
		kept, before := obj.Status.DeepCopy(), obj.ObjectMeta.DeepCopy()

		got := model.Due(step, obj, n, now)
		explain := func() string { return cmp.Diff(nil, []any{step, obj.ObjectMeta, obj.Status, n}) }
		if diff := cmp.Diff(got, model.Due(step, obj, n, now)); diff != "" {
			t.Fatalf("seed %d: the same arguments must give the same answer: -first, +second:\n%s", seed, diff)
		}
		if !cmp.Equal(kept, &obj.Status) || !cmp.Equal(before, &obj.ObjectMeta) {
			t.Fatalf("seed %d: Due must not change what it looks at", seed)
		}
		if !got.At.IsZero() && (got.Due() || !got.At.After(now)) {
			t.Fatalf("seed %d: a time must lie in the future of what is not due, got %+v\n%s", seed, got, explain())
		}
		if len(got.Blockers) > 0 && (!got.Due() || step != model.StepSync) {
			t.Fatalf("seed %d: only a sync that is due has something in its way, got %+v\n%s", seed, got, explain())
		}
		if (got.Calls() || len(got.Blockers) > 0) && (obj.Paused() || !obj.Kind.Has(step) || obj.OptedOut(step) && !obj.Deleting() || obj.Deleting() && !obj.Carries(step)) {
			t.Fatalf("seed %d: what is held back must not be due, got %+v\n%s", seed, got, explain())
		}

		if !got.At.IsZero() {
			// Nobody has to look before that time, and looking then is not in vain.
			if v := model.Due(step, obj, n, got.At.Add(-time.Nanosecond)); v.Due() {
				t.Fatalf("seed %d: must not be due before its time, got %+v\n%s", seed, v, explain())
			}
			if v := model.Due(step, obj, n, got.At); !v.Due() {
				t.Fatalf("seed %d: must be due at its time\n%s", seed, explain())
			}
		}
		if got.Reason == model.DueReport {
			// What the engine does then must be the end of it.
			if v := model.Due(step, reported(obj), n, now); v.Due() {
				t.Fatalf("seed %d: what was reported must not be due again, got %+v\n%s", seed, v, explain())
			}
		}
		if len(got.Blockers) > 0 {
			// What the engine records of a wait must be the end of it until something changes.
			obj.Status.SetStep(step, &model.StepStatus{Generation: obj.Generation, State: model.StateWaiting,
				RequestedAt: obj.Annotations[model.AnnotationRequestedAt], WaitingFor: got.Blockers})
			if v := model.Due(step, reported(obj), n, now.Add(24*time.Hour)); v.Due() || !v.At.IsZero() {
				t.Fatalf("seed %d: a recorded wait must not be due again, got %+v\n%s", seed, v, explain())
			}
		}
	}
}
