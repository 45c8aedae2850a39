// Package kubeapi runs a real Kubernetes API for custom resources inside the calling process: the upstream
// apiextensions API server over an embedded etcd. It is ready in about a second, so that one can work on a
// synchronizer without a cluster, and tests run against what a cluster really does: OpenAPI and CEL validation,
// status subresource, generation, finalizers, watches, selectable fields and server-side apply.
//
// There is no core group: Namespaces, Leases and Secrets do not exist and any namespace name is accepted. Nor is there
// a garbage collector: see package collector. Kubernetes Events are there as events.k8s.io/v1 only, so `kubectl get
// events.events.k8s.io` shows them, but not `kubectl describe` or `kubectl events`. They are a custom resource
// definition of the API's own, not validated, and deleted an hour after they came last, as on a cluster.
// A known token may do everything, unless Options.Authorizer says otherwise; without a token the answer is 401, as on a
// cluster.
//
// The parts, in the order in which Start brings them up: the log sink (log.go), etcd (etcd.go), certificate, token
// and port that stay the same between runs over one directory (identity.go), the API server (apiserver.go) and the
// custom resource definitions (crds.go), with that of events (events.go).
package kubeapi
