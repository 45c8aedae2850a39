package model

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/lru"
)

// What a client remembers, so that a function stays small.
const (
	maxKnown     = 32
	maxKnownSize = 64 << 10 // As JSON, in bytes.
	maxWritten   = 1024
)

// known is what a client remembers of objects.
type known struct {
	// objects are some that others depend on. Many objects depend on the same one, and each of their events says
	// which version of it the model source has seen. Only that very version is used again, so what is remembered
	// is never older than what woke the step.
	objects *lru.Cache
	// written are the resource versions that the client has written last: it does not read an older one after that. Of an
	// object that is gone since, it is empty.
	written *lru.Cache
}

type knownKey struct {
	schema.GroupVersionKind
	namespace, name string
}

func newKnown() *known { return &known{lru.New(maxKnown), lru.New(maxWritten)} }

// wrote remembers the version of an object that was written.
func (n *known) wrote(u *unstructured.Unstructured) {
	version := u.GetResourceVersion()
	if !u.GetDeletionTimestamp().IsZero() && len(u.GetFinalizers()) == 0 {
		version = ""
	}
	n.written.Add(knownKey{u.GroupVersionKind(), u.GetNamespace(), u.GetName()}, version)
}

// notOlder is the version, or a newer one that the client has written, and empty if it must read what is there now.
func (n *known) notOlder(k *Kind, namespace, name, version string) string {
	found, ok := n.written.Get(knownKey{k.GVK, namespace, name})
	written, _ := found.(string)
	if ok && written == "" {
		return ""
	}
	if newer, err := resourceversion.CompareResourceVersion(written, version); err == nil && newer > 0 {
		return written
	}
	return version
}

// get returns the object of that version, nil if it is not known. It must not be changed.
func (n *known) get(k *Kind, namespace, name, version string) *unstructured.Unstructured {
	if version == "" {
		return nil
	}
	found, _ := n.objects.Get(knownKey{k.GVK, namespace, name})
	if u, ok := found.(*unstructured.Unstructured); ok && u.GetResourceVersion() == version {
		return u
	}
	return nil
}

// put remembers an object that was read.
func (n *known) put(u *unstructured.Unstructured) {
	if raw, err := json.Marshal(u.Object); err == nil && len(raw) <= maxKnownSize {
		n.objects.Add(knownKey{u.GroupVersionKind(), u.GetNamespace(), u.GetName()}, u)
	}
}
