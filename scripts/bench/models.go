package main

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
)

const (
	// namespace is that of the example: its Triggers want it.
	namespace = "helloworld"

	instances = "helloworldserviceinstances"
	services  = "helloworldservices"
)

type (
	instance = v1alpha1.HelloWorldServiceInstance
	service  = v1alpha1.HelloWorldService
)

// models is a client of the API that makes one request for each call, and decodes into types at once: the driver should take
// little CPU from what is measured. Answers are read into the object of the call.
type models struct{ rest *rest.RESTClient }

func newModels(kubeconfig string) (*models, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	config.GroupVersion, config.APIPath, config.QPS = &v1alpha1.GroupVersion, "/apis", -1
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	return &models{client}, err
}

func (m *models) get(ctx context.Context, resource, name string, o runtime.Object) error {
	return m.rest.Get().Namespace(namespace).Resource(resource).Name(name).Do(ctx).Into(o)
}

func (m *models) create(ctx context.Context, resource string, o runtime.Object) error {
	return m.rest.Post().Namespace(namespace).Resource(resource).Body(o).Do(ctx).Into(o)
}

// patch is a JSON merge patch.
func (m *models) patch(ctx context.Context, resource, name, patch string, o runtime.Object) error {
	return m.rest.Patch(types.MergePatchType).Namespace(namespace).Resource(resource).Name(name).Body([]byte(patch)).Do(ctx).Into(o)
}

func (m *models) putStatus(ctx context.Context, resource, name string, o runtime.Object) error {
	return m.rest.Put().Namespace(namespace).Resource(resource).Name(name).SubResource("status").Body(o).Do(ctx).Into(o)
}

func (m *models) delete(ctx context.Context, name string) error {
	return m.rest.Delete().Namespace(namespace).Resource(instances).Name(name).Do(ctx).Error()
}
