package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
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
)

// CRDs is the resource that model definitions are read from.
var CRDs = apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")

// kindsMaxAge is how long a function believes what it has read of the model
// definitions. A kind that is not known is looked up at once.
const kindsMaxAge = time.Minute

// dependentsMaxAge is the same for the question what depends on an object: a
// kind that was defined a moment ago may, and the object must not go before it.
const dependentsMaxAge = time.Second

// ErrNoModel is wrapped by errors about a kind that no model definition has.
var ErrNoModel = errors.New("not a model")

// ErrStepChanged says that the step's part of the status is no longer what it
// was when the step began: somebody else has run the step meanwhile.
var ErrStepChanged = errors.New("the step's status was changed by another run")

// Client is the model client that all functions share. It keeps no cache of
// objects and starts no watch: a function lives for one burst of events, and
// what it decides on must be the live object. Safe for concurrent use.
//
// Errors of the API server are wrapped, so that the functions of
// k8s.io/apimachinery/pkg/api/errors tell them apart.
type Client struct {
	dynamic dynamic.Interface
	scheme  *runtime.Scheme

	// mu protects following.
	mu     sync.Mutex
	kinds  []*Kind
	readAt time.Time
}

// NewClient makes a client for models whose Go types the given functions
// register: the AddToScheme of each API package.
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

// Kinds lists all models of the cluster, from their definitions. What is wrong
// in one definition does not hide the others; the model source reports it.
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

// readKinds reads the definitions anew. The caller holds mu.
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
			continue // The API does not serve it, so there are no objects of it.
		}
		if k, err := ParseKind(crd); err == nil {
			kinds = append(kinds, k)
		}
	}
	c.kinds, c.readAt = kinds, time.Now()
	return kinds, nil
}

// Kind looks up a model by group and kind. The error wraps [ErrNoModel] if
// there is none.
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

// each calls fn for each object, fetching one page of the list after the other.
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

// Neighbours finds what [Due] has to know beside the object: what it depends
// on, and, for a sync of an object that is being deleted, what depends on it.
// The latter takes the right to list every kind that may.
func (c *Client) Neighbours(ctx context.Context, step Step, obj *Snapshot) (Neighbours, error) {
	var n Neighbours
	if obj.Deleting() {
		if step != StepSync {
			return n, nil // Deleted whatever depends on it.
		}
		dependents, err := c.Dependents(ctx, obj)
		n.Dependents = dependents
		return n, err
	}
	for i, rule := range obj.Kind.DependsOn {
		d, err := c.dependency(ctx, obj.Namespace, rule, obj.Refs[i])
		if err != nil {
			return n, err
		}
		n.Dependencies = append(n.Dependencies, d)
	}
	return n, nil
}

func (c *Client) dependency(ctx context.Context, namespace string, rule DependsOn, name string) (Dependency, error) {
	d := Dependency{DependsOn: rule, Name: name}
	k, err := c.Kind(ctx, rule.Kind)
	if errors.Is(err, ErrNoModel) {
		return d, nil // As good as missing, until somebody installs the model.
	}
	if err != nil {
		return d, err
	}
	if name == "" {
		return d, c.each(ctx, k, namespace, metav1.ListOptions{}, func(u *unstructured.Unstructured) error {
			if u.GetDeletionTimestamp().IsZero() {
				d.Candidates++
			}
			return nil
		})
	}
	if len(rest.IsValidPathSegmentName(name)) > 0 {
		return d, nil // No object can have that name.
	}
	u, err := c.Live(ctx, k, namespace, name)
	if apierrors.IsNotFound(err) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	d.Object, err = k.SnapshotOf(u)
	return d, err
}

