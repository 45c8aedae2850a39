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

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
)

type (
	instance = v1alpha1.HelloWorldServiceInstance
	service  = v1alpha1.HelloWorldService
)

// watch sees the instances change. An informer lists and watches again when the API server ends the watch, which it does
// to one that is slow.
type watch struct {
	store cache.Store

	mu   sync.Mutex // protects following
	want *expectation
}

// expectation waits for a number of instances to be as they should.
type expectation struct {
	met  func(i *instance, gone bool) bool
	n    int
	seen sets.Set[string]
	done chan time.Time
}

// startWatch returns when the watch has begun.
func startWatch(ctx context.Context, m *models) (*watch, error) {
	w := &watch{}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(m.rest, instanceResource, namespace, fields.Everything()),
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
	if w.want == nil || !w.want.met(i, gone) {
		return
	}
	w.want.seen.Insert(i.Name)
	if len(w.want.seen) == w.want.n {
		w.want.done <- time.Now()
		w.want = nil
	}
}

// expect says when n instances have met a condition, from now on.
func (w *watch) expect(n int, met func(i *instance, gone bool) bool) *expectation {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want = &expectation{met: met, n: n, seen: sets.New[string](), done: make(chan time.Time, 1)}
	return w.want
}

// wait returns when the expectation was met.
func (w *watch) wait(ctx context.Context, e *expectation) (time.Time, error) {
	select {
	case at := <-e.done:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("%w: %d of %d instances are as expected", context.Cause(ctx), w.count(e), e.n)
	}
}

// count is how many have met the condition so far.
func (w *watch) count(e *expectation) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(e.seen)
}

// all are the instances as they are now.
func (w *watch) all() (all []*instance) {
	for _, o := range w.store.List() {
		all = append(all, o.(*instance))
	}
	return all
}
