package model

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Create makes a new object. The error is AlreadyExists if there is one of that
// name, which stays as it is; [Models.Save] would change it.
func (m Models[T]) Create(ctx context.Context, obj T) (T, error) {
	var none T
	k, err := m.Kind(ctx)
	if err != nil {
		return none, err
	}
	t, err := m.create(ctx, k, obj)
	if err != nil {
		return none, fmt.Errorf("creating %s %s/%s: %w", k.GVK.Kind, obj.GetNamespace(), obj.GetName(), err)
	}
	return t, nil
}

func (m Models[T]) create(ctx context.Context, k *Kind, obj T) (T, error) {
	var none T
	u, err := toUnstructured(k, obj)
	if err != nil {
		return none, err
	}
	if u, err = m.client.resource(k, obj.GetNamespace()).Create(ctx, u, metav1.CreateOptions{}); err != nil {
		return none, err
	}
	return Typed[T](u)
}
