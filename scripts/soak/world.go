package main

import (
	"context"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	corev1alpha1 "github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

const (
	// namespace is that of the example.
	namespace  = "helloworld"
	userPrefix = "user-"
	greeterURL = "http://greeter.helloworld.svc.cluster.local"
	pullURL    = "http://pull.helloworld.svc.cluster.local"
)

// world is what users have: the API and the greeter, without faults in between.
type world struct {
	services  model.Models[*service]
	instances model.Models[*instance]
	letters   model.Models[*corev1alpha1.DeadLetter]
	raw       dynamic.NamespaceableResourceInterface
	greeter   *client.Client
	http      *http.Client
}

func newWorld(system *local.System) (*world, error) {
	models, err := model.NewClient(system.Config(), v1alpha1.AddToScheme, corev1alpha1.AddToScheme)
	if err != nil {
		return nil, err
	}
	raw, err := dynamic.NewForConfig(system.Config())
	if err != nil {
		return nil, err
	}
	greeter, err := client.New(greeterURL, client.WithHTTPClient(system.Client()))
	return &world{
		services: model.For[*service](models), instances: model.For[*instance](models), letters: model.For[*corev1alpha1.DeadLetter](models),
		raw:     raw.Resource(v1alpha1.GroupVersion.WithResource("helloworldserviceinstances")),
		greeter: greeter, http: system.Client(),
	}, err
}

func (w *world) read(ctx context.Context, namespace, name string) (*unstructured.Unstructured, error) {
	return w.raw.Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (w *world) write(ctx context.Context, o *unstructured.Unstructured) error {
	_, err := w.raw.Namespace(o.GetNamespace()).Update(ctx, o, metav1.UpdateOptions{})
	return err
}

// tick wakes pull, as its PingSource does every 5 minutes. A tick that fails is lost; the next one does its work.
func (w *world) tick(ctx context.Context) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, pullURL, strings.NewReader(""))
	if err != nil {
		return
	}
	for name, value := range map[string]string{"Specversion": "1.0", "Id": "1", "Source": "/soak", "Type": step.EventPing} {
		req.Header.Set("Ce-"+name, value)
	}
	if resp, err := w.http.Do(req); err == nil {
		_ = resp.Body.Close()
	}
}
