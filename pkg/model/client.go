package model

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/tools/reference"
)

// CRDs is the resource of the model definitions.
var CRDs = apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")

// kindsMaxAge is how long the definitions that a client has read stay valid. A kind that is not among
// them is looked up at once.
const kindsMaxAge = time.Minute

// dependentsMaxAge is the same when the client looks for what depends on an object. A new kind can
// depend on it, and the object must not be removed before the objects of that kind.
const dependentsMaxAge = time.Second

// notOlderTimeout bounds a request for a version of an object that the API server may not have yet.
const notOlderTimeout = time.Second

// requestTimeout bounds a request to the API, so that a step's run ends also if the API hangs.
const requestTimeout = 30 * time.Second

// ErrNoModel is wrapped by errors about a kind that no model definition has.
var ErrNoModel = errors.New("not a model")

// ErrDefinition is wrapped by errors about a model definition that cannot be read.
var ErrDefinition = errors.New("wrong definition of a model")

// ErrVersion is wrapped by errors about a version of a kind that the API does not serve.
var ErrVersion = errors.New("version is not served")

// Client is the model client of all functions. It has no watch: a function runs only while there are events, and decides
// on an object that is not older than its event. Of what objects depend on it remembers a few, for events that say that
// they have not changed. It is safe for concurrent use.
//
// Errors of the API server are wrapped: the functions of k8s.io/apimachinery/pkg/api/errors work with
// them.
type Client struct {
	dynamic dynamic.Interface
	api     rest.Interface
	scheme  *runtime.Scheme
	writes  WriteOptions
	known   *known

	// mu protects following.
	mu     sync.Mutex
	kinds  []*Kind
	broken []broken
	readAt time.Time
}

// broken is a model definition that cannot be read.
type broken struct {
	groupKind schema.GroupKind
	// dependsOn is the annotation of that name.
	dependsOn string
	err       error
}

// NewClient makes a client. The functions addToScheme register the Go types of the models:
// AddToScheme of each API package. A request takes no longer than 30 s, unless config has a Timeout.
func NewClient(config *rest.Config, addToScheme ...func(*runtime.Scheme) error) (*Client, error) {
	config = rest.CopyConfig(config)
	config.Timeout = cmp.Or(config.Timeout, requestTimeout)
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("model client: %w", err)
	}
	api, err := rest.UnversionedRESTClientFor(dynamic.ConfigFor(config))
	if err != nil {
		return nil, fmt.Errorf("model client: %w", err)
	}
	c, err := NewClientOn(d, addToScheme...)
	if err == nil {
		c.api = api
	}
	return c, err
}

// NewClientOn makes a client of a dynamic client, for a simulation of the API. It knows no kind that is no model any more.
func NewClientOn(d dynamic.Interface, addToScheme ...func(*runtime.Scheme) error) (*Client, error) {
	scheme := runtime.NewScheme()
	for _, add := range addToScheme {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("model client: %w", err)
		}
	}
	return &Client{dynamic: d, scheme: scheme, known: newKnown()}, nil
}

// Kinds lists all models of the cluster, from their definitions. A definition that cannot be read is left
// out; the model source reports it.
func (c *Client) Kinds(ctx context.Context) ([]*Kind, error) {
	return c.kindsNotOlder(ctx, kindsMaxAge)
}

func (c *Client) kindsNotOlder(ctx context.Context, age time.Duration) ([]*Kind, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kinds != nil && time.Since(c.readAt) < age {
		return c.kinds, nil
	}
	return c.readKinds(ctx)
}

// readKinds reads the definitions again. The caller holds mu.
func (c *Client) readKinds(ctx context.Context) ([]*Kind, error) {
	list, err := c.dynamic.Resource(CRDs).List(ctx, metav1.ListOptions{LabelSelector: LabelModel + "=true"})
	if err != nil {
		return nil, fmt.Errorf("listing model definitions: %w", err)
	}
	kinds, unreadable := []*Kind{}, []broken(nil)
	for i := range list.Items {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, crd); err != nil {
			continue
		}
		if !apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
			continue // The API does not serve it, so it has no objects.
		}
		k, err := ParseKind(crd)
		if err != nil {
			gk := schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}
			unreadable = append(unreadable, broken{gk, crd.Annotations[AnnotationDependsOn], fmt.Errorf("%w: %w", ErrDefinition, err)})
			continue
		}
		kinds = append(kinds, k)
	}
	c.kinds, c.broken, c.readAt = kinds, unreadable, time.Now()
	return kinds, nil
}

