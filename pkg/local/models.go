package local

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/xos-knative/synchronizer/pkg/local/console"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// maxLeft is how many objects an error lists.
const maxLeft = 20

// kinds are resources, and the namespaces in which their objects belong to a synchronizer: "" for all.
type kinds map[schema.GroupVersionResource][]string

// kindsOf are the resources with objects of a part: its own kinds everywhere, and the models of others, such as dead
// letters, in its namespaces.
func (s *System) kindsOf(p *part) kinds {
	all := kinds{}
	for _, q := range s.parts {
		for _, crd := range q.set.CRDs {
			def := crd.Definition
			version := slices.IndexFunc(def.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Served })
			if version < 0 {
				continue
			}
			gvr := schema.GroupVersionResource{Group: def.Spec.Group, Version: def.Spec.Versions[version].Name, Resource: def.Spec.Names.Plural}
			switch {
			case p == q:
				all[gvr] = []string{metav1.NamespaceAll}
			case def.Labels[model.LabelModel] == "true" && def.Spec.Scope == apiextensionsv1.NamespaceScoped:
				all[gvr] = p.set.Namespaces
			}
		}
	}
	return all
}

// deleteModels deletes the objects of a part and waits until their steps have cleaned up. The error lists what is left.
func (s *System) deleteModels(ctx context.Context, p *part) error {
	client, err := dynamic.NewForConfig(s.api.Config())
	if err != nil {
		return err
	}
	var left []unstructured.Unstructured
	err = wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		now, err := deleteObjects(ctx, client, s.kindsOf(p))
		if err == nil {
			left = now
		}
		return len(left) == 0, err
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && len(left) > 0:
		return fmt.Errorf("%d of its models are left (%w):\n%s", len(left), ctx.Err(), explain(left))
	default:
		return fmt.Errorf("its models cannot be deleted: %w", err)
	}
}

// deleteObjects deletes what is not being deleted yet, and returns what was there.
func deleteObjects(ctx context.Context, client dynamic.Interface, all kinds) (found []unstructured.Unstructured, err error) {
	for gvr, namespaces := range all {
		for _, ns := range namespaces {
			list, err := client.Resource(gvr).Namespace(ns).List(ctx, metav1.ListOptions{})
			if apierrors.IsNotFound(err) {
				continue // Somebody has deleted the definition.
			}
			if err != nil {
				return nil, err
			}
			for _, u := range list.Items {
				if u.GetDeletionTimestamp() != nil {
					continue
				}
				uid := metav1.NewUIDPreconditions(string(u.GetUID()))
				err := client.Resource(gvr).Namespace(u.GetNamespace()).Delete(ctx, u.GetName(), metav1.DeleteOptions{Preconditions: uid})
				if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
					return nil, err
				}
			}
			found = append(found, list.Items...)
		}
	}
	return found, nil
}

// explain says of each object why it is still there, one line each.
func explain(left []unstructured.Unstructured) string {
	var lines []string
	for _, u := range left[:min(len(left), maxLeft)] {
		lines = append(lines, fmt.Sprintf("  %s %s/%s: %s", u.GetKind(), u.GetNamespace(), u.GetName(), strings.Join(reasons(u), "; ")))
	}
	slices.Sort(lines)
	if more := len(left) - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// reasons are what may keep an object: that it is paused, what its steps say, and its finalizers.
func reasons(u unstructured.Unstructured) (all []string) {
	if u.GetAnnotations()[model.AnnotationPaused] == "true" {
		all = append(all, "annotation "+model.AnnotationPaused)
	}
	status, _, _ := unstructured.NestedMap(u.Object, "status")
	for _, step := range slices.Sorted(maps.Keys(status)) {
		part, _ := status[step].(map[string]any)
		state, _ := part["state"].(string)
		message, _ := part["message"].(string)
		if state != "" && state != string(model.StateOK) {
			all = append(all, console.Escape(fmt.Sprintf("%s is %s: %s", step, state, message)))
		}
	}
	return append(all, "finalizers "+strings.Join(u.GetFinalizers(), ", "))
}
