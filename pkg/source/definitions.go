package source

import (
	"context"
	"maps"
	"reflect"
	"strings"

	"go.uber.org/zap"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// definitionsPage is how many definitions are read at once. A large cluster has hundreds, of 100 KiB each.
const definitionsPage = 20

// listWatch lists and watches a resource. It calls listed with the result of each list.
func listWatch(resource dynamic.ResourceInterface, listed func(error)) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := resource.List(ctx, options)
			if ctx.Err() == nil {
				listed(err)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return resource.Watch(ctx, options)
		},
	}
}

// listWatchDefinitions reads the definitions page by page and keeps little of each page.
func listWatchDefinitions(resource dynamic.ResourceInterface) *cache.ListWatch {
	lw := listWatch(resource, func(error) {})
	list := lw.ListWithContextFunc
	lw.ListWithContextFunc = func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		if options.ResourceVersion == "0" {
			options.ResourceVersion = "" // With "0" the API server sends all at once.
		}
		options.Limit = min(options.Limit, definitionsPage)
		l, err := list(ctx, options)
		if err != nil {
			return nil, err
		}
		return l, l.(*unstructured.UnstructuredList).EachListItem(func(obj runtime.Object) error {
			keepLittle(obj.(*unstructured.Unstructured))
			return nil
		})
	}
	return lw
}

// watchDefinitions follows the definitions, so that a new model needs neither a restart nor a change of
// the source. It reads also those that are not labelled as models: they may have been.
func (s *Source) watchDefinitions(ctx context.Context) {
	_, definitions := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: listWatchDefinitions(s.dynamic.Resource(model.CRDs)),
		ObjectType:    &unstructured.Unstructured{},
		Transform: func(obj any) (any, error) {
			if u, ok := obj.(*unstructured.Unstructured); ok {
				keepLittle(u)
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
			s.definitionsSynced(ctx)
		}
	})
	definitions.RunWithContext(ctx)
}

// definitionsSynced has everything evaluated that had to wait until all kinds were known.
func (s *Source) definitionsSynced(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complete = true
	ofTheCore := func(gk schema.GroupKind, w *watchedKind) bool {
		return w.Retired || gk.Group == v1alpha1.GroupVersion.Group
	}
	others := maps.Clone(s.kinds)
	if maps.DeleteFunc(others, ofTheCore); len(others) == 0 {
		logging.FromContext(ctx).Infof("No synchronizer is installed: waiting for CustomResourceDefinitions with the label %s: \"true\"", model.LabelModel)
	}
	for _, w := range s.kinds {
		s.enqueueAll(w)
	}
}

// keepLittle drops what is large in a definition and not needed here: schemas, and what kubectl and field
// managers store.
func keepLittle(u *unstructured.Unstructured) {
	u.SetManagedFields(nil)
	annotations := u.GetAnnotations()
	maps.DeleteFunc(annotations, func(key, _ string) bool { return !strings.HasPrefix(key, model.FinalizerPrefix) })
	u.SetAnnotations(annotations)
	versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
	for _, v := range versions {
		if version, ok := v.(map[string]any); ok {
			delete(version, "schema")
			delete(version, "additionalPrinterColumns")
		}
	}
	_ = unstructured.SetNestedSlice(u.Object, versions, "spec", "versions")
}

func definitionIn(u *unstructured.Unstructured) (*apiextensionsv1.CustomResourceDefinition, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: u.GetName()}}
	return crd, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, crd)
}

// define starts to watch the objects of a model, or watches them as the definition says now. If that is
// not the definition of a model any more it goes on, until nothing of the steps is left on the objects.
func (s *Source) define(ctx context.Context, obj any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := logging.FromContext(ctx)
	crd, err := definitionIn(obj.(*unstructured.Unstructured))
	if err != nil {
		log.Errorw("A model definition cannot be read", zap.String("definition", crd.Name), zap.Error(err))
		return
	}
	old := s.kinds[schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}]
	parse := model.ParseKind
	if !model.IsModel(crd) {
		if old == nil && !model.WasModel(crd) {
			return
		}
		parse = model.ParseRetired
	}
	kind, err := parse(crd)
	if err != nil {
		// What was watched stays so: its objects still protect what they depend on.
		log.Errorw("A model definition is wrong; it stays as it was before, or unknown if it is new", zap.Error(err))
		return
	}
	if !apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
		return // The API does not serve it yet; there is an update when it does.
	}
	if old != nil {
		if reflect.DeepEqual(old.Kind, kind) {
			return
		}
		old.stop()
	}
	s.watch(ctx, kind)
	if old != nil {
		s.enqueueAround(old) // What was in the way by the old definition may not be by the new one.
	}
}

