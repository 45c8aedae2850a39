package source

import (
	"cmp"
	"context"
	"iter"
	"reflect"
	"slices"
	"strings"

	"go.uber.org/zap"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// watchedKind is a model that the source follows.
type watchedKind struct {
	*model.Kind
	// objects holds a *model.Snapshot for each object.
	objects cache.Store
	stop    context.CancelFunc

	// Source.mu protects following.

	// synced: objects holds all that there are.
	synced bool
	// dependents are the names of the objects that depend on something; those
	// that name none of its kind stand under the empty name.
	dependents map[dependency]sets.Set[string]
	// present counts the objects of each namespace that are not being deleted.
	present map[string]int
}

// dependency is something that objects depend on.
type dependency struct {
	kind schema.GroupKind
	types.NamespacedName
}

func newWatchedKind(k *model.Kind, stop context.CancelFunc) *watchedKind {
	return &watchedKind{Kind: k, stop: stop, dependents: map[dependency]sets.Set[string]{}, present: map[string]int{}}
}

// index follows what the objects depend on. A client-go indexer would do it,
// but to find out whether there is anything left under a key it copies all
// that is: too dear for the end of each of ten thousand dependents.
func (w *watchedKind) index(before, now *model.Snapshot) {
	if before != nil {
		for d := range w.dependencies(before) {
			if names := w.dependents[d].Delete(before.Name); len(names) == 0 {
				delete(w.dependents, d)
			}
		}
		if !before.Deleting() {
			w.present[before.Namespace]--
		}
	}
	if now != nil {
		for d := range w.dependencies(now) {
			if w.dependents[d] == nil {
				w.dependents[d] = sets.Set[string]{}
			}
			w.dependents[d].Insert(now.Name)
		}
		if !now.Deleting() {
			w.present[now.Namespace]++
		}
	}
}

func (w *watchedKind) dependencies(o *model.Snapshot) iter.Seq[dependency] {
	return func(yield func(dependency) bool) {
		for i, d := range w.DependsOn {
			if !yield(dependency{d.Kind, types.NamespacedName{Namespace: o.Namespace, Name: o.Refs[i]}}) {
				return
			}
		}
	}
}

func listWatch(resource dynamic.ResourceInterface, selector string) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.LabelSelector = selector
			return resource.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = selector
			return resource.Watch(ctx, options)
		},
	}
}

// watchDefinitions follows the definitions that are labelled as models, so
// that a new model needs neither a restart nor a change of the source.
func (s *Source) watchDefinitions(ctx context.Context) {
	_, definitions := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: listWatch(s.dynamic.Resource(model.CRDs), model.LabelModel+"=true"),
		ObjectType:    &unstructured.Unstructured{},
		// Schemas are large, and nothing here needs them.
		Transform: func(obj any) (any, error) {
			if u, ok := obj.(*unstructured.Unstructured); ok {
				dropSchemas(u)
			}
			return obj, nil
		},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { s.define(ctx, obj) },
			UpdateFunc: func(_, obj any) { s.define(ctx, obj) },
			DeleteFunc: func(obj any) { s.undefine(ctx, obj) },
		},
	})
	s.workers.Go(func() {
		if cache.WaitForCacheSync(ctx.Done(), definitions.HasSynced) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.synced = true
			if !s.hasSynchronizer() {
				logging.FromContext(ctx).Info("No synchronizer is installed: there are no models but the core's own")
			}
			for _, w := range s.kinds {
				s.enqueueAll(w)
			}
		}
	})
	definitions.RunWithContext(ctx)
}

// hasSynchronizer reports whether anybody but the core has models. The caller holds mu.
func (s *Source) hasSynchronizer() bool {
	for gk := range s.kinds {
		if gk.Group != v1alpha1.GroupVersion.Group {
			return true
		}
	}
	return false
}

func dropSchemas(u *unstructured.Unstructured) {
	u.SetManagedFields(nil)
	versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
	for _, v := range versions {
		if version, ok := v.(map[string]any); ok {
			delete(version, "schema")
			delete(version, "additionalPrinterColumns")
		}
	}
	_ = unstructured.SetNestedSlice(u.Object, versions, "spec", "versions")
}

