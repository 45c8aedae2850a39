package upload

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/xos-knative/synchronizer/pkg/tosca"
)

// choices finds the links that a recipe leaves open and that can have only one target: XOS gave a
// model with an owner_class_name that was saved without an owner to the only service of that class.
type choices struct {
	uploader *Uploader
	steps    []*Step
	found    map[schema.GroupKind]*found
	// objects are the names of what nodes can be linked to, by type.
	objects map[*tosca.Type]sets.Set[string]
}

func (u *Uploader) choices(steps []*Step, found map[schema.GroupKind]*found) *choices {
	return &choices{uploader: u, steps: steps, found: found, objects: map[*tosca.Type]sets.Set[string]{}}
}

// fill sets the links of a step that the recipe leaves open and that only one object fits. With
// none or several they stay open; a step that needs the link waits for it and says so.
func (c *choices) fill(ctx context.Context, s *Step) error {
	for _, l := range s.Node.Type.Links {
		given := slices.ContainsFunc(s.Node.Links, func(n tosca.Link) bool { return n.Requirement == l.Name })
		if given || l.Type == nil {
			continue
		}
		objects, err := c.of(ctx, l.Type)
		if err != nil {
			return err
		}
		if len(objects) == 1 {
			s.chosen = append(s.chosen, tosca.Field{Property: l.Name, Path: l.Path, Value: objects.UnsortedList()[0], Line: s.Node.Line})
		}
	}
	return nil
}

// of lists the objects of a type that are there, and those that the recipe makes.
func (c *choices) of(ctx context.Context, t *tosca.Type) (sets.Set[string], error) {
	if objects, ok := c.objects[t]; ok {
		return objects, nil
	}
	objects := sets.New[string]()
	for _, s := range c.steps {
		if s.Node.Type == t {
			objects.Insert(s.Object)
		}
	}
	if f := c.found[t.GroupKind()]; f != nil {
		objects = objects.Union(f.names)
	} else {
		err := c.uploader.list(ctx, c.uploader.resource(t), "", func(o *unstructured.Unstructured) error {
			if o.GetDeletionTimestamp().IsZero() {
				objects.Insert(o.GetName())
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("cannot list %s in namespace %s: %w", t.Resource, c.uploader.namespace, err)
		}
	}
	c.objects[t] = objects
	return objects, nil
}
