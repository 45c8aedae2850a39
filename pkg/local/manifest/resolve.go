package manifest

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/network"
)

// BrokerIngressHost is the host under which Knative's multi-tenant brokers take events.
const BrokerIngressHost = "broker-ingress.knative-eventing.svc.cluster.local"

// BrokerURL is where a Broker takes events: the same address as on a cluster.
func BrokerURL(namespace, name string) *apis.URL {
	u := apis.HTTP(BrokerIngressHost)
	u.Path = "/" + namespace + "/" + name
	return u
}

// ServiceURL is the cluster-local address of a Service, of Knative or of Kubernetes.
func ServiceURL(namespace, name string) *apis.URL {
	return apis.HTTP(network.GetServiceHostname(name, namespace))
}

// Resolve finds the address of a destination that a resource in namespace gives. What it refers to has to be among the
// files. A uri beside a ref is relative to the ref's address, as in Knative's own resolver.
func (s *Set) Resolve(d duckv1.Destination, namespace string) (*apis.URL, error) {
	if d.Ref == nil {
		if d.URI == nil {
			return nil, fmt.Errorf("ref or uri is required")
		}
		return d.URI, nil
	}
	ns := d.Ref.Namespace
	if ns == "" {
		ns = namespace
	}

	var base *apis.URL
	switch kind := d.Ref.APIVersion + " " + d.Ref.Kind; kind {
	case "serving.knative.dev/v1 Service":
		if has(s.Services, ns, d.Ref.Name) {
			base = ServiceURL(ns, d.Ref.Name)
		}
	case "v1 Service":
		if has(s.CoreServices, ns, d.Ref.Name) {
			base = ServiceURL(ns, d.Ref.Name)
		}
	case "eventing.knative.dev/v1 Broker":
		if has(s.Brokers, ns, d.Ref.Name) {
			base = BrokerURL(ns, d.Ref.Name)
		}
	default:
		return nil, fmt.Errorf("ref: cannot send events to %s here; expected a Service of serving.knative.dev/v1 or v1, or a Broker of eventing.knative.dev/v1", kind)
	}
	if base == nil {
		return nil, fmt.Errorf("ref: there is no %s %s/%s in the files", d.Ref.Kind, ns, d.Ref.Name)
	}
	if d.URI != nil {
		return base.ResolveReference(d.URI), nil
	}
	return base, nil
}

func has[T metav1.Object](objects []T, namespace, name string) bool {
	return slices.ContainsFunc(objects, func(o T) bool { return o.GetNamespace() == namespace && o.GetName() == name })
}