// define begins to follow a model, or follows it as it is defined now.
func (s *Source) define(ctx context.Context, obj any) {
	log := logging.FromContext(ctx)
	u := obj.(*unstructured.Unstructured)
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, crd); err != nil {
		log.Errorw("A model definition cannot be read", zap.String("definition", u.GetName()), zap.Error(err))
		return
	}
	kind, err := model.ParseKind(crd)
	if err != nil {
		log.Errorw("A model definition is wrong; its objects are not synchronized", zap.Error(err))
		s.undefine(ctx, obj)
		return
	}
	if !apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
		return // The API does not serve it yet; an update will tell when.
	}
	gk := kind.GVK.GroupKind()

	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.kinds[gk]
	if old != nil {
		if reflect.DeepEqual(old.Kind, kind) {
			return
		}
		old.stop()
	}
	watching, stop := context.WithCancel(ctx)
	w := newWatchedKind(kind, stop)
	objects, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: listWatch(s.dynamic.Resource(kind.GVR()).Namespace(s.options.Namespace), ""),
		ObjectType:    &unstructured.Unstructured{},
		Transform:     func(obj any) (any, error) { return w.snapshot(ctx, obj), nil },
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { s.changed(w, nil, obj) },
			UpdateFunc: func(old, obj any) { s.changed(w, old, obj) },
			DeleteFunc: func(obj any) { s.changed(w, obj, nil) },
		},
	})
	w.objects = objects
	s.kinds[gk] = w
	if old != nil {
		s.enqueueAround(old) // What was in the way by the old definition may not be by the new one.
	}
	log.Infow("Watching a model", zap.Stringer("model", kind.GVK), zap.Any("steps", kind.Steps))
	s.workers.Go(func() { informer.RunWithContext(watching) })
	s.workers.Go(func() {
		if cache.WaitForCacheSync(watching.Done(), informer.HasSynced) {
			s.mu.Lock()
			defer s.mu.Unlock()
			w.synced = true
			s.enqueueAround(w)
		}
	})
}

// undefine stops following a model.
func (s *Source) undefine(ctx context.Context, obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
	name, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
	plural, _, _ := unstructured.NestedString(u.Object, "spec", "names", "plural")
	gk := schema.GroupKind{Group: group, Kind: name}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.kinds[gk]
	if w == nil || w.Resource != plural {
		return // Not followed, or by a definition that had the kind first.
	}
	w.stop()
	delete(s.kinds, gk)
	logging.FromContext(ctx).Infow("No longer watching a model", zap.Stringer("model", w.GVK))
	s.enqueueAround(w)
}

// enqueueAround has all objects of a model and of its neighbours looked at:
// when all of its objects are known, because before that one that is there
// could be taken for missing, and when its definition has changed or is gone.
// The caller holds mu.
func (s *Source) enqueueAround(w *watchedKind) {
	s.enqueueAll(w)
	for _, other := range s.kinds {
		if other != w && (other.dependsOn(w.Kind) || w.dependsOn(other.Kind)) {
			s.enqueueAll(other)
		}
	}
}

func (w *watchedKind) dependsOn(k *model.Kind) bool {
	for _, d := range w.DependsOn {
		if d.Kind == k.GVK.GroupKind() {
			return true
		}
	}
	return false
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
		s.Status.Conditions, s.Status.Annotations = nil, nil
		s.Labels, s.OwnerReferences = nil, nil
		return s
	}
	// It must not stop the watch of all others. Held back, it is in nobody's
	// way, but still counts for those that depend on it or that it depends on.
	logging.FromContext(ctx).Errorw("An object cannot be read; its steps are held back", zap.Error(err))
	s = &model.Snapshot{Kind: w.Kind, ObjectMeta: metav1.ObjectMeta{
		Namespace: u.GetNamespace(), Name: u.GetName(), UID: u.GetUID(), ResourceVersion: u.GetResourceVersion(),
		Generation: u.GetGeneration(), DeletionTimestamp: u.GetDeletionTimestamp(), Finalizers: u.GetFinalizers(),
		Annotations: map[string]string{model.AnnotationPaused: "true"},
	}}
	for _, d := range w.DependsOn {
		name, _, _ := unstructured.NestedString(u.Object, strings.Split(d.Path, ".")...)
		s.Refs = append(s.Refs, name)
	}
	return s
}