// Kind looks up a model by group and kind. The error wraps [ErrNoModel] if there is none, and
// [ErrDefinition] if its definition cannot be read.
func (c *Client) Kind(ctx context.Context, gk schema.GroupKind) (*Kind, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	find := func(k *Kind) bool { return k.GVK.GroupKind() == gk }
	if i := slices.IndexFunc(c.kinds, find); i >= 0 && time.Since(c.readAt) < kindsMaxAge {
		return c.kinds[i], nil
	}
	kinds, err := c.readKinds(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(kinds, find)
	if i < 0 {
		if b := slices.IndexFunc(c.broken, func(b broken) bool { return b.groupKind == gk }); b >= 0 {
			return nil, c.broken[b].err
		}
		return nil, fmt.Errorf("%s: %w: no CustomResourceDefinition of that group and kind has the label %s: \"true\"", gk, ErrNoModel, LabelModel)
	}
	return kinds[i], nil
}

// Retired looks up a kind that is no model any more: the API serves it, but its definition has not the
// label. It reads no definition, as whoever asks has a step for the kind. The error wraps [ErrNoModel] if
// the API does not serve the kind.
func (c *Client) Retired(ctx context.Context, gvk schema.GroupVersionKind) (*Kind, error) {
	none := fmt.Errorf("%s: %w: the API does not serve it", gvk, ErrNoModel)
	if c.api == nil {
		return nil, none
	}
	raw, err := c.api.Get().AbsPath("/apis", gvk.Group, gvk.Version).DoRaw(ctx)
	if apierrors.IsNotFound(err) {
		return nil, none
	}
	served := metav1.APIResourceList{}
	if err == nil {
		err = json.Unmarshal(raw, &served)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what the API serves of %s: %w", gvk.GroupVersion(), err)
	}
	for _, r := range served.APIResources {
		if r.Kind == gvk.Kind && r.Namespaced && !strings.Contains(r.Name, "/") {
			return &Kind{GVK: gvk, Versions: []string{gvk.Version}, Resource: r.Name, Retired: true}, nil
		}
	}
	return nil, none
}

// Changed reports whether the definition of a kind is no longer as it was when the kind was read. It reads
// the definitions again, unless that was done a moment ago.
func (c *Client) Changed(ctx context.Context, k *Kind) (bool, error) {
	kinds, err := c.kindsNotOlder(ctx, dependentsMaxAge)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(kinds, func(now *Kind) bool { return now.GVK.GroupKind() == k.GVK.GroupKind() })
	if i < 0 {
		return !k.Retired, nil
	}
	return !reflect.DeepEqual(kinds[i], k), nil
}

// KindAt looks up a model in a version. The error is that of [Client.Kind] or [Kind.At].
func (c *Client) KindAt(ctx context.Context, gvk schema.GroupVersionKind) (*Kind, error) {
	k, err := c.Kind(ctx, gvk.GroupKind())
	if err != nil {
		return nil, err
	}
	at, err := k.At(gvk.Version)
	if err == nil {
		return at, nil
	}
	// It may be served since the definitions were read.
	if _, err := c.kindsNotOlder(ctx, dependentsMaxAge); err != nil {
		return nil, err
	}
	if k, err = c.Kind(ctx, gvk.GroupKind()); err != nil {
		return nil, err
	}
	return k.At(gvk.Version)
}

// explain replaces the error of a request for objects of the kind by the reason if the API does not serve
// the kind in this version, which the error does not say. What the client has read of definitions is then
// not true any more.
func (c *Client) explain(ctx context.Context, k *Kind, err error) error {
	if !apierrors.IsNotFound(err) || IsGone(err) {
		return err
	}
	c.mu.Lock()
	c.kinds = nil
	c.mu.Unlock()
	if _, reason := c.KindAt(ctx, k.GVK); reason != nil {
		return reason
	}
	return err
}

func (c *Client) resource(k *Kind, namespace string) dynamic.ResourceInterface {
	return c.dynamic.Resource(k.GVR()).Namespace(namespace)
}

// Live reads an object as it is now.
func (c *Client) Live(ctx context.Context, k *Kind, namespace, name string) (*unstructured.Unstructured, error) {
	u, err := c.resource(k, namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("getting %s %s/%s: %w", k.GVK.Kind, namespace, name, c.explain(ctx, k, err))
	}
	return u, nil
}

// NotOlder reads an object as it was at the resource version or later. The API server answers that from its memory, and
// need not ask its store. Without a version, or if the server cannot, the object is read as it is now.
func (c *Client) NotOlder(ctx context.Context, k *Kind, namespace, name, version string) (*unstructured.Unstructured, error) {
	if version != "" {
		version = c.known.notOlder(k, namespace, name, version)
	}
	if version != "" {
		// For a version that is not there yet the server waits, and has the client ask again and again.
		soon, cancel := context.WithTimeout(ctx, notOlderTimeout)
		defer cancel()
		u, err := c.resource(k, namespace).Get(soon, name, metav1.GetOptions{ResourceVersion: version})
		if err == nil {
			return u, nil
		}
		if IsGone(err) || ctx.Err() != nil {
			return nil, fmt.Errorf("getting %s %s/%s: %w", k.GVK.Kind, namespace, name, err)
		}
	}
	return c.Live(ctx, k, namespace, name)
}

// ObjectReference refers to an object of any kind that the client knows.
func (c *Client) ObjectReference(obj Object) (*corev1.ObjectReference, error) {
	return reference.GetReference(c.scheme, obj)
}

// events are the Kubernetes Events. They have no part in the protocol.
func (c *Client) events(namespace string) dynamic.ResourceInterface {
	return c.dynamic.Resource(eventsv1.SchemeGroupVersion.WithResource("events")).Namespace(namespace)
}

// CreateEvent creates a Kubernetes Event.
func (c *Client) CreateEvent(ctx context.Context, event *eventsv1.Event) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(event)
	if err != nil {
		return err
	}
	_, err = c.events(event.Namespace).Create(ctx, &unstructured.Unstructured{Object: content}, metav1.CreateOptions{})
	return err
}

