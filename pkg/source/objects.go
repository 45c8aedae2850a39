package source

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// seen is what the source knows of the models: a snapshot of each object, and what depends on what.
type seen struct {
	kinds map[schema.GroupKind]*watchedKind
	// complete: kinds holds all that there are.
	complete bool
	// dirty takes the keys that have to be evaluated, because of what was seen.
	dirty func(key)
}

// watchedKind is a kind whose objects the source watches.
type watchedKind struct {
	*model.Kind
	// objects holds a *model.Snapshot for each object.
	objects cache.Store
	stop    context.CancelFunc

	// Source.mu protects following.

	// synced: objects holds all that there are.
	synced bool
	// err says that the source may not list the objects, nil if it may. Those around them are not held back
	// for that: a function may read what the source may not, and it reads again before it acts.
	err error
	// dependents are the names of the objects that depend on something; those that name none of its
	// kind stand under the empty name.
	dependents map[dependency]sets.Set[string]
	// present counts the objects of each namespace that are not being deleted.
	present map[string]int
}

// dependency is an object that others depend on.
type dependency struct {
	groupKind schema.GroupKind
	types.NamespacedName
}

func newWatchedKind(k *model.Kind, stop context.CancelFunc) *watchedKind {
	return &watchedKind{Kind: k, stop: stop, dependents: map[dependency]sets.Set[string]{}, present: map[string]int{}}
}

// index follows what the objects depend on. A client-go indexer would do that as well, but to find
// out whether anything is left under a key it copies everything that is: too expensive at the end of
// each of ten thousand dependents.
func (w *watchedKind) index(before, now *model.Snapshot) {
	for d := range w.dependencies(before) {
		if names := w.dependents[d].Delete(before.Name); len(names) == 0 {
			delete(w.dependents, d)
		}
	}
	for d := range w.dependencies(now) {
		if w.dependents[d] == nil {
			w.dependents[d] = sets.Set[string]{}
		}
		w.dependents[d].Insert(now.Name)
	}
	if before != nil && !before.Deleting() {
		w.present[before.Namespace]--
	}
	if now != nil && !now.Deleting() {
		w.present[now.Namespace]++
	}
}

// known reports whether there is nothing more to wait for before what depends on the objects is evaluated.
func (w *watchedKind) known() bool { return w.synced || w.err != nil }

func (w *watchedKind) dependencies(o *model.Snapshot) iter.Seq[dependency] {
	return func(yield func(dependency) bool) {
		for i, d := range w.DependsOn {
			if o == nil || !yield(dependency{d.GroupKind, types.NamespacedName{Namespace: o.Namespace, Name: o.Refs[i]}}) {
				return
			}
		}
	}
}

func (w *watchedKind) dependsOn(k *model.Kind) bool {
	return slices.ContainsFunc(w.DependsOn, func(d model.DependsOn) bool { return d.GroupKind == k.GVK.GroupKind() })
}

// snapshot keeps of an object what model.Due needs.
func (w *watchedKind) snapshot(ctx context.Context, obj any) any {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return obj
	}
	s, err := w.SnapshotOf(u)
	if err == nil {
		// What Due never looks at need not be kept for every object.
		s.Status.Conditions, s.Status.Annotations, s.Status.LastEvents = nil, nil, nil
		s.Labels, s.OwnerReferences = nil, nil
		return s
	}
	// No API server sends that. It must not stop the watch of all others.
	logging.FromContext(ctx).Errorw("An object cannot be read; its steps are held back", zap.Error(err))
	return &model.Snapshot{Kind: w.Kind, Refs: make([]string, len(w.DependsOn)), ObjectMeta: metav1.ObjectMeta{
		Namespace: u.GetNamespace(), Name: u.GetName(), UID: u.GetUID(), Annotations: map[string]string{model.AnnotationPaused: "true"},
	}}
}

// lastSeen finds the object in what an informer hands to a handler, nil if there is none.
func lastSeen[T any](obj any) *T {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	o, _ := obj.(*T)
	return o
}

