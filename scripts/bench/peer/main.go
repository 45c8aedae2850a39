// Peer is an operator as one is usually written: a controller-runtime manager that does what the functions sync and policy
// of hello-world do together. One reconciler for each kind, reads from a cache, one finalizer, one write of the status.
// `make bench` runs it beside them. It is a module of its own, because nothing else may need controller-runtime.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
)

func main() {
	concurrent := flag.Int("concurrent", 1, "MaxConcurrentReconciles; 1 is controller-runtime's default")
	flag.Parse()
	ctrl.SetLogger(zap.New())
	if err := run(*concurrent); err != nil {
		fmt.Fprintf(os.Stderr, "peer: %v\n", err)
		os.Exit(1)
	}
}

// run reaches the API by KUBECONFIG, without a limit on the rate of requests, as is the default since v0.21.
func run(concurrent int) error {
	ctx := ctrl.SetupSignalHandler()
	greeter, err := client.New(os.Getenv("GREETER_URL"))
	if err != nil {
		return fmt.Errorf("GREETER_URL: %w", err)
	}
	rest, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	manager, err := ctrl.NewManager(rest, ctrl.Options{
		Scheme:                 scheme,
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: net.JoinHostPort("127.0.0.1", os.Getenv("PORT")),
		Controller:             config.Controller{MaxConcurrentReconciles: concurrent},
	})
	if err != nil {
		return err
	}
	if err := manager.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := manager.GetFieldIndexer().IndexField(ctx, &v1alpha1.HelloWorldServiceInstance{}, ownerField, ownerOf); err != nil {
		return err
	}
	if err := (&instances{Client: manager.GetClient(), greeter: greeter}).setUp(manager); err != nil {
		return err
	}
	if err := (&services{Client: manager.GetClient()}).setUp(manager); err != nil {
		return err
	}
	return manager.Start(ctx)
}
