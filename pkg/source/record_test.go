package source

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// recordedKind depends on three owners, and uses what one of them reports.
var recordedKind = &model.Kind{GVK: memberKind.GVK, Resource: "members", Steps: model.Steps(), DependsOn: []model.DependsOn{
	{GroupKind: ownerKind.GVK.GroupKind(), Path: "spec.owner.name"},
	{GroupKind: ownerKind.GVK.GroupKind(), Path: "spec.keeper.name", Observed: true},
	{GroupKind: itemKind.GVK.GroupKind(), Path: "spec.item.name"}}}

var recordedNow = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

// oddities are what can be special about an object. Each changes it a little, so that settled ones are frequent.
var oddities = []func(r *rand.Rand, o *model.Snapshot){
	func(r *rand.Rand, o *model.Snapshot) { o.Generation = pickOf(r, int64(0), 2, -1, math.MaxUint32+2) },
	func(r *rand.Rand, o *model.Snapshot) {
		o.UID = pickOf(r, "", "uid-of-o", uidOf(3, 1), "00000000-0000-0000-0000-000000000000", "{"+uidOf(3, 1)+"}")
	},
	func(r *rand.Rand, o *model.Snapshot) {
		o.ResourceVersion = pickOf(r, "", "0", "007", "a", "18446744073709551615", "18446744073709551616")
	},
	func(r *rand.Rand, o *model.Snapshot) { o.DeletionTimestamp = &metav1.Time{Time: recordedNow} },
	func(r *rand.Rand, o *model.Snapshot) {
		o.Finalizers = pickOf(r, nil, []string{"else/one"}, []string{model.StepPolicy.Finalizer(), "else/one"}, []string{model.StepSync.Finalizer()})
	},
	func(r *rand.Rand, o *model.Snapshot) { o.Problem = "spec.owner.name: expected the name of an Owner" },
	func(r *rand.Rand, o *model.Snapshot) { o.Unreported = true },
	func(r *rand.Rand, o *model.Snapshot) {
		o.Status.ObservedRevision = pickOf(r, int64(1), 2, -1, math.MaxInt64)
	},
	func(r *rand.Rand, o *model.Snapshot) { o.Refs[r.IntN(3)] = pickOf(r, "", "a", "b") },
	annotated(model.AnnotationPaused, "true", "false", ""),
	annotated(model.AnnotationNoSync, "true", "false"),
	annotated(model.AnnotationNoPolicy, "true"),
	annotated(model.AnnotationRequestedAt, "t1", "t2", ""),
	annotated(model.AnnotationMirrors, "x"),
	func(r *rand.Rand, o *model.Snapshot) { o.Status.SetStep(pickOf(r, steps...), nil) },
	ofStep(func(r *rand.Rand, s *model.StepStatus) { s.Generation = pickOf(r, int64(0), 2, -1, math.MaxUint32+2) }),
	ofStep(func(r *rand.Rand, s *model.StepStatus) {
		s.State = pickOf(r, model.StateFailed, model.StateDeferred, model.StateWaiting, "")
	}),
	ofStep(func(r *rand.Rand, s *model.StepStatus) { s.Failures = 3 }),
	ofStep(func(r *rand.Rand, s *model.StepStatus) { s.Permanent = true }),
	ofStep(func(r *rand.Rand, s *model.StepStatus) { s.RequestedAt = pickOf(r, "t1", "t2") }),
	ofStep(func(r *rand.Rand, s *model.StepStatus) { s.Finalizer = false }),
	ofStep(func(r *rand.Rand, s *model.StepStatus) { s.LastSuccess = nil }),
	ofStep(func(r *rand.Rand, s *model.StepStatus) { s.LastFailure = &metav1.Time{Time: recordedNow} }),
	ofStep(func(r *rand.Rand, s *model.StepStatus) {
		s.NextAttempt = &metav1.Time{Time: recordedNow.Add(time.Duration(r.IntN(5)-2) * time.Second)}
	}),
	ofStep(func(r *rand.Rand, s *model.StepStatus) { s.ObservedRevision = pickOf(r, int64(1), 2, -1) }),
	ofStep(func(r *rand.Rand, s *model.StepStatus) {
		s.WaitingFor = []model.Blocker{{Kind: "Owner", Name: pickOf(r, "", "a"), Reason: model.BlockerMissing}}
	}),
	ofStep(func(r *rand.Rand, s *model.StepStatus) {
		s.Dependencies = append(s.Dependencies, model.DependencyStatus{Kind: pickOf(r, "Owner", "Item", "Else"), Name: pickOf(r, "", "a", "b"),
			UID: string(pickOf(r, "", uidOf(4, 1), uidOf(4, 2))), Generation: pickOf(r, int64(1), 2, -1), ObservedRevision: pickOf(r, int64(0), 1)})
	}),
	ofStep(func(r *rand.Rand, s *model.StepStatus) {
		s.Message, s.Handle, s.Code, s.Unsettled = "a warning", "handle", model.CodeError, 2
	}),
}

