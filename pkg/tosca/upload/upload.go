// Package upload brings the nodes of a checked recipe into the Kubernetes API: it finds what is there, asks for a dry run
// of every change, makes the changes, and waits for their effect.
//
// It is all or nothing as far as an API without transactions allows: before the first write, the API server itself has
// agreed to every single one of them (schema, CEL rules, rights). What can still go wrong after that (the API goes away,
// somebody else writes to the same object) ends in a PartialError, which says exactly what was done.
package upload

import (
	"context"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/pkg/function/account"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/tosca"
)

const (
	// fieldManager is who the API server's bookkeeping names for what recipes set.
	fieldManager = "tosca"

	// pageSize keeps memory bounded when a namespace has many objects.
	pageSize = 500

	// requestTimeout is for one request to the API, so that an API that hangs becomes an error and not a stuck upload.
	requestTimeout = 20 * time.Second

	// dryRuns is how many objects are asked about at once.
	dryRuns = 16
)

var definitions = apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")

// Uploader works for one caller in one namespace. Make a new one for each request: it is cheap, since client-go shares the
// connections of equal configurations.
type Uploader struct {
	client    dynamic.Interface
	namespace string
}

// New makes an uploader that shows the given bearer token to the API that config leads to. No other credentials of config
// are used. It has no namespace yet; see [Uploader.In].
func New(config *rest.Config, token string) (*Uploader, error) {
	c := rest.AnonymousClientConfig(config)
	c.BearerToken = token
	// Fairness is the API server's business: a client-side limit would only make long recipes slow.
	c.QPS = -1
	c.Timeout = requestTimeout
	client, err := dynamic.NewForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client for the API: %w", err)
	}
	return &Uploader{client: client}, nil
}

// In returns the uploader for a namespace.
func (u *Uploader) In(namespace string) *Uploader {
	return &Uploader{client: u.client, namespace: namespace}
}

// Account returns the service account that the token belongs to; see [account.Of].
func (u *Uploader) Account(ctx context.Context) (types.NamespacedName, error) {
	return account.Of(ctx, u.client)
}

// Types reads the definitions of all models from the API. Errors are those of the API.
func (u *Uploader) Types(ctx context.Context) (*tosca.Types, error) {
	var crds []apiextensionsv1.CustomResourceDefinition
	err := u.list(ctx, u.client.Resource(definitions), model.LabelModel+"=true", func(o *unstructured.Unstructured) error {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &crd); err != nil {
			return fmt.Errorf("cannot read CustomResourceDefinition %s: %w", o.GetName(), err)
		}
		crds = append(crds, crd)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the models' CustomResourceDefinitions: %w", err)
	}
	return tosca.TypesFromCRDs(crds), nil
}

func (u *Uploader) resource(t *tosca.Type) dynamic.ResourceInterface {
	return u.client.Resource(t.GVR()).Namespace(u.namespace)
}

// list calls each for every object, page by page.
func (u *Uploader) list(ctx context.Context, r dynamic.ResourceInterface, labels string, each func(*unstructured.Unstructured) error) error {
	opts := metav1.ListOptions{LabelSelector: labels, Limit: pageSize}
	for {
		page, err := r.List(ctx, opts)
		if err != nil {
			return err
		}
		for i := range page.Items {
			if err := each(&page.Items[i]); err != nil {
				return err
			}
		}
		if opts.Continue = page.GetContinue(); opts.Continue == "" {
			return nil
		}
	}
}
