// Package local runs a project's Knative resources on one machine without a cluster: the files of config/ and eventing/
// as they are applied to a cluster, on a real Kubernetes API for custom resources and Knative's own event handling code.
// Start brings a System up; the program scripts/local is a thin cover over it, and tests use it as it is.
//
// A tour, in the order in which a System comes up:
//
//  1. package manifest reads and checks the files, and refuses what cannot be honoured here;
//  2. all programs that the files name as images (ko://...) are built with one "go build" (build.go);
//  3. package kubeapi serves the custom resources, with everything it holds below Options.Dir;
//  4. package broker carries events from Brokers over Triggers to their subscribers;
//  5. each Knative Service gets an activator (package activator), which starts its process on the first request and
//     stops it when idle; the functions never notice a difference to a cluster (functions.go);
//  6. one address serves all of them by the Host of a request (router.go): NAME.NAMESPACE.localhost from outside,
//     NAME.NAMESPACE.svc.cluster.local from inside, and Brokers by path. Programs reach the latter through HTTP_PROXY;
//  7. Deployments and ContainerSources are started and kept running (daemons.go, package process);
//  8. PingSources begin to tick (package ping).
//
// Stop goes the other way round. Nothing of it survives the runner, not even a SIGKILL of it, but what is to be kept:
// the objects in the API and the files in volumes.
//
// What is different from a cluster: there is no core API (no Namespaces, Secrets or Events), RBAC is not enforced (every
// program gets the administrator's kubeconfig), a Service has at most one process, and Go programs are the only images.
package local
