package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/util/cert"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/conversion"
	libraryversions "github.com/xos-knative/synchronizer/pkg/testdata/library/versions"
)

// The models of the library, as kubectl names them in a version.
const (
	oldBooks = "books.v1alpha1.library.xos-knative.dev"
	newBooks = "books.v1beta1.library.xos-knative.dev"
)

// allReady waits until the library's models are Ready at their current generations.
const allReady = "wait -n library shelves,books --all --for=condition=Ready " + timeout

// versions gives the models of the library a second version, which becomes the stored one. The functions, the model source
// and function tosca, which began with the first, go on.
func (s *suite) versions(ctx context.Context) error {
	if err := s.secondVersion(ctx); err != nil {
		return err
	}
	fresh := libraryModel("Book", "fresh", map[string]any{"heading": "A new book", "shelf": map[string]any{"name": "tall"}})
	fresh["apiVersion"] = "library.xos-knative.dev/" + libraryversions.V1beta1
	if err := applyIn(ctx, library, fresh); err != nil {
		return err
	}
	if err := kubectlAll(ctx,
		"patch -n library "+newBooks+`/thick --type=merge -p {"spec":{"heading":"InV1beta1"}}`,
		"patch -n library "+oldBooks+`/thin --type=merge -p {"spec":{"title":"InV1alpha1"}}`,
		allReady); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{s.bookByRecipe, s.withoutWebhook} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	failures, err := kubectl(ctx, "get", "-n", library, "shelves,books", "-o", "jsonpath={.items[*].status.sync.lastFailure}{.items[*].status.policy.lastFailure}")
	return errors.Join(err, expect(failures == "", "steps have failed at %s", failures))
}

// secondVersion starts the conversion webhook and has both versions served, and the second one stored.
func (s *suite) secondVersion(ctx context.Context) error {
	certificate, key, err := cert.GenerateSelfSignedCertKey("convert."+library+".svc", nil, nil)
	if err != nil {
		return err
	}
	if err := applyIn(ctx, library, map[string]any{"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
		"metadata": map[string]any{"name": "convert"}, "data": map[string]any{"tls.crt": certificate, "tls.key": key}}); err != nil {
		return err
	}
	if err := s.koApply(ctx, libraryDir+"/convert"); err != nil {
		return err
	}
	if err := kubectlAll(ctx, "wait -n library --for=condition=Available deployment/convert "+timeout); err != nil {
		return err
	}
	at := apiextensionsv1.WebhookClientConfig{Service: &apiextensionsv1.ServiceReference{Namespace: library, Name: "convert"}}
	for _, plural := range []string{"shelves", "books"} {
		crd, err := get[apiextensionsv1.CustomResourceDefinition](ctx, "crd", plural+".library.xos-knative.dev")
		if err != nil {
			return err
		}
		libraryversions.Serve(&crd.Spec, libraryversions.V1beta1, libraryversions.V1alpha1, libraryversions.V1beta1)
		crd.Spec.Conversion = conversion.Webhook(at, certificate)
		definition, err := json.Marshal(crd)
		if err != nil {
			return err
		}
		if _, err := kubectlStdin(ctx, string(definition), "replace", "-f", "-"); err != nil {
			return err
		}
	}
	return until(ctx, "books and shelves are served in v1beta1", func() error {
		_, err := output(ctx, "", "kubectl", "get", "-n", library, newBooks+",shelves.v1beta1.library.xos-knative.dev")
		return err
	})
}

// bookRecipe has the words of the oldest version.
const bookRecipe = `{tosca_definitions_version: tosca_simple_yaml_1_0, imports: [custom_types/book.yaml], topology_template: {
  node_templates: {thin: {type: tosca.nodes.Book, properties: {name: thin, title: ByRecipe}}}}}`

// bookByRecipe changes a book by a recipe, with the rights of function sync.
func (s *suite) bookByRecipe(ctx context.Context) error {
	token, err := output(ctx, "", "kubectl", "-n", library, "create", "token", "sync")
	if err != nil {
		return err
	}
	tosca, err := s.linkToAddressable(ctx, system, "ksvc", "tosca")
	if err != nil {
		return err
	}
	a, err := tosca.curl(ctx, "/run", "--data-binary", bookRecipe, "-H", "Authorization: Bearer "+token)
	if err := want(http.StatusOK, a, err); err != nil {
		return err
	}
	return kubectlAll(ctx, "wait -n library "+newBooks+"/thin --for=jsonpath={.spec.heading}=ByRecipe "+timeout, allReady)
}

// withoutWebhook takes the conversion webhook down: nobody can read a book, and hello-world goes on.
func (s *suite) withoutWebhook(ctx context.Context) error {
	// One, which is read from etcd: a list may come from a cache, where books are converted already.
	readable := func() error {
		_, err := output(ctx, "", "kubectl", "get", "-n", library, oldBooks+"/thick")
		return err
	}
	err := kubectlAll(ctx, "scale -n library deployment/convert --replicas=0")
	if err == nil {
		err = until(ctx, "books cannot be read", func() error { return expect(readable() != nil, "they can") })
	}
	if err == nil {
		err = apply(ctx, newInstance("meanwhile", "Samwell Tarly", "stream"))
	}
	if err == nil {
		err = kubectlAll(ctx, "wait --for=condition=Ready hwsi/meanwhile "+timeout)
	}
	// In any case, or the models could not be removed.
	err = errors.Join(err, kubectlAll(ctx, "scale -n library deployment/convert --replicas=1"))
	if err == nil {
		err = until(ctx, "books can be read again", readable)
	}
	if err != nil {
		return err
	}
	return kubectlAll(ctx, "patch -n library "+oldBooks+`/thick --type=merge -p {"spec":{"title":"Again"}}`, allReady)
}
