package step

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// given is what a step gets from its engine, besides the object.
type given struct {
	models *model.Client
	obj    *model.Snapshot
	// dependencies of the object, if the engine has read them.
	dependencies []model.Dependency
}

type (
	givenKey  struct{}
	modelsKey struct{}
)

// Models gives a step the models of type T. It panics if the context is not one that a step was called with.
func Models[T model.Object](ctx context.Context) model.Models[T] {
	models, ok := ctx.Value(modelsKey{}).(*model.Client)
	if !ok {
		panic("step.Models: expected the context that a step was called with")
	}
	return model.For[T](models)
}

// Dependency returns the object of type T that the step's object depends on, as the engine has read it.
// A sync step is called only when it is there and synced. If the object depends on several of type T,
// it is the first one that is set; see [DependencyAt].
func Dependency[T model.Object](ctx context.Context) (T, error) { return DependencyAt[T](ctx, "") }

// DependencyAt is [Dependency] for an object that depends on several of type T. The path is the field
// that names the one, as in the definition's annotation, for example "spec.shelf.name". The error is
// NotFound if the object is not there.
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
		if rule.GroupKind != k.GVK.GroupKind() || path != "" && path != rule.Path {
			continue
		}
		found = true
		if i < len(g.dependencies) && g.dependencies[i].Live != nil && g.dependencies[i].Live.GroupVersionKind() == k.GVK {
			return model.Typed[T](g.dependencies[i].Live.DeepCopy()) // Others may get it, too.
		}
		if name := g.obj.Refs[i]; name != "" {
			return model.For[T](g.models).Get(ctx, g.obj.Namespace, name)
		}
	}
	if !found {
		return none, fmt.Errorf("step.Dependency: annotation %s of %s: expected %s=%s, got none",
			model.AnnotationDependsOn, g.obj.Kind.GVK.Kind, k.GVK.Kind, cmp.Or(path, "a field"))
	}
	return none, fmt.Errorf("%s %s/%s names no %s", g.obj.Kind.GVK.Kind, g.obj.Namespace, g.obj.Name, k.GVK.Kind)
}
