package source

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

var (
	ownerKind = &model.Kind{GVK: schema.GroupVersionKind{Group: "example.dev", Version: "v1", Kind: "Owner"}, Resource: "owners",
		Steps: []model.Step{model.StepSync}}
	itemKind = &model.Kind{GVK: schema.GroupVersionKind{Group: "example.dev", Version: "v1", Kind: "Item"}, Resource: "items",
		Steps: []model.Step{model.StepSync}, DependsOn: []model.DependsOn{{GroupKind: ownerKind.GVK.GroupKind(), Path: "spec.owner.name"}}}
)

// inMemory is a source without an API: what it knows is put into it.
func inMemory(t testing.TB, send Send, options Options, kinds ...*model.Kind) *Source {
	t.Helper()
	s, err := New(&rest.Config{Host: "http://127.0.0.1:1"}, send, options)
	if err != nil {
		t.Fatal(err)
	}
	s.know(kinds...)
	return s
}

// know says that these are all kinds that there are, and that all of their objects are known.
func (s *Source) know(kinds ...*model.Kind) {
	s.complete = true
	for _, k := range kinds {
		w := newWatchedKind(k, func() {})
		w.synced = true
		s.kinds[k.GVK.GroupKind()] = w
	}
}

// put stores an object as a reflector would.
func (s *Source) put(o *model.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.kinds[o.Kind.GVK.GroupKind()]
	r := w.record(o)
	s.changed(w, w.keep(r), r)
}

// fill stores objects without looking at them.
func (s *Source) fill(all ...*model.Snapshot) {
	for _, o := range all {
		w := s.kinds[o.Kind.GVK.GroupKind()]
		w.keep(w.record(o))
	}
}

// remove takes an object away as a reflector would.
func (s *Source) remove(o *model.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.kinds[o.Kind.GVK.GroupKind()]
	s.changed(w, w.drop(o.Namespace+"/"+o.Name), nil)
}

func keyOf(o *model.Snapshot, step model.Step) key {
	return key{o.Kind.GVK.GroupKind(), types.NamespacedName{Namespace: o.Namespace, Name: o.Name}, step}
}

func snapshot(k *model.Kind, name string, refs ...string) *model.Snapshot {
	return &model.Snapshot{Kind: k, Refs: refs, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-of-" + name), Generation: 1}}
}

// world is a sink and the steps behind it, none of which can be relied on.
type world struct {
	t      *testing.T
	source *Source

	mu      sync.Mutex
	random  *rand.Rand
	objects map[string]*model.Snapshot
	running map[string]int
	sending int
	most    int
	runs    int
}

// chance is true p times of 100. The caller holds mu.
func (w *world) chance(p int) bool { return w.random.IntN(100) < p }

// send accepts some events, rejects some and hangs on others; of those that it accepts it loses some,
// and the rest reach the step. Sometimes it answers only after the step has run, and then whatever it
// likes.
func (w *world) send(ctx context.Context, e cloudevents.Event) error {
	w.mu.Lock()
	w.sending++
	w.most = max(w.most, w.sending)
	rejects, hangs, loses, waits := w.chance(10), w.chance(3), w.chance(10), w.chance(20)
	delay := time.Duration(w.random.IntN(500)) * time.Millisecond
	runs := time.Duration(w.random.IntN(24_000)) * time.Millisecond
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sending--
	}()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if waits {
		w.run(e.Subject(), runs)
	}
	time.Sleep(delay)
	if rejects {
		return errors.New("rejected")
	}
	if !loses && !waits {
		go w.run(e.Subject(), runs)
	}
	return nil
}

// run is a step: it takes its time, and acknowledges what it has seen at its start.
func (w *world) run(name string, takes time.Duration) {
	w.mu.Lock()
	if v := model.Due(model.StepSync, w.objects[name], model.Neighbours{}, time.Now()); v.Reason == model.DueReport || w.objects[name].Paused() {
		w.change(name, model.SetConditions) // The step is not called.
		w.mu.Unlock()
		return
	}
	if w.running[name]++; w.running[name] > 1 {
		w.t.Errorf("%s: the step runs twice at once", name)
	}
	w.runs++
	generation := w.objects[name].Generation
	w.mu.Unlock()

	time.Sleep(takes)

	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[name]--
	w.change(name, func(o *model.Snapshot) {
		o.Status.Sync = &model.StepStatus{Generation: generation, State: model.StateOK, LastSuccess: metaTime(time.Now())}
		if w.chance(20) {
			o.Status.Sync.State = model.StateFailed
			o.Status.Sync.NextAttempt = metaTime(time.Now().Add(time.Duration(w.random.IntN(20)) * time.Second))
		}
		o.Finalizers = []string{model.StepSync.Finalizer()}
		model.SetConditions(o)
	})
}

