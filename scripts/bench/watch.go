package main

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

// watch sees the instances change. An informer lists and watches again when the API server ends the watch, which it does
// to one that is slow.
type watch struct {
	store cache.Store

	mu   sync.Mutex // protects following
	met  condition  // nil if nobody waits
	n    int
	seen sets.Set[string]
	done chan time.Time
}

// startWatch returns when the watch has begun.
func startWatch(ctx context.Context, m *models) (*watch, error) {
	w := &watch{}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(m.rest, instances, namespace, fields.Everything()),
		ObjectType:    &instance{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { w.see(o.(*instance), false) },
			UpdateFunc: func(_, o any) { w.see(o.(*instance), false) },
			DeleteFunc: func(o any) {
				if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = last.Obj
				}
				w.see(o.(*instance), true)
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

func (w *watch) see(i *instance, gone bool) {
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

// until lets write change something, and says how long it took until n instances had met a condition.
func (w *watch) until(ctx context.Context, n int, met condition, write func(ctx context.Context) error) (time.Duration, error) {
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

// all are the instances as they are now.
func (w *watch) all() (all []*instance) {
	for _, o := range w.store.List() {
		all = append(all, o.(*instance))
	}
	return all
}
