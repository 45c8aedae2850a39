// Package collector is the garbage collector of a Kubernetes API that has none: the one of a cluster
// is part of kube-controller-manager and cannot be linked. It does for custom resources and their
// definitions what the API server leaves to it:
//
//   - foreground deletion: what depends on an object goes first, as far as it says
//     blockOwnerDeletion; then the finalizer foregroundDeletion goes.
//   - orphaning: what depends on an object loses its owner reference; then the finalizer orphan goes.
//   - background deletion: an object whose owners are all gone is deleted. Owners are compared by UID.
//
// The rules are those of https://kubernetes.io/docs/concepts/architecture/garbage-collection/. An owner
// of a kind that the API does not serve counts as there. This file keeps what depends on what;
// collect.go acts on it.
package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// byOwner is the index of objects by the UIDs of their owners.
const byOwner = "owner"

// Collector collects until Stop. Make one with Start.
type Collector struct {
	client      metadata.Interface
	definitions cache.SharedIndexInformer
	queue       workqueue.TypedRateLimitingInterface[reference]
	life        context.Context
	end         context.CancelFunc
	wg          sync.WaitGroup

	mu    sync.Mutex // protects kinds
	kinds map[schema.GroupKind]*kind
}

// kind is what objects of one kind are, and those that there are.
type kind struct {
	gvr        schema.GroupVersionResource
	namespaced bool
	objects    cache.SharedIndexInformer
	stop       context.CancelFunc
}

// reference is one object.
type reference struct {
	schema.GroupKind
	types.NamespacedName
}

// Start collects what the API of config has. The configuration must be allowed everything.
func Start(config *rest.Config) (*Collector, error) {
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client for metadata: %w", err)
	}
	crds, err := clientset.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client for definitions: %w", err)
	}
	c := &Collector{
		client:      client,
		definitions: externalversions.NewSharedInformerFactory(crds, 0).Apiextensions().V1().CustomResourceDefinitions().Informer(),
		queue:       workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[reference](20*time.Millisecond, 10*time.Second)),
		kinds:       map[schema.GroupKind]*kind{},
	}
	c.life, c.end = context.WithCancel(context.Background())
	// A definition can be deleted in each of the ways, too.
	c.follow(apiextensionsv1.Kind("CustomResourceDefinition"), apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions"), false)
	_, err = c.definitions.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.define,
		UpdateFunc: func(_, obj any) { c.define(obj) },
		DeleteFunc: c.undefine,
	})
	if err != nil {
		c.Stop()
		return nil, fmt.Errorf("cannot follow definitions: %w", err)
	}
	c.wg.Go(func() { c.definitions.RunWithContext(c.life) })
	c.wg.Go(c.work)
	return c, nil
}

// Stop ends the Collector and returns when it is at rest.
func (c *Collector) Stop() {
	c.end()
	c.queue.ShutDown()
	c.wg.Wait()
}

// define follows the objects of a definition.
func (c *Collector) define(obj any) {
	crd := obj.(*apiextensionsv1.CustomResourceDefinition)
	if !apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
		return
	}
	for _, v := range crd.Spec.Versions {
		if v.Served {
			gvr := schema.GroupVersionResource{Group: crd.Spec.Group, Version: v.Name, Resource: crd.Spec.Names.Plural}
			c.follow(schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}, gvr, crd.Spec.Scope == apiextensionsv1.NamespaceScoped)
			return
		}
	}
}

// undefine forgets the objects of a definition that is gone.
func (c *Collector) undefine(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return
	}
	gk := schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.kinds[gk]; k != nil {
		k.stop()
		delete(c.kinds, gk)
	}
}