// changed has an object evaluated that was added (before is nil), changed or removed (now is nil),
// and those whose steps look at it.
func (s *seen) changed(w *watchedKind, before, now *model.Snapshot) {
	o := cmp.Or(now, before)
	if o == nil {
		return
	}
	w.index(before, now)
	s.enqueue(o)
	for _, other := range s.kinds {
		// Those that name it, and those that name none and may get it.
		for _, name := range []string{o.Name, ""} {
			for dependent := range other.dependents[dependency{w.GVK.GroupKind(), types.NamespacedName{Namespace: o.Namespace, Name: name}}] {
				for _, step := range other.Steps {
					s.dirty(key{other.GVK.GroupKind(), types.NamespacedName{Namespace: o.Namespace, Name: dependent}, step})
				}
			}
		}
	}
	if before == nil || now != nil && slices.Equal(before.Refs, now.Refs) {
		return
	}
	// An object that is being deleted waits for its dependents.
	for i, d := range before.Kind.DependsOn {
		if owner := s.object(d.GroupKind, before.Namespace, before.Refs[i]); owner != nil && owner.Deleting() {
			s.enqueue(owner)
		}
	}
}

// enqueue has all steps of the object evaluated; of a kind without steps, those that it may have had.
func (s *seen) enqueue(o *model.Snapshot) {
	steps := o.Kind.Steps
	if len(steps) == 0 {
		steps = model.Steps()
	}
	for _, step := range steps {
		s.dirty(keyOf(o, step))
	}
}

func keyOf(o *model.Snapshot, step model.Step) key {
	return key{o.Kind.GVK.GroupKind(), types.NamespacedName{Namespace: o.Namespace, Name: o.Name}, step}
}

// look finds what the tracker decides by. It is false while something that matters is not known yet.
func (s *seen) look(k key) (o *model.Snapshot, n model.Neighbours, known bool) {
	if w := s.kinds[k.groupKind]; !s.complete || w != nil && !w.synced {
		return nil, n, false // Evaluated again when all objects are known.
	}
	if o = s.object(k.groupKind, k.Namespace, k.Name); o == nil {
		return nil, n, true
	}
	n, known = s.neighbours(o)
	return o, n, known
}

// object finds a snapshot, nil if there is none.
func (s *seen) object(gk schema.GroupKind, namespace, name string) *model.Snapshot {
	w := s.kinds[gk]
	if w == nil || name == "" {
		return nil
	}
	obj, ok, _ := w.objects.GetByKey(cache.NewObjectName(namespace, name).String())
	if !ok {
		return nil
	}
	return obj.(*model.Snapshot)
}

// neighbours is what model.Client.Neighbours reads from the API, from memory. It is false while
// something that matters is not known yet.
func (s *seen) neighbours(o *model.Snapshot) (n model.Neighbours, known bool) {
	if o.Deleting() {
		n.Dependents, known = s.dependents(o)
		return n, known
	}
	for i, rule := range o.Kind.DependsOn {
		d := model.Dependency{DependsOn: rule, Name: o.Refs[i]}
		if w := s.kinds[rule.GroupKind]; w != nil && !w.Retired {
			if !w.known() {
				return n, false
			}
			d.Object = s.object(rule.GroupKind, o.Namespace, o.Refs[i])
			if d.Name == "" {
				d.Candidates = w.present[o.Namespace]
			}
		}
		n.Dependencies = append(n.Dependencies, d)
	}
	return n, true
}

// dependents finds one object of each kind that depends on the given one: that tells model.Due as
// much as all of them.
func (s *seen) dependents(o *model.Snapshot) (found []model.Dependent, known bool) {
	for _, w := range s.kinds {
		if !w.dependsOn(o.Kind) {
			continue
		}
		if !w.known() {
			return nil, false
		}
		for name := range w.dependents[dependency{o.Kind.GVK.GroupKind(), types.NamespacedName{Namespace: o.Namespace, Name: o.Name}}] {
			found = append(found, model.Dependent{Kind: w.GVK.Kind, Name: name, Object: s.object(w.GVK.GroupKind(), o.Namespace, name)})
			break
		}
	}
	return found, true
}