// PatchEvent changes the series of a Kubernetes Event, which is all that may change of one.
func (c *Client) PatchEvent(ctx context.Context, event *eventsv1.Event) error {
	patch, err := json.Marshal(map[string]any{"series": event.Series})
	if err != nil {
		return err
	}
	_, err = c.events(event.Namespace).Patch(ctx, event.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// each lists the objects page by page, and calls fn for each.
func (c *Client) each(ctx context.Context, k *Kind, namespace string, options metav1.ListOptions, fn func(*unstructured.Unstructured) error) error {
	list := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		list, err := c.resource(k, namespace).List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("listing %s in %s: %w", k.GVK.Kind, namespace, c.explain(ctx, k, err))
		}
		return list, nil
	})
	return list.EachListItem(ctx, options, func(obj runtime.Object) error { return fn(obj.(*unstructured.Unstructured)) })
}

// EachLive calls fn for each object of the kind in a namespace, page by page.
func (c *Client) EachLive(ctx context.Context, k *Kind, namespace string, fn func(*unstructured.Unstructured) error) error {
	return c.each(ctx, k, namespace, metav1.ListOptions{}, fn)
}

// Snapshots takes a snapshot of each object of the kind in a namespace.
func (c *Client) Snapshots(ctx context.Context, k *Kind, namespace string) ([]*Snapshot, error) {
	var all []*Snapshot
	err := c.each(ctx, k, namespace, metav1.ListOptions{}, func(u *unstructured.Unstructured) error {
		s, err := k.SnapshotOf(u)
		all = append(all, s)
		return err
	})
	return all, err
}

// Neighbours reads what [Due] needs besides the object. For a sync that is what the object depends on
// or, if it is being deleted, what depends on it; the latter needs the right to list every kind that
// can. For a policy it is what the object depends on, and only while the policy waits for that. The versions,
// if any, are those of [Reference.Dependencies].
func (c *Client) Neighbours(ctx context.Context, step Step, obj *Snapshot, versions ...string) (n Neighbours, err error) {
	status := obj.Status.Step(step)
	switch {
	case obj.Deleting() && step == StepSync:
		n.Dependents, err = c.Dependents(ctx, obj)
	case obj.Deleting():
		// Only sync waits for dependents.
	case step == StepSync || status != nil && status.State == StateWaiting:
		n.Dependencies, err = c.dependencies(ctx, obj, versions)
	}
	return n, err
}

// Dependencies reads what the object depends on: one for each DependsOn of its kind, in that order.
func (c *Client) Dependencies(ctx context.Context, obj *Snapshot) ([]Dependency, error) {
	return c.dependencies(ctx, obj, nil)
}