// follow watches the objects of a kind, unless it does already.
func (c *Collector) follow(gk schema.GroupKind, gvr schema.GroupVersionResource, namespaced bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.kinds[gk]; old != nil {
		if old.gvr == gvr && old.namespaced == namespaced {
			return
		}
		old.stop()
	}
	indexers := cache.Indexers{byOwner: func(obj any) (uids []string, _ error) {
		for _, o := range obj.(metav1.Object).GetOwnerReferences() {
			uids = append(uids, string(o.UID))
		}
		return uids, nil
	}}
	objects := metadatainformer.NewFilteredMetadataInformer(c.client, gvr, metav1.NamespaceAll, 0, indexers, nil).Informer()
	_, err := objects.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { c.changed(gk, obj) },
		UpdateFunc: func(old, obj any) {
			c.owners(old.(metav1.Object)) // One that it no longer has may have waited for it.
			c.changed(gk, obj)
		},
		DeleteFunc: func(obj any) { c.deleted(obj) },
	})
	if err != nil {
		klog.ErrorS(err, "Cannot follow a kind", "kind", gk)
		return
	}
	ctx, cancel := context.WithCancel(c.life)
	c.kinds[gk] = &kind{gvr: gvr, namespaced: namespaced, objects: objects, stop: cancel}
	c.wg.Go(func() { objects.RunWithContext(ctx) })
	c.wg.Go(func() {
		// What has an owner of this kind could not be judged before.
		if cache.WaitForCacheSync(ctx.Done(), objects.HasSynced) {
			c.each(func(other schema.GroupKind, obj metav1.Object) { c.changed(other, obj) })
		}
	})
}

// each calls f for all objects.
func (c *Collector) each(f func(gk schema.GroupKind, obj metav1.Object)) {
	for gk, k := range c.all() {
		for _, obj := range k.objects.GetStore().List() {
			f(gk, obj.(metav1.Object))
		}
	}
}

func (c *Collector) all() map[schema.GroupKind]*kind {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[schema.GroupKind]*kind, len(c.kinds))
	for gk, k := range c.kinds {
		all[gk] = k
	}
	return all
}

func (c *Collector) kind(gk schema.GroupKind) *kind {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kinds[gk]
}

// changed has an object looked at if there may be something to do.
func (c *Collector) changed(gk schema.GroupKind, obj any) {
	o := obj.(metav1.Object)
	if waitsFor(o) != "" || len(o.GetOwnerReferences()) > 0 {
		c.queue.Add(refer(gk, o))
	}
	c.owners(o)
}

// deleted has both sides of an object that is gone looked at.
func (c *Collector) deleted(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	o, ok := obj.(metav1.Object)
	if !ok {
		return
	}
	c.owners(o)
	for _, d := range c.dependents(o.GetUID()) {
		c.queue.Add(d.reference)
	}
}

// owners has the owners of an object looked at: they may wait for it.
func (c *Collector) owners(o metav1.Object) {
	for _, owner := range o.GetOwnerReferences() {
		if ref, ok := c.owner(o.GetNamespace(), owner); ok {
			c.queue.Add(ref)
		}
	}
}

// owner is the object that an owner reference of an object in namespace means. It is not ok if that cannot be known: its kind
// is not served, or an object outside of namespaces says that one in a namespace owns it.
func (c *Collector) owner(namespace string, owner metav1.OwnerReference) (reference, bool) {
	gk := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind()
	k := c.kind(gk)
	if k == nil || k.namespaced && namespace == "" {
		return reference{}, false
	}
	if !k.namespaced {
		namespace = ""
	}
	return reference{gk, types.NamespacedName{Namespace: namespace, Name: owner.Name}}, true
}

func refer(gk schema.GroupKind, o metav1.Object) reference {
	return reference{gk, types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}}
}

// dependent is an object that depends on another one.
type dependent struct {
	reference
	metav1.Object
}

// dependents are all objects with an owner reference to a UID.
func (c *Collector) dependents(uid types.UID) (all []dependent) {
	for gk, k := range c.all() {
		objects, err := k.objects.GetIndexer().ByIndex(byOwner, string(uid))
		if err != nil {
			klog.ErrorS(err, "Cannot look up what depends on an object", "kind", gk)
		}
		for _, obj := range objects {
			o := obj.(metav1.Object)
			all = append(all, dependent{refer(gk, o), o})
		}
	}
	return all
}

// synced reports whether all objects are known, without which nobody can say what depends on one.
func (c *Collector) synced() bool {
	if !c.definitions.HasSynced() {
		return false
	}
	for _, k := range c.all() {
		if !k.objects.HasSynced() {
			return false
		}
	}
	return true
}

var errNotSynced = errors.New("not all objects are known yet")
