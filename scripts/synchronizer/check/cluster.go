package check

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// listed is a resource of a cluster that is checked.
type listed struct {
	schema.GroupVersionResource
	cluster bool // It is in no namespace.
	empty   func() metav1.Object
}

var listedResources = []listed{
	{model.CRDs, true, func() metav1.Object { return &apiextensionsv1.CustomResourceDefinition{} }},
	{corev1.SchemeGroupVersion.WithResource("namespaces"), true, func() metav1.Object { return &corev1.Namespace{} }},
	{rbacv1.SchemeGroupVersion.WithResource("clusterroles"), true, func() metav1.Object { return &rbacv1.ClusterRole{} }},
	{rbacv1.SchemeGroupVersion.WithResource("clusterrolebindings"), true, func() metav1.Object { return &rbacv1.ClusterRoleBinding{} }},
	{rbacv1.SchemeGroupVersion.WithResource("roles"), false, func() metav1.Object { return &rbacv1.Role{} }},
	{rbacv1.SchemeGroupVersion.WithResource("rolebindings"), false, func() metav1.Object { return &rbacv1.RoleBinding{} }},
	{corev1.SchemeGroupVersion.WithResource("serviceaccounts"), false, func() metav1.Object { return &corev1.ServiceAccount{} }},
	{corev1.SchemeGroupVersion.WithResource("services"), false, func() metav1.Object { return &corev1.Service{} }},
	{appsv1.SchemeGroupVersion.WithResource("deployments"), false, func() metav1.Object { return &appsv1.Deployment{} }},
	{servingv1.SchemeGroupVersion.WithResource("services"), false, func() metav1.Object { return &servingv1.Service{} }},
	{eventingv1.SchemeGroupVersion.WithResource("brokers"), false, func() metav1.Object { return &eventingv1.Broker{} }},
	{eventingv1.SchemeGroupVersion.WithResource("triggers"), false, func() metav1.Object { return &eventingv1.Trigger{} }},
	{sourcesv1.SchemeGroupVersion.WithResource("pingsources"), false, func() metav1.Object { return &sourcesv1.PingSource{} }},
	{sourcesv1.SchemeGroupVersion.WithResource("containersources"), false, func() metav1.Object { return &sourcesv1.ContainerSource{} }},
	{sourcesv1.SchemeGroupVersion.WithResource("sinkbindings"), false, func() metav1.Object { return &sourcesv1.SinkBinding{} }},
}

// Cluster reads the resources of the synchronizer in a namespace, or of all if that is empty, and of the core. It asks for
// lists only, with the rights of whoever calls: what these do not allow is Unread. What the functions consist of cannot
// be read from a cluster. An error means that nothing could be read.
func Cluster(ctx context.Context, config *rest.Config, namespace string) (Input, error) {
	var in Input
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return in, err
	}
	for _, l := range listedResources {
		namespaces := []string{namespace, System}
		if l.cluster || namespace == "" {
			namespaces = []string{""}
		}
		for ns := range sets.New(namespaces...) {
			if err := in.list(ctx, client, l, ns); err != nil {
				return in, err
			}
		}
	}
	if len(in.Resources) == 0 {
		return in, fmt.Errorf("nothing can be read: %s", in.Unread[0].Why)
	}
	in.mark(namespace)
	return in, nil
}

// list reads one resource in one namespace.
func (in *Input) list(ctx context.Context, client dynamic.Interface, l listed, namespace string) error {
	what := l.GroupResource().String()
	where := ""
	if namespace != "" {
		where = " in namespace " + namespace
	} else if !l.cluster {
		where = " in all namespaces"
	}
	err := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return client.Resource(l.GroupVersionResource).Namespace(namespace).List(ctx, o)
	}).EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("got a %T", o)
		}
		typed := l.empty()
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, typed); err != nil {
			return fmt.Errorf("%s/%s: %w", u.GetNamespace(), u.GetName(), err)
		}
		in.Resources = append(in.Resources, Resource{Object: typed})
		return nil
	})
	switch {
	case apierrors.IsForbidden(err):
		in.Unread = append(in.Unread, Unread{Resource: what, Namespace: namespace, Why: fmt.Sprintf("cannot list %s%s: the right is missing", what, where)})
	case apierrors.IsNotFound(err):
		in.Unread = append(in.Unread, Unread{Resource: what, Namespace: namespace, Why: fmt.Sprintf("cannot list %s%s: the API does not serve them", what, where)})
	case err != nil:
		return fmt.Errorf("listing %s%s: %w", what, where, err)
	}
	return nil
}

// mark marks what is not of the synchronizer in the namespace, or of any synchronizer if that is empty: those of the
// functions that Triggers of Broker models lead to.
func (in *Input) mark(namespace string) {
	c := newChecker(*in)
	spaces := sets.New(namespace)
	if namespace == "" {
		spaces.Clear()
		for _, t := range c.triggers {
			if onModels(t) {
				spaces.Insert(subscriberNamespace(t.obj))
			}
		}
		if c.unread("triggers.eventing.knative.dev", "") {
			// Which of them are functions of synchronizers is not known.
			for _, f := range c.programs {
				spaces.Insert(f.obj.Namespace)
			}
		}
		spaces.Delete(System)
	}
	for i, r := range in.Resources {
		switch o := r.Object.(type) {
		case *apiextensionsv1.CustomResourceDefinition:
			in.Resources[i].Core = !c.isOf(o, spaces)
		case *eventingv1.Trigger:
			in.Resources[i].Core = !spaces.Has(o.Namespace) && !(o.Namespace == System && spaces.Has(subscriberNamespace(o)))
		default:
			in.Resources[i].Core = !spaces.Has(r.Object.GetNamespace())
		}
	}
}

// isOf reports whether a definition is that of a kind which the functions of some namespaces get events about, or nobody.
func (c *checker) isOf(crd *apiextensionsv1.CustomResourceDefinition, namespaces sets.Set[string]) bool {
	if crd.Spec.Group == coreGroup {
		return false
	}
	k, err := model.ParseKind(crd)
	if err != nil {
		return model.IsModel(crd) || model.WasModel(crd)
	}
	reached := false
	for _, s := range k.Steps {
		for _, ns := range c.namespaces {
			for _, t := range c.passing(kind{Kind: k}, s, ns) {
				reached = true
				if namespaces.Has(subscriberNamespace(t.obj)) {
					return true
				}
			}
		}
	}
	return !reached
}

// subscriberNamespace is the namespace of what a Trigger leads to.
func subscriberNamespace(t *eventingv1.Trigger) string {
	if ref := t.Spec.Subscriber.Ref; ref != nil && ref.Namespace != "" {
		return ref.Namespace
	}
	return t.Namespace
}
