package step

import (
	"context"
	"errors"
	"fmt"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// given is what an engine hands to a step beside the object.
type given struct {
	models *model.Client
	obj    *model.Snapshot
	// dependencies of the object, if they were read.
	dependencies []model.Dependency
}

type givenKey struct{}

// Dependency gives a step the object of type T that its own object depends on, as it was read for
// this run: a sync step is called only when it is there and synced. Of several dependencies of one
// kind it is the first that is set; see [DependencyAt].
func Dependency[T model.Object](ctx context.Context) (T, error) { return DependencyAt[T](ctx, "") }

// DependencyAt is [Dependency] for a kind that depends on several objects of type T: path is the
// field that names the one, as in the definition's annotation, for example "spec.owner.name".
// The error is NotFound if the object is not there.
func DependencyAt[T model.Object](ctx context.Context, path string) (T, error) {
	var none T
	g, ok := ctx.Value(givenKey{}).(*given)
	if !ok {
		return none, errors.New("step.Dependency: expected the context that a Sync, Create, Update or Delete was called with")
	}
	k, err := model.For[T](g.models).Kind(ctx)
	if err != nil {
		return none, err
	}
	found := false
	for i, rule := range g.obj.Kind.DependsOn {
		if rule.Kind != k.GVK.GroupKind() || path != "" && path != rule.Path {
			continue
		}
		found = true
		if i < len(g.dependencies) && g.dependencies[i].Live != nil {
			return model.Typed[T](g.dependencies[i].Live)
		}
		if name := g.obj.Refs[i]; name != "" {
			return model.For[T](g.models).Get(ctx, g.obj.Namespace, name)
		}
	}
	if !found {
		return none, fmt.Errorf("step.Dependency: the definition of %s says of no field %s that it names a %s", g.obj.Kind.GVK.Kind, path, k.GVK.Kind)
	}
	return none, fmt.Errorf("%s %s/%s names no %s", g.obj.Kind.GVK.Kind, g.obj.Namespace, g.obj.Name, k.GVK.Kind)
}
