package source

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"
)

// intake is the store into which a reflector puts the objects of a kind: the source looks at each as it comes, and
// keeps a record of it. (An informer would keep a second list of them, and a queue.)
type intake struct {
	*Source
	of  *watchedKind
	ctx context.Context // For its logger.
}

// Transformer implements [cache.TransformingStore]: while objects come one by one before there are all, their
// records wait.
func (i *intake) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) { return i.record(obj), nil }
}

func (i *intake) record(obj any) *record {
	if r, ok := obj.(*record); ok {
		return r
	}
	return i.of.read(i.ctx, obj.(*unstructured.Unstructured))
}

// Add implements [cache.ReflectorStore].
func (i *intake) Add(obj any) error {
	r := i.record(obj)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.changed(i.of, i.of.keep(r), r)
	return nil
}

// Update implements [cache.ReflectorStore].
func (i *intake) Update(obj any) error { return i.Add(obj) }

// Delete implements [cache.ReflectorStore].
func (i *intake) Delete(obj any) error {
	u := obj.(*unstructured.Unstructured)
	i.gone(u.GetNamespace() + "/" + u.GetName())
	return nil
}

func (i *intake) gone(key string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.changed(i.of, i.of.drop(key), nil)
}

// Replace implements [cache.ReflectorStore]. It is called first of all, with all objects.
func (i *intake) Replace(all []any, _ string) error {
	i.mu.Lock()
	missing := make(map[string]bool, len(i.of.records))
	for key := range i.of.records {
		missing[key] = true
	}
	i.mu.Unlock()
	for _, obj := range all {
		r := i.record(obj)
		delete(missing, r.key)
		i.mu.Lock()
		if before := i.of.keep(r); i.of.synced {
			i.changed(i.of, before, r)
		}
		i.mu.Unlock()
	}
	for key := range missing {
		i.gone(key)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.of.synced && i.kinds[i.of.GVK.GroupKind()] == i.of {
		i.of.synced, i.of.before = true, nil
		i.unlisted(i.ctx, i.of, nil) // What was forbidden at first may have been streamed since, without a list.
		i.enqueueAround(i.of)
	}
	return nil
}

// Resync implements [cache.ReflectorStore]. Time alone changes nothing.
func (i *intake) Resync() error { return nil }