// dependencies does not read again what was read before, if its version is the given one.
func (c *Client) dependencies(ctx context.Context, obj *Snapshot, versions []string) ([]Dependency, error) {
	var all []Dependency
	for i, rule := range obj.Kind.DependsOn {
		version := ""
		if len(versions) == len(obj.Kind.DependsOn) {
			version = versions[i]
		}
		d, err := c.dependency(ctx, obj.Namespace, rule, obj.Refs[i], version)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// DependencyAt reads the dependency of one DependsOn of the object's kind.
func (c *Client) DependencyAt(ctx context.Context, obj *Snapshot, i int) (Dependency, error) {
	return c.dependency(ctx, obj.Namespace, obj.Kind.DependsOn[i], obj.Refs[i], "")
}

func (c *Client) dependency(ctx context.Context, namespace string, rule DependsOn, name, version string) (Dependency, error) {
	d := Dependency{DependsOn: rule, Name: name}
	k, err := c.Kind(ctx, rule.GroupKind)
	if errors.Is(err, ErrNoModel) {
		return d, nil // It is missing until somebody installs the model.
	}
	if err != nil {
		return d, err
	}
	if name == "" {
		err := c.each(ctx, k, namespace, metav1.ListOptions{}, func(u *unstructured.Unstructured) error {
			if u.GetDeletionTimestamp().IsZero() {
				d.Candidates++
			}
			return nil
		})
		return d, err
	}
	if len(rest.IsValidPathSegmentName(name)) > 0 {
		return d, nil // No object can have that name.
	}
	if d.Live = c.known.get(k, namespace, name, version); d.Live == nil {
		if d.Live, err = c.Live(ctx, k, namespace, name); IsGone(err) {
			return d, nil
		}
		if err != nil {
			return d, err
		}
		c.known.put(d.Live)
	}
	d.Object, err = k.SnapshotOf(d.Live)
	return d, err
}

// Dependents lists the objects that depend on obj. If the definition declares the field selectable, the
// API server filters them. The error wraps [ErrDefinition] if a definition cannot be read that may be one
// of a kind that depends on obj's: what it has cannot be known then.
func (c *Client) Dependents(ctx context.Context, obj *Snapshot) ([]Dependent, error) {
	kinds, err := c.kindsNotOlder(ctx, dependentsMaxAge)
	if err != nil {
		return nil, err
	}
	if err := c.mayHide(obj.Kind); err != nil {
		return nil, err
	}
	var found []Dependent
	for _, k := range kinds {
		for i, rule := range k.DependsOn {
			if rule.GroupKind != obj.Kind.GVK.GroupKind() {
				continue
			}
			var options metav1.ListOptions
			if slices.Contains(k.Selectable, rule.Path) {
				options.FieldSelector = fields.OneTermEqualSelector(rule.Path, obj.Name).String()
			}
			err := c.each(ctx, k, obj.Namespace, options, func(u *unstructured.Unstructured) error {
				s, err := k.SnapshotOf(u)
				if err != nil {
					return err
				}
				if s.Refs[i] == obj.Name {
					d := Dependent{Kind: k.GVK.Kind, Name: s.Name}
					if owners := s.OwnerReferences; len(owners) == 1 && owners[0].UID == obj.UID {
						d.Owned = s
					}
					found = append(found, d)
				}
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("looking for dependents of %s %s/%s: %w", obj.Kind.GVK.Kind, obj.Namespace, obj.Name, err)
			}
		}
	}
	return found, nil
}

// mayHide returns the error of a definition whose annotation names the kind, but cannot be read.
func (c *Client) mayHide(k *Kind) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.broken {
		if strings.Contains(b.dependsOn, k.GVK.Kind) {
			return fmt.Errorf("what depends on %s is not known: %w", k.GVK.Kind, b.err)
		}
	}
	return nil
}

// DeleteOwned deletes the dependents that the object of the snapshot owns; see [Dependent].
func (c *Client) DeleteOwned(ctx context.Context, owner *Snapshot, dependents []Dependent) error {
	// Whoever deletes with --cascade=orphan wants to keep them. The garbage collector takes this finalizer
	// away after it has removed the references to the owner.
	if slices.Contains(owner.Finalizers, metav1.FinalizerOrphanDependents) {
		return nil
	}
	for _, d := range dependents {
		if d.Owned == nil || d.Owned.Deleting() {
			continue
		}
		options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &d.Owned.UID}}
		err := c.resource(d.Owned.Kind, owner.Namespace).Delete(ctx, d.Name, options)
		if err != nil && !IsGone(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("deleting %s %s, which %s %s owns: %w", d.Kind, d.Name, owner.Kind.GVK.Kind, owner.Name, err)
		}
	}
	return nil
}

// IsGone reports whether an error says that an object is not there. An API that does not serve the kind
// in this version answers 404 too, but that says nothing about the object.
func IsGone(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
