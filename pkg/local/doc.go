// Package local runs a project's Knative resources on one machine without a cluster: the files of config/ and eventing/
// as they are applied to a cluster, on a real Kubernetes API for custom resources and Knative's own event handling code.
// Start brings a System up. The command synchronizer run is a thin layer over it, and tests use it directly (package
// localtest).
//
// The core always runs. Synchronizers run beside it, and are added and removed while it runs (add.go), also from another
// process (control.go). Which of them run is in synchronizers.go and memory.go.
//
// A tour, in the order in which a System comes up:
//
//  1. Package manifest reads and checks the files, and refuses what cannot be honoured here.
//  2. All programs that the files name as images (ko://...) are built (build.go).
//  3. Package kubeapi serves the custom resources. Everything that it holds is below Options.Dir. Package
//     collector is its garbage collector, for owner references and kubectl delete --cascade.
//  4. Package broker carries events from Brokers over Triggers to their subscribers.
//  5. Each Knative Service gets an activator (package activator), which starts its process on the first request and stops
//     it when it is idle; the functions notice no difference to a cluster (functions.go).
//  6. One address serves all of them by the Host of a request (router.go): NAME.NAMESPACE.localhost from outside,
//     NAME.NAMESPACE.svc.cluster.local from inside, and Brokers by path. Programs reach the latter through HTTP_PROXY.
//  7. Deployments and ContainerSources are started and kept running (daemons.go, package process).
//  8. PingSources begin to tick (package ping).
//
// Steps 1, 2 and 4 to 8 are one after the other in change.go, for Start and for what is added later. Stop goes the other
// way round. After the end of the runner, also by SIGKILL, only the objects in the API and the files in volumes are left.
//
// What is different from a cluster: there is no core API (no Namespaces, Secrets or Events), RBAC is not enforced (every
// program gets the administrator's kubeconfig), a Service has one process unless Options.Pods says otherwise, and Go programs are the only images.
package local
