package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/testservice/api/v1alpha1"
)

type duplicate = v1alpha1.TestServiceDuplicate

// duplicates is the second policy of an instance: its duplicate follows it, and goes with it or when it
// shall have none any more.
type duplicates struct{ models model.Models[*duplicate] }

func (p duplicates) follow(ctx context.Context, i *instance) error {
	if !i.Spec.CreateDuplicate {
		return p.remove(ctx, i)
	}
	_, _, err := p.models.CreateOrModify(ctx, i.Namespace, i.Name, func(d *duplicate) error {
		if d.UID == "" {
			owner := metav1.NewControllerRef(i, v1alpha1.GroupVersion.WithKind("TestServiceInstance"))
			d.OwnerReferences, d.Spec.Original.Name = []metav1.OwnerReference{*owner}, i.Name
		}
		if !metav1.IsControlledBy(d, i) {
			return fmt.Errorf("TestServiceDuplicate %s is none of this instance: expected none of that name", d.Name)
		}
		d.Spec.Values = i.Spec.Values
		return nil
	})
	return err
}

func (p duplicates) remove(ctx context.Context, i *instance) error {
	d, err := p.models.Get(ctx, i.Namespace, i.Name)
	if err == nil && metav1.IsControlledBy(d, i) {
		err = p.models.Delete(ctx, d)
	}
	if model.IsGone(err) {
		return nil
	}
	return err
}