// snapshotIn finds the snapshot in what an informer tells, nil if there is none.
func snapshotIn(obj any) *model.Snapshot {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	o, _ := obj.(*model.Snapshot)
	return o
}

// changed looks at an object that was added (old is nil), changed or removed
// (current is nil), and at those whose steps look at it.
func (s *Source) changed(w *watchedKind, old, current any) {
	before, now := snapshotIn(old), snapshotIn(current)
	o := cmp.Or(now, before)
	if o == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.index(before, now)
	s.enqueue(o)
	for _, other := range s.kinds {
		// Those that name it, and those that name none and may get it.
		for _, name := range []string{o.Name, ""} {
			for dependent := range other.dependents[dependency{w.GVK.GroupKind(), types.NamespacedName{Namespace: o.Namespace, Name: name}}] {
				for _, step := range other.Steps {
					s.queue.Add(key{other.GVK.GroupKind(), types.NamespacedName{Namespace: o.Namespace, Name: dependent}, step})
				}
			}
		}
	}
	if before != nil && (now == nil || !slices.Equal(before.Refs, now.Refs)) {
		s.enqueueReleased(before)
	}
}

// enqueueReleased looks at what the object depended on and was in the way of:
// only one that is being deleted waits for its dependents. The caller holds mu.
func (s *Source) enqueueReleased(before *model.Snapshot) {
	for i, d := range before.Kind.DependsOn {
		if owner := s.object(d.Kind, before.Namespace, before.Refs[i]); owner != nil && owner.Deleting() {
			s.enqueue(owner)
		}
	}
}

// enqueue has all steps of the object looked at.
func (s *Source) enqueue(o *model.Snapshot) {
	for _, step := range o.Kind.Steps {
		s.queue.Add(keyOf(o, step))
	}
}

func keyOf(o *model.Snapshot, step model.Step) key {
	return key{o.Kind.GVK.GroupKind(), types.NamespacedName{Namespace: o.Namespace, Name: o.Name}, step}
}

// enqueueAll has all objects of a model looked at, and those that are
// remembered but gone, or whose step is. The caller holds mu.
func (s *Source) enqueueAll(w *watchedKind) {
	for _, obj := range w.objects.List() {
		s.enqueue(obj.(*model.Snapshot))
	}
	for k := range s.tracked {
		if k.kind == w.GVK.GroupKind() {
			s.queue.Add(k)
		}
	}
}

// object finds a snapshot, nil if there is none. The caller holds mu.
func (s *Source) object(gk schema.GroupKind, namespace, name string) *model.Snapshot {
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

// neighbours is what model.Client.Neighbours reads from the API, from memory.
// It is false while something that matters is not known yet. The caller holds mu.
func (s *Source) neighbours(o *model.Snapshot) (model.Neighbours, bool) {
	var n model.Neighbours
	if o.Deleting() {
		for _, w := range s.kinds {
			if !w.dependsOn(o.Kind) {
				continue
			}
			if !w.synced {
				return n, false
			}
			// One of each kind tells Due as much as all of them.
			for name := range w.dependents[dependency{o.Kind.GVK.GroupKind(), types.NamespacedName{Namespace: o.Namespace, Name: o.Name}}] {
				n.Dependents = append(n.Dependents, model.Dependent{Kind: w.GVK.Kind, Name: name})
				break
			}
		}
		return n, true
	}
	for i, rule := range o.Kind.DependsOn {
		d := model.Dependency{DependsOn: rule, Name: o.Refs[i], Object: s.object(rule.Kind, o.Namespace, o.Refs[i])}
		w := s.kinds[rule.Kind]
		if w != nil && !w.synced {
			return n, false
		}
		if w != nil && d.Name == "" {
			d.Candidates = w.present[o.Namespace]
		}
		n.Dependencies = append(n.Dependencies, d)
	}
	return n, true
}
