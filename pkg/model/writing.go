package model

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WriteOptions say how a client writes. The zero value is what [NewClient] makes.
type WriteOptions struct {
	// DryRun has the API server check what is written (schema, rules, rights) and return what would
	// come of it, but not store it.
	DryRun bool
	// Strict has the API server refuse fields that the definition does not know. Default: it drops
	// them.
	Strict bool
	// FieldManager is whom the API server's bookkeeping names. Default: the program.
	FieldManager string
}

// Writing returns a client that writes like that in Create, Update, Modify, CreateOrModify and DeleteIf.
func (c *Client) Writing(options WriteOptions) *Client {
	return &Client{dynamic: c.dynamic, api: c.api, scheme: c.scheme, writes: options, known: c.known}
}

func (o WriteOptions) dryRun() []string {
	if !o.DryRun {
		return nil
	}
	return []string{metav1.DryRunAll}
}

func (o WriteOptions) validation() string {
	if !o.Strict {
		return ""
	}
	return metav1.FieldValidationStrict
}

func (o WriteOptions) create() metav1.CreateOptions {
	return metav1.CreateOptions{DryRun: o.dryRun(), FieldManager: o.FieldManager, FieldValidation: o.validation()}
}

func (o WriteOptions) patch() metav1.PatchOptions {
	return metav1.PatchOptions{DryRun: o.dryRun(), FieldManager: o.FieldManager, FieldValidation: o.validation()}
}

// DeleteIf deletes the object if the condition holds for it as it is now. What is deleted is what was
// judged: if somebody writes to the object in between, DeleteIf reads and judges it again, a few times
// within about a second; after that the error is a Conflict. An object that is gone, is being deleted, or
// has been replaced by another one of its name is left alone, and no error.
func (m Models[T]) DeleteIf(ctx context.Context, obj T, condition func(T) bool) error {
	k, err := m.Kind(ctx)
	if err != nil {
		return err
	}
	return retry(ctx, func() (again bool, err error) {
		live, err := m.Get(ctx, obj.GetNamespace(), obj.GetName())
		if err != nil {
			return false, ignoreGone(err)
		}
		if live.GetUID() != obj.GetUID() || !live.GetDeletionTimestamp().IsZero() || !condition(live) {
			return false, nil
		}
		uid, version := live.GetUID(), live.GetResourceVersion()
		err = m.client.resource(k, live.GetNamespace()).Delete(ctx, live.GetName(), metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
			DryRun:        m.client.writes.dryRun(),
		})
		if err == nil || IsGone(err) {
			ownIn(ctx).removed(uid)
			return false, nil
		}
		return apierrors.IsConflict(err), fmt.Errorf("deleting %s %s/%s: %w", k.GVK.Kind, live.GetNamespace(), live.GetName(), err)
	})
}

func ignoreGone(err error) error {
	if IsGone(err) {
		return nil
	}
	return err
}
