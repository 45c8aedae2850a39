// Package drive is what writes models of hello-world and sees when they are ready, for the bench and for the e2e checks.
package drive

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
)

const (
	// Namespace is that of the example: its Triggers want it.
	Namespace = "helloworld"

	// Instances and Services are the resources.
	Instances = "helloworldserviceinstances"
	Services  = "helloworldservices"
)

type (
	// Instance is a model that stands for a greeting.
	Instance = v1alpha1.HelloWorldServiceInstance
	// Service is a model that instances belong to.
	Service = v1alpha1.HelloWorldService
)

// Models is a client of the API that makes one request for each call, and decodes into types at once: the driver should take
// little CPU from what is measured. Answers are read into the object of the call.
type Models struct{ REST *rest.RESTClient }

// NewModels makes a client that has no limit on the rate of requests.
func NewModels(config *rest.Config) (*Models, error) {
	config = rest.CopyConfig(config)
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	config.GroupVersion, config.APIPath, config.QPS = &v1alpha1.GroupVersion, "/apis", -1
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	return &Models{client}, err
}

// Get reads an object.
func (m *Models) Get(ctx context.Context, resource, name string, o runtime.Object) error {
	return m.REST.Get().Namespace(Namespace).Resource(resource).Name(name).Do(ctx).Into(o)
}

// Create makes an object.
func (m *Models) Create(ctx context.Context, resource string, o runtime.Object) error {
	return m.REST.Post().Namespace(Namespace).Resource(resource).Body(o).Do(ctx).Into(o)
}

// Patch sends a JSON merge patch.
func (m *Models) Patch(ctx context.Context, resource, name, patch string, o runtime.Object) error {
	return m.REST.Patch(types.MergePatchType).Namespace(Namespace).Resource(resource).Name(name).Body([]byte(patch)).Do(ctx).Into(o)
}

// PutStatus replaces the status of an object.
func (m *Models) PutStatus(ctx context.Context, resource, name string, o runtime.Object) error {
	return m.REST.Put().Namespace(Namespace).Resource(resource).Name(name).SubResource("status").Body(o).Do(ctx).Into(o)
}

// Delete deletes an instance.
func (m *Models) Delete(ctx context.Context, name string) error {
	return m.REST.Delete().Namespace(Namespace).Resource(Instances).Name(name).Do(ctx).Error()
}