func pickOf[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func annotated(name string, values ...string) func(*rand.Rand, *model.Snapshot) {
	return func(r *rand.Rand, o *model.Snapshot) {
		metav1.SetMetaDataAnnotation(&o.ObjectMeta, name, pickOf(r, values...))
	}
}

func ofStep(change func(*rand.Rand, *model.StepStatus)) func(*rand.Rand, *model.Snapshot) {
	return func(r *rand.Rand, o *model.Snapshot) {
		if s := o.Status.Step(pickOf(r, steps...)); s != nil {
			change(r, s)
		}
	}
}

// odd is an object of the kind with some oddities.
func odd(r *rand.Rand, k *model.Kind, name string) *model.Snapshot {
	o := settled(k, 1)
	o.Name, o.Refs = name, make([]string, max(3, len(k.DependsOn)))
	for _, d := range k.DependsOn {
		if r.IntN(2) == 0 && o.Status.Sync != nil {
			o.Status.Sync.Dependencies = append(o.Status.Sync.Dependencies, model.DependencyStatus{Kind: d.GroupKind.Kind, Name: "a", UID: string(uidOf(4, 1)), Generation: 1})
		}
	}
	for i := range o.Refs {
		o.Refs[i] = "a"
	}
	for range r.IntN(4) {
		pickOf(r, oddities...)(r, o)
	}
	o.Refs = o.Refs[:len(k.DependsOn)]
	return o
}

// part is what of a step's part of the status matters to a source.
func part(status *model.StepStatus) *model.StepStatus {
	if status == nil {
		return nil
	}
	p := *status
	p.Message, p.Handle, p.Code, p.Unsettled = "", "", 0, 0
	if p.LastSuccess != nil || p.LastFailure != nil {
		p.LastSuccess, p.LastFailure = &some, nil // That it has run matters, not when.
	}
	p.Dependencies = slices.SortedFunc(slices.Values(p.Dependencies), func(a, b model.DependencyStatus) int {
		return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	return &p
}

// TestRecord checks that model.Due says the same of a record as of the object.
func TestRecord(t *testing.T) {
	of := newWatchedKind(recordedKind, nil)
	owner, item := newWatchedKind(ownerKind, nil), newWatchedKind(itemKind, nil)
	packed := 0
	const objects = 1_500
	for i := range uint64(objects) {
		r := rand.New(rand.NewPCG(i, 0))
		o := odd(r, recordedKind, "o")
		kept := of.record(o)
		got := of.snapshot(kept)
		if kept.full == nil {
			packed++
		}
		whole := func(o *model.Snapshot) []any {
			carried := slices.DeleteFunc(slices.Clone(steps), func(s model.Step) bool { return !o.Carries(s) })
			return []any{o.Kind.GVK, o.Namespace, o.Name, o.UID, o.ResourceVersion, o.Generation, o.DeletionTimestamp, maps.Clone(o.Annotations), carried, o.Refs,
				o.Problem, o.Unreported, o.Status.ObservedRevision, part(o.Status.Sync), part(o.Status.Policy)}
		}
		if diff := gocmp.Diff(whole(o), whole(got), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("seed %d: -the object, +what is made of its record:\n%s", i, diff)
		}
		var n, gotN model.Neighbours
		for j, rule := range recordedKind.DependsOn {
			w := []*watchedKind{owner, owner, item}[j]
			d := model.Dependency{DependsOn: rule, Name: o.Refs[j], Candidates: r.IntN(3)}
			gotD := d
			if d.Name != "" && r.IntN(4) > 0 {
				d.Object = odd(r, w.Kind, d.Name)
				gotD.Object = w.snapshot(w.record(d.Object))
			}
			n.Dependencies, gotN.Dependencies = append(n.Dependencies, d), append(gotN.Dependencies, gotD)
		}
		for _, step := range steps {
			for _, second := range []time.Duration{-1, 0, 1} {
				now := recordedNow.Add(second * time.Second)
				if want, verdict := model.Due(step, o, n, now), model.Due(step, got, gotN, now); !reflect.DeepEqual(want, verdict) {
					t.Fatalf("seed %d: %s: expected %+v, got %+v", i, step, want, verdict)
				}
			}
			if want, event := o.WakeEvent(step, 1, recordedNow), got.WakeEvent(step, 1, recordedNow); want.String() != event.String() {
				t.Fatalf("seed %d: expected\n%s\ngot\n%s", i, want, event)
			}
		}
	}
	if packed < objects/5 || packed > objects*4/5 {
		t.Errorf("expected objects of both sorts, %d of %d are packed", packed, objects)
	}
}

// TestPrint checks that another part of the status has another print, and only that.
func TestPrint(t *testing.T) {
	seen := map[uint64]*model.StepStatus{}
	for i := range uint64(50_000) {
		r := rand.New(rand.NewPCG(i, 1))
		for _, step := range steps {
			status := odd(r, recordedKind, "o").Status.Step(step)
			other, ok := seen[printOf(status)]
			if ok && !equality.Semantic.DeepEqual(status, other) {
				t.Fatalf("seed %d: one print for two parts:\n%s", i, gocmp.Diff(status, other))
			}
			if !ok {
				for print, one := range seen {
					if equality.Semantic.DeepEqual(status, one) {
						t.Fatalf("seed %d: two prints for one part: %d, %d", i, print, printOf(status))
					}
				}
			}
			seen[printOf(status)] = status
		}
		if len(seen) > 300 {
			break
		}
	}
	if len(seen) < 100 {
		t.Errorf("expected many parts, got %d", len(seen))
	}
}

// TestDependents checks what depends on what, and how many there are, against a slow way to find out.
func TestDependents(t *testing.T) {
	s := inMemory(t, nil, Options{}, ownerKind, recordedKind)
	defer s.queue.ShutDown()
	w := s.kinds[recordedKind.GVK.GroupKind()]
	r := rand.New(rand.NewPCG(1, 1))
	live := map[string]*model.Snapshot{}
	for range 1_000 {
		o := odd(r, recordedKind, fmt.Sprint("o-", r.IntN(30)))
		if r.IntN(3) == 0 {
			delete(live, o.Name)
			s.remove(o)
		} else {
			live[o.Name] = o
			s.put(o)
		}
		for _, d := range recordedKind.DependsOn {
			for _, name := range []string{"", "a", "b"} {
				want, got := map[string]bool{}, map[string]bool{}
				for _, o := range live {
					for i, ref := range o.Refs {
						if recordedKind.DependsOn[i].GroupKind == d.GroupKind && ref == name {
							want[o.Name] = true
						}
					}
				}
				for dependent := range w.dependents(d.GroupKind, o.Namespace+"/"+name) {
					got[dependent.names().Name] = true
				}
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Fatalf("dependents of %q: -want, +got:\n%s", name, diff)
				}
			}
		}
		present := 0
		for _, o := range live {
			if !o.Deleting() {
				present++
			}
		}
		if got := w.present[o.Namespace]; got != present || len(w.records) != len(live) {
			t.Fatalf("expected %d objects, %d of them present, got %d and %d", len(live), present, len(w.records), got)
		}
	}
	for name := range live {
		s.remove(live[name])
	}
	if len(w.records)+len(w.present)+len(w.heads[0])+len(w.heads[1])+len(w.heads[2]) > 0 {
		t.Errorf("expected nothing to be left, got %v", w)
	}
}
