package drive

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/cache"
)

// Watch sees the instances change. An informer lists and watches again when the API server ends the watch, which it does
// to one that is slow.
type Watch struct {
	store cache.Store

	mu   sync.Mutex // protects following
	met  Condition  // nil if nobody waits
	n    int
	seen sets.Set[string]
	done chan time.Time
}

// StartWatch returns when the watch has begun.
func StartWatch(ctx context.Context, m *Models) (*Watch, error) {
	w := &Watch{}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(m.REST, Instances, Namespace, fields.Everything()),
		ObjectType:    &Instance{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { w.see(o.(*Instance), false) },
			UpdateFunc: func(_, o any) { w.see(o.(*Instance), false) },
			DeleteFunc: func(o any) {
				if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = last.Obj
				}
				w.see(o.(*Instance), true)
			},
		},
	})
	w.store = store
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil, errors.New("the watch of the instances did not begin")
	}
	return w, nil
}

func (w *Watch) see(i *Instance, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.met == nil || !w.met(i, gone) {
		return
	}
	if w.seen.Insert(i.Name); len(w.seen) == w.n {
		w.met = nil
		w.done <- time.Now()
	}
}

// Until lets write change something, and says how long it took until n instances had met a condition.
func (w *Watch) Until(ctx context.Context, n int, met Condition, write func(ctx context.Context) error) (time.Duration, error) {
	done := make(chan time.Time, 1)
	w.mu.Lock()
	w.met, w.n, w.seen, w.done = met, n, sets.New[string](), done
	w.mu.Unlock()
	began := time.Now()
	if err := write(ctx); err != nil {
		return 0, err
	}
	select {
	case end := <-done:
		return end.Sub(began), nil
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		return 0, fmt.Errorf("%w: %d of %d instances are as expected", context.Cause(ctx), len(w.seen), n)
	}
}

// Each makes n changes, one after the other, of the first count instances in turn, each after before has returned. It says
// how long each took until it was ready, in ms, and their sum.
func (w *Watch) Each(ctx context.Context, n, count int, before func(ctx context.Context) error, update func(ctx context.Context, name, to string) error) (all time.Duration, each []float64, err error) {
	for k := range n {
		if err := before(ctx); err != nil {
			return 0, nil, err
		}
		which, to := InstanceName(k%count), fmt.Sprintf("Guest %d at %s", k, time.Now().Format(time.RFC3339Nano))
		met := func(i *Instance, gone bool) bool { return i.Name == which && Greets(to)(i, gone) }
		took, err := w.Until(ctx, 1, met, func(ctx context.Context) error { return update(ctx, which, to) })
		if err != nil {
			return 0, nil, err
		}
		all += took
		each = append(each, float64(took.Microseconds())/1000)
	}
	return all, each, nil
}

// All are the instances as they are now.
func (w *Watch) All() (all []*Instance) {
	for _, o := range w.store.List() {
		all = append(all, o.(*Instance))
	}
	return all
}
