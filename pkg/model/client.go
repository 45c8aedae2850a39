package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"
)

// CRDs is the resource of the model definitions.
var CRDs = apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")

// kindsMaxAge is how long the definitions that a client has read stay valid. A kind that is not among
// them is looked up at once.
const kindsMaxAge = time.Minute

// dependentsMaxAge is the same when the client looks for what depends on an object. A new kind can
// depend on it, and the object must not be removed before the objects of that kind.
const dependentsMaxAge = time.Second

// ErrNoModel is wrapped by errors about a kind that no model definition has.
var ErrNoModel = errors.New("not a model")

// Client is the model client of all functions. It has no cache of objects and no watch: a function runs
// only while there are events, and decides on the live object. It is safe for concurrent use.
//
// Errors of the API server are wrapped: the functions of k8s.io/apimachinery/pkg/api/errors work with
// them.
type Client struct {
	dynamic dynamic.Interface
	scheme  *runtime.Scheme
	writes  WriteOptions

	// mu protects following.
	mu     sync.Mutex
	kinds  []*Kind
	readAt time.Time
}

// NewClient makes a client. The functions addToScheme register the Go types of the models:
// AddToScheme of each API package.
func NewClient(config *rest.Config, addToScheme ...func(*runtime.Scheme) error) (*Client, error) {
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("model client: %w", err)
	}
	scheme := runtime.NewScheme()
	for _, add := range addToScheme {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("model client: %w", err)
		}
	}
	return &Client{dynamic: d, scheme: scheme}, nil
}

// Kinds lists all models of the cluster, from their definitions. A definition that is not valid is left
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
	kinds := []*Kind{}
	for i := range list.Items {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, crd); err != nil {
			continue
		}
		if !apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
			continue // The API does not serve it, so it has no objects.
		}
		if k, err := ParseKind(crd); err == nil {
			kinds = append(kinds, k)
		}
	}
	c.kinds, c.readAt = kinds, time.Now()
	return kinds, nil
}

// Kind looks up a model by group and kind. The error wraps [ErrNoModel] if there is none.
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
		return nil, fmt.Errorf("%s: %w: no CustomResourceDefinition of that group and kind has the label %s: \"true\"", gk, ErrNoModel, LabelModel)
	}
	return kinds[i], nil
}

func (c *Client) resource(k *Kind, namespace string) dynamic.ResourceInterface {
	return c.dynamic.Resource(k.GVR()).Namespace(namespace)
}

// Live reads an object as it is now.
func (c *Client) Live(ctx context.Context, k *Kind, namespace, name string) (*unstructured.Unstructured, error) {
	u, err := c.resource(k, namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("getting %s %s/%s: %w", k.GVK.Kind, namespace, name, err)
	}
	return u, nil
}

// each lists the objects page by page, and calls fn for each.
func (c *Client) each(ctx context.Context, k *Kind, namespace string, options metav1.ListOptions, fn func(*unstructured.Unstructured) error) error {
	list := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		list, err := c.resource(k, namespace).List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("listing %s in %s: %w", k.GVK.Kind, namespace, err)
		}
		return list, nil
	})
	return list.EachListItem(ctx, options, func(obj runtime.Object) error { return fn(obj.(*unstructured.Unstructured)) })
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
// can. For a policy it is what the object depends on, and only while the policy waits for that.
func (c *Client) Neighbours(ctx context.Context, step Step, obj *Snapshot) (n Neighbours, err error) {
	status := obj.Status.Step(step)
	switch {
	case obj.Deleting() && step == StepSync:
		n.Dependents, err = c.Dependents(ctx, obj)
	case obj.Deleting():
		// Only sync waits for dependents.
	case step == StepSync || status != nil && status.State == StateWaiting:
		n.Dependencies, err = c.Dependencies(ctx, obj)
	}
	return n, err
}

// Dependencies reads what the object depends on: one for each DependsOn of its kind, in that order.
func (c *Client) Dependencies(ctx context.Context, obj *Snapshot) ([]Dependency, error) {
	var all []Dependency
	for i, rule := range obj.Kind.DependsOn {
		d, err := c.dependency(ctx, obj.Namespace, rule, obj.Refs[i])
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

func (c *Client) dependency(ctx context.Context, namespace string, rule DependsOn, name string) (Dependency, error) {
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
	u, err := c.Live(ctx, k, namespace, name)
	if IsGone(err) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	d.Live = u
	d.Object, err = k.SnapshotOf(u)
	return d, err
}

// Dependents lists the objects that depend on obj. If the definition declares the field selectable, the
// API server filters them.
func (c *Client) Dependents(ctx context.Context, obj *Snapshot) ([]Dependent, error) {
	kinds, err := c.kindsNotOlder(ctx, dependentsMaxAge)
	if err != nil {
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
					found = append(found, Dependent{Kind: k.GVK.Kind, Name: s.Name})
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

// IsGone reports whether an error says that an object is not there. An API that does not serve the kind
// in this version answers 404 too, but that says nothing about the object.
func IsGone(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
