package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/scripts/bench/job"
)

const (
	// namespace is that of the example: its Triggers want it.
	namespace        = "helloworld"
	instanceResource = "helloworldserviceinstances"
	serviceResource  = "helloworldservices"

	serviceOfMany = "many" // the one that changes
	serviceOfRest = "rest"
)

// models is a client of the API for the user of the models. It decodes into types at once, to take little CPU from what is
// measured.
type models struct {
	rest *rest.RESTClient
	// count is how many instances there are, but for those of the warm-up.
	count int
}

func newModelsClient(kubeconfig string) (*models, error) {
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
	return &models{rest: client}, err
}

func instanceName(n int) string { return fmt.Sprintf("guest-%05d", n) }

func (m *models) create(ctx context.Context, name, owner, to string) (*instance, error) {
	i := &instance{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.HelloWorldServiceInstanceSpec{HelloTo: to, Owner: &v1alpha1.OwnerReference{Name: owner}}}
	return i, m.rest.Post().Namespace(namespace).Resource(instanceResource).Body(i).Do(ctx).Into(i)
}

func (m *models) change(ctx context.Context, name, to string) (*instance, error) {
	return m.patch(ctx, name, fmt.Sprintf(`{"spec":{"helloTo":%q}}`, to))
}

func (m *models) patch(ctx context.Context, name, patch string) (*instance, error) {
	i := &instance{}
	return i, m.rest.Patch(types.MergePatchType).Namespace(namespace).Resource(instanceResource).Name(name).Body([]byte(patch)).Do(ctx).Into(i)
}

func (m *models) delete(ctx context.Context, name string) error {
	return m.rest.Delete().Namespace(namespace).Resource(instanceResource).Name(name).Do(ctx).Error()
}

func (m *models) createService(ctx context.Context, name string) error {
	s := &service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.HelloWorldServiceSpec{HelloFrom: "Jon"}}
	return m.rest.Post().Namespace(namespace).Resource(serviceResource).Body(s).Do(ctx).Error()
}

// changeService returns the service as it is after the change.
func (m *models) changeService(ctx context.Context, name, from string) (*service, error) {
	s := &service{}
	patch := fmt.Sprintf(`{"spec":{"helloFrom":%q}}`, from)
	return s, m.rest.Patch(types.MergePatchType).Namespace(namespace).Resource(serviceResource).Name(name).Body([]byte(patch)).Do(ctx).Into(s)
}

func (m *models) service(ctx context.Context, name string) (*service, error) {
	s := &service{}
	return s, m.rest.Get().Namespace(namespace).Resource(serviceResource).Name(name).Do(ctx).Into(s)
}

func (m *models) serviceIsReady(ctx context.Context, name string) (bool, error) {
	s, err := m.service(ctx, name)
	return err == nil && job.IsReady(&s.ObjectMeta, &s.Status), err
}