// watch starts to watch the objects of a kind. The caller holds mu.
func (s *Source) watch(ctx context.Context, kind *model.Kind) {
	watching, stop := context.WithCancel(ctx)
	w := newWatchedKind(kind, stop)
	if w.before = s.kinds[kind.GVK.GroupKind()]; w.before != nil && !w.before.synced {
		w.before = w.before.before
	}
	s.kinds[kind.GVK.GroupKind()] = w
	if kind.Retired {
		logging.FromContext(ctx).Infow("A kind is no model any more: what its steps have left on its objects is taken away", zap.Stringer("model", kind.GVK))
	} else {
		logging.FromContext(ctx).Infow("Watching a model", zap.Stringer("model", kind.GVK), zap.Any("steps", kind.Steps))
	}
	objects := listWatch(s.objects.Resource(kind.GVR()).Namespace(s.Namespace), func(err error) { s.listed(ctx, w, err) })
	reflector := cache.NewReflectorWithOptions(objects, nil, &intake{s, w, ctx}, cache.ReflectorOptions{TypeDescription: kind.GVK.String()})
	s.workers.Go(func() { reflector.RunWithContext(watching) })
}

// listed remembers whether the objects of a kind may be listed. Other errors pass, and are waited for.
func (s *Source) listed(ctx context.Context, w *watchedKind, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kinds[w.GVK.GroupKind()] != w {
		return
	}
	if !apierrors.IsForbidden(err) {
		err = nil
	}
	s.unlisted(ctx, w, err)
}

// unlisted stores why the objects of a kind may not be listed, nil if they may. The caller holds mu.
func (s *Source) unlisted(ctx context.Context, w *watchedKind, err error) {
	was := w.err
	if w.err = err; (was == nil) == (err == nil) {
		return
	}
	if err == nil {
		unlistedModels.DeleteLabelValues(w.GVK.Kind)
	} else {
		unlistedModels.WithLabelValues(w.GVK.Kind).Set(1)
		logging.FromContext(ctx).Errorw("The objects of a model may not be listed: their steps are not woken", zap.Stringer("model", w.GVK), zap.Error(err))
	}
	s.enqueueAround(w)
}

// undefine stops watching the objects of a model.
func (s *Source) undefine(ctx context.Context, obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	crd, _ := definitionIn(obj.(*unstructured.Unstructured))
	gk := schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.kinds[gk]
	if w == nil || w.Resource != crd.Spec.Names.Plural {
		return // Not watched, or because of another definition that had the kind first.
	}
	w.stop()
	s.unlisted(ctx, w, nil)
	delete(s.kinds, gk)
	logging.FromContext(ctx).Infow("No longer watching a model", zap.Stringer("model", w.GVK))
	s.enqueueAround(w)
}

// enqueueAround has all objects of a kind and of its neighbours evaluated: when all of its objects
// are known, because before that one that is there could be taken for missing, and when its
// definition has changed or is gone. The caller holds mu.
func (s *Source) enqueueAround(w *watchedKind) {
	s.enqueueAll(w)
	for _, other := range s.kinds {
		if other != w && (other.dependsOn(w.Kind) || w.dependsOn(other.Kind)) {
			s.enqueueAll(other)
		}
	}
}

// enqueueAll has all objects of a kind evaluated, and those that are remembered but gone, or whose
// step is. The caller holds mu.
func (s *Source) enqueueAll(w *watchedKind) {
	for _, r := range w.records {
		s.enqueue(w, r)
	}
	for k := range s.tasks {
		if k.groupKind == w.GVK.GroupKind() {
			s.dirty(k)
		}
	}
}
