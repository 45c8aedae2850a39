package collector

import (
	"encoding/json"
	"errors"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/metadata"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

// work looks at one object after the other, and again at those with which something went wrong.
func (c *Collector) work() {
	for {
		ref, shutdown := c.queue.Get()
		if shutdown {
			return
		}
		err := c.collect(ref)
		switch {
		case err == nil || c.life.Err() != nil:
			c.queue.Forget(ref)
		default:
			if !errors.Is(err, errNotSynced) && !apierrors.IsConflict(err) {
				klog.ErrorS(err, "Cannot collect an object; trying again", "object", ref)
			}
			c.queue.AddRateLimited(ref)
		}
		c.queue.Done(ref)
	}
}

// waitsFor is the finalizer by which an object that is being deleted waits for the collector.
func waitsFor(o metav1.Object) string {
	if o.GetDeletionTimestamp() != nil {
		for _, f := range o.GetFinalizers() {
			if f == metav1.FinalizerDeleteDependents || f == metav1.FinalizerOrphanDependents {
				return f
			}
		}
	}
	return ""
}

// collect does what is to be done with one object now. Whatever changes about it, its owners or what depends on it brings it
// here again.
func (c *Collector) collect(ref reference) error {
	if !c.synced() {
		return errNotSynced
	}
	live, err := c.get(ref)
	if live == nil || err != nil {
		return err
	}
	switch waitsFor(live) {
	case metav1.FinalizerDeleteDependents:
		return c.foreground(ref, live)
	case metav1.FinalizerOrphanDependents:
		return c.orphan(ref, live)
	}
	if live.DeletionTimestamp != nil || len(live.OwnerReferences) == 0 {
		return nil
	}
	return c.background(ref, live)
}

// foreground lets an object go when nothing that blocks its deletion depends on it any more.
func (c *Collector) foreground(ref reference, live *metav1.PartialObjectMetadata) error {
	blocked := false
	for _, d := range c.dependents(live.UID) {
		c.queue.Add(d.reference)
		for _, o := range d.GetOwnerReferences() {
			blocked = blocked || o.UID == live.UID && ptr.Deref(o.BlockOwnerDeletion, false)
		}
	}
	if !blocked {
		return c.removeFinalizer(ref, live, metav1.FinalizerDeleteDependents)
	}
	if c.waitsForItself(live.UID) {
		return c.unblock(ref, live) // Somebody has to go first.
	}
	return nil
}

// waitsForItself reports whether a foreground deletion waits for one that waits for it, directly or through others.
func (c *Collector) waitsForItself(uid types.UID) bool {
	seen := sets.New[types.UID]()
	for next := []types.UID{uid}; len(next) > 0; {
		var more []types.UID
		for _, owner := range next {
			for _, d := range c.dependents(owner) {
				if waitsFor(d) != metav1.FinalizerDeleteDependents || seen.Has(d.GetUID()) {
					continue
				}
				seen.Insert(d.GetUID())
				more = append(more, d.GetUID())
			}
		}
		next = more
	}
	return seen.Has(uid)
}

// orphan takes an object's name out of what depends on it, and lets it go.
func (c *Collector) orphan(ref reference, live *metav1.PartialObjectMetadata) error {
	var errs []error
	for _, d := range c.dependents(live.UID) {
		now, err := c.get(d.reference)
		if now != nil && err == nil {
			err = c.keepOwners(d.reference, now, func(o metav1.OwnerReference) bool { return o.UID != live.UID })
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.removeFinalizer(ref, live, metav1.FinalizerOrphanDependents)
}

// background deletes an object that nobody owns any more. One that somebody still owns loses the references to the others.
func (c *Collector) background(ref reference, live *metav1.PartialObjectMetadata) error {
	var solid, waiting []types.UID
	for _, o := range live.OwnerReferences {
		owner, ok := c.owner(live.Namespace, o)
		if !ok {
			solid = append(solid, o.UID)
			continue
		}
		found, err := c.get(owner)
		switch {
		case err != nil:
			return err
		case found == nil || found.UID != o.UID:
		case waitsFor(found) == metav1.FinalizerDeleteDependents:
			waiting = append(waiting, o.UID)
		default:
			solid = append(solid, o.UID)
		}
	}
	if len(solid) == len(live.OwnerReferences) {
		return nil
	}
	if len(solid) > 0 {
		return c.keepOwners(ref, live, func(o metav1.OwnerReference) bool { return slices.Contains(solid, o.UID) })
	}
	// Whoever waits for an object waits for what depends on it, too.
	policy := metav1.DeletePropagationBackground
	if len(waiting) > 0 && len(c.dependents(live.UID)) > 0 {
		policy = metav1.DeletePropagationForeground
	}
	return c.delete(ref, live, policy)
}

func (c *Collector) resource(ref reference) metadata.ResourceInterface {
	k := c.kind(ref.GroupKind)
	if k == nil {
		return nil
	}
	return c.client.Resource(k.gvr).Namespace(ref.Namespace)
}

// get reads an object. It is nil if there is none.
func (c *Collector) get(ref reference) (*metav1.PartialObjectMetadata, error) {
	r := c.resource(ref)
	if r == nil {
		return nil, nil
	}
	o, err := r.Get(c.life, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return o, err
}

func (c *Collector) delete(ref reference, live *metav1.PartialObjectMetadata, policy metav1.DeletionPropagation) error {
	r := c.resource(ref)
	if r == nil {
		return nil
	}
	// Other finalizers stand for other policies, which somebody has chosen.
	if slices.Contains(live.Finalizers, metav1.FinalizerOrphanDependents) {
		policy = metav1.DeletePropagationOrphan
	} else if slices.Contains(live.Finalizers, metav1.FinalizerDeleteDependents) {
		policy = metav1.DeletePropagationForeground
	}
	err := r.Delete(c.life, ref.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion}, PropagationPolicy: &policy,
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// keepOwners removes some owner references.
func (c *Collector) keepOwners(ref reference, live *metav1.PartialObjectMetadata, keep func(metav1.OwnerReference) bool) error {
	left := slices.DeleteFunc(slices.Clone(live.OwnerReferences), func(o metav1.OwnerReference) bool { return !keep(o) })
	if len(left) == len(live.OwnerReferences) {
		return nil
	}
	return c.patch(ref, live, map[string]any{"ownerReferences": left})
}

// unblock lets the owners of an object go before it.
func (c *Collector) unblock(ref reference, live *metav1.PartialObjectMetadata) error {
	owners, blocks := slices.Clone(live.OwnerReferences), false
	for i := range owners {
		blocks = blocks || ptr.Deref(owners[i].BlockOwnerDeletion, false)
		owners[i].BlockOwnerDeletion = ptr.To(false)
	}
	if !blocks {
		return nil
	}
	return c.patch(ref, live, map[string]any{"ownerReferences": owners})
}

func (c *Collector) removeFinalizer(ref reference, live *metav1.PartialObjectMetadata, finalizer string) error {
	left := slices.DeleteFunc(slices.Clone(live.Finalizers), func(f string) bool { return f == finalizer })
	return c.patch(ref, live, map[string]any{"finalizers": left})
}

// patch changes the metadata of an object, if it is still as it was read, and live with it.
func (c *Collector) patch(ref reference, live *metav1.PartialObjectMetadata, change map[string]any) error {
	r := c.resource(ref)
	if r == nil {
		return nil
	}
	change["uid"], change["resourceVersion"] = live.UID, live.ResourceVersion
	body, err := json.Marshal(map[string]any{"metadata": change})
	if err != nil {
		return err
	}
	now, err := r.Patch(c.life, ref.Name, types.MergePatchType, body, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil {
		live.ResourceVersion = now.ResourceVersion
	}
	return err
}