// Dependents lists the objects that depend on the given one. The API server
// filters where the definition declares the field selectable.
func (c *Client) Dependents(ctx context.Context, obj *Snapshot) ([]Dependent, error) {
	kinds, err := c.kindsNotOlder(ctx, dependentsMaxAge)
	if err != nil {
		return nil, err
	}
	var found []Dependent
	for _, k := range kinds {
		for i, rule := range k.DependsOn {
			if rule.Kind != obj.Kind.GVK.GroupKind() {
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

// SetStep stores the outcome of a step and the conditions that follow from it,
// but only if the step's part of the status is still what it was in the
// snapshot that the step began with; else it returns [ErrStepChanged]. What
// others write to the status meanwhile is kept. If the object is gone, or
// another one has its name, the error is NotFound.
func (c *Client) SetStep(ctx context.Context, began *Snapshot, step Step, outcome *StepStatus) error {
	k := began.Kind
	err := retryOnConflict(ctx, func() error {
		u, err := c.Live(ctx, k, began.Namespace, began.Name)
		if err != nil {
			return err
		}
		if u.GetUID() != began.UID {
			return apierrors.NewNotFound(k.GVR().GroupResource(), began.Name)
		}
		now, err := k.SnapshotOf(u)
		if err != nil {
			return err
		}
		if !equality.Semantic.DeepEqual(now.Status.Step(step), began.Status.Step(step)) {
			return ErrStepChanged
		}
		before := now.Status.DeepCopy()
		now.Status.SetStep(step, outcome)
		SetConditions(now)
		if equality.Semantic.DeepEqual(before, &now.Status) {
			return nil
		}
		status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&now.Status)
		if err != nil {
			return err
		}
		// A model may have fields of its own in its status; they stay.
		for _, field := range []string{"observedGeneration", "conditions", string(step)} {
			value, ok := status[field]
			if !ok {
				unstructured.RemoveNestedField(u.Object, "status", field)
			} else if err := unstructured.SetNestedField(u.Object, value, "status", field); err != nil {
				return err
			}
		}
		_, err = c.resource(k, began.Namespace).UpdateStatus(ctx, u, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("storing status.%s of %s %s/%s: %w", step, k.GVK.Kind, began.Namespace, began.Name, err)
	}
	return nil
}

// AddFinalizer puts the step's finalizer on the object and returns the object
// as it is then. The error is NotFound if the object is gone or was replaced,
// and one that [IsDeleting] knows if it is being deleted: the API server takes
// no new finalizer then.
func (c *Client) AddFinalizer(ctx context.Context, obj *Snapshot, step Step) (*unstructured.Unstructured, error) {
	return c.finalizers(ctx, obj, "adding", func(u *unstructured.Unstructured) ([]string, error) {
		if !u.GetDeletionTimestamp().IsZero() {
			// Not the kind of conflict that goes away by trying again at once.
			return nil, fmt.Errorf("%w", errDeleting)
		}
		if f := u.GetFinalizers(); slices.Contains(f, step.Finalizer()) {
			return f, nil
		}
		return append(slices.Clone(u.GetFinalizers()), step.Finalizer()), nil
	})
}

var errDeleting = errors.New("the object is being deleted")

// IsDeleting tells whether an error of [Client.AddFinalizer] says that the
// object is being deleted.
func IsDeleting(err error) bool { return errors.Is(err, errDeleting) }

// IsGone tells whether an error says that an object is not there. An API that
// does not serve the kind in this version (any more) answers 404 as well, but
// that says nothing about the object.
func IsGone(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// RemoveFinalizer takes the step's finalizer from the object, so that it can go
// once the others are gone too, and with it those of steps that its kind has
// lost: nobody else would. It tells whether this was the last finalizer of a
// step. An object that is gone already is no error.
func (c *Client) RemoveFinalizer(ctx context.Context, obj *Snapshot, step Step) (last bool, err error) {
	u, err := c.finalizers(ctx, obj, "removing", func(u *unstructured.Unstructured) ([]string, error) {
		return slices.DeleteFunc(slices.Clone(u.GetFinalizers()), func(f string) bool {
			return slices.ContainsFunc(Steps(), func(s Step) bool { return f == s.Finalizer() && (s == step || !obj.Kind.Has(s)) })
		}), nil
	})
	if IsGone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	others := slices.ContainsFunc(Steps(), func(s Step) bool { return slices.Contains(u.GetFinalizers(), s.Finalizer()) })
	return !others, nil
}

// finalizers changes the list of finalizers of that very object. A JSON merge patch replaces the list as a whole, so it names the
// version it was read at.
func (c *Client) finalizers(ctx context.Context, obj *Snapshot, doing string, change func(*unstructured.Unstructured) ([]string, error)) (*unstructured.Unstructured, error) {
	k := obj.Kind
	var u *unstructured.Unstructured
	err := retryOnConflict(ctx, func() (err error) {
		u, err = c.Live(ctx, k, obj.Namespace, obj.Name)
		if err != nil {
			return err
		}
		if u.GetUID() != obj.UID {
			return apierrors.NewNotFound(k.GVR().GroupResource(), obj.Name)
		}
		want, err := change(u)
		if err != nil || slices.Equal(want, u.GetFinalizers()) {
			return err
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"resourceVersion": u.GetResourceVersion(), "finalizers": want}})
		if err != nil {
			return err
		}
		u, err = c.resource(k, obj.Namespace).Patch(ctx, obj.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s the finalizer of %s %s/%s: %w", doing, k.GVK.Kind, obj.Namespace, obj.Name, err)
	}
	return u, nil
}