// change writes an object. The caller holds mu.
func (w *world) change(name string, change func(*model.Snapshot)) {
	o := *w.objects[name]
	change(&o)
	w.objects[name] = &o
	w.source.put(&o)
}

// TestUnreliableWorld checks the promises of the source against a sink and steps that do whatever
// they want, in the time of a bubble.
func TestUnreliableWorld(t *testing.T) {
	const objects, window = 20, 5
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("Seed", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, random: rand.New(rand.NewPCG(seed, 0)), objects: map[string]*model.Snapshot{}, running: map[string]int{}}
				w.source = inMemory(t, w.send, Options{Window: window}, ownerKind)
				verifyAlways(&w.source.tracker, t.Errorf)
				ctx, cancel := context.WithCancel(logging.WithLogger(t.Context(), zap.NewNop().Sugar()))
				w.source.workers.Go(func() { w.source.work(ctx) })
				w.live(objects, rand.New(rand.NewPCG(seed, 1)))
				time.Sleep(6 * time.Hour)
				synctest.Wait()
				w.isDone(window)
				cancel()
				w.source.queue.ShutDown()
				w.source.workers.Wait()
			})
		})
	}
}

// live creates objects and changes them, pauses them and lets them go on, all of them in the end.
func (w *world) live(objects int, pauses *rand.Rand) {
	for i := range objects {
		o := snapshot(ownerKind, fmt.Sprintf("o-%02d", i))
		w.mu.Lock()
		w.objects[o.Name] = o
		w.source.put(o)
		w.mu.Unlock()
	}
	for range 200 {
		time.Sleep(time.Duration(pauses.IntN(3000)) * time.Millisecond)
		w.mu.Lock()
		w.change(fmt.Sprintf("o-%02d", w.random.IntN(objects)), func(o *model.Snapshot) {
			switch pauses.IntN(3) {
			case 0:
				o.Annotations = map[string]string{model.AnnotationPaused: "true"}
			case 1:
				o.Annotations = nil
			default:
				o.Generation++
			}
		})
		w.mu.Unlock()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.objects {
		w.change(name, func(o *model.Snapshot) { o.Annotations = nil })
	}
}

// isDone checks that all work is done, and that there is silence then.
func (w *world) isDone(window int) {
	w.mu.Lock()
	for name, o := range w.objects {
		if status := o.Status.Sync; status == nil || status.Generation != o.Generation || status.State != model.StateOK {
			w.t.Errorf("%s: expected all work to be done in the end, got %+v at generation %d", name, status, o.Generation)
		}
	}
	if w.most > window {
		w.t.Errorf("expected at most %d sends at once, got %d", window, w.most)
	}
	runs := w.runs
	w.mu.Unlock()
	time.Sleep(24 * time.Hour)
	if w.runs != runs {
		w.t.Errorf("expected silence when all is done, got %d more runs", w.runs-runs)
	}
	w.source.mu.Lock()
	defer w.source.mu.Unlock()
	if l := w.source.lane(key{groupKind: ownerKind.GVK.GroupKind(), step: model.StepSync}); l.inFlight != 0 || l.sending != 0 || len(l.waiting) != 0 {
		w.t.Errorf("expected an empty lane, got %d in flight, %d being sent, %d waiting", l.inFlight, l.sending, len(l.waiting))
	}
}

// TestReplacedInAList has a list, after a watch was lost, bring another object in place of the one of its name for
// which an event is in flight.
func TestReplacedInAList(t *testing.T) {
	s := inMemory(t, nil, Options{}, ownerKind)
	defer s.queue.ShutDown()
	first, now := snapshot(ownerKind, "a"), time.Now()
	s.fill(first)
	do := s.evaluate(keyOf(first, model.StepSync), now)
	if len(do.send) != 1 {
		t.Fatalf("expected an event for the first object, got %+v", do)
	}
	s.answered(do.send[0], true, now)
	second := snapshot(ownerKind, "a")
	second.UID = "another"
	s.fill(second)
	do = s.evaluate(keyOf(second, model.StepSync), now)
	if len(do.send) != 1 || do.send[0].event.ID() != "another/1/sync/1" {
		t.Errorf("expected an event for the second object at once, got %+v", do)
	}
}
