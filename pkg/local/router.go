package local

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/local/manifest"
)

const (
	clusterSuffix = ".svc.cluster.local"
	publicSuffix  = ".localhost"
)

// router leads each request to what its Host names, as a cluster's DNS and ingress do:
//
//	127.0.0.1, localhost               Brokers, by path /NAMESPACE/NAME; a GET of / says what is here; control.go
//	NAME.NAMESPACE.localhost           public Knative Services
//	NAME.NAMESPACE.svc.cluster.local   every Service, and Knative's own hosts for Brokers
//
// Requests of programs come through HTTP_PROXY, so those for other hosts are passed on to where they want to go.
func (s *System) router() http.Handler {
	outside := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL = r.In.URL }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			http.Error(w, "only http is spoken here", http.StatusMethodNotAllowed)
			return
		}
		throughProxy := r.URL.Host != ""
		host, port := splitHost(r.Host)
		h := s.handler(host, port)
		switch {
		case h != nil:
		case throughProxy && !strings.HasSuffix(host, clusterSuffix):
			outside.ServeHTTP(w, r)
			return
		case throughProxy:
			// On a cluster the name does not resolve. Passed on, the request would come back here.
			http.Error(w, s.unknownHost(host), http.StatusBadGateway)
			return
		default:
			http.Error(w, s.unknownHost(host), http.StatusNotFound)
			return
		}
		if throughProxy {
			// From here on it is a request like any other; Knative's handlers look at the RequestURI.
			r.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
			r.RequestURI = r.URL.RequestURI()
			r.Host = host
		}
		h.ServeHTTP(w, r)
	})
}

// splitHost takes a Host header apart; without a port it is 80.
func splitHost(hostport string) (host string, port int32) {
	host, p, err := net.SplitHostPort(hostport)
	if err != nil {
		return strings.ToLower(hostport), 80
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return strings.ToLower(host), 0
	}
	return strings.ToLower(host), int32(n)
}

// handler returns what serves a host, nil if nothing does.
func (s *System) handler(host string, port int32) http.Handler {
	if ip := net.ParseIP(strings.Trim(host, "[]")); host == "localhost" || ip != nil && ip.IsLoopback() {
		return http.HandlerFunc(s.serveHere)
	}
	if h := s.broker.Handler(host); h != nil {
		return h
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if name, ok := strings.CutSuffix(host, publicSuffix); ok {
		f := s.functions[namespacedName(name)]
		switch {
		case f == nil:
			return nil
		case !f.spec.Public:
			return notPublic(f)
		default:
			return f
		}
	}
	// Inside of a cluster, shorter forms of a name lead to the same place.
	name, _ := strings.CutSuffix(host, clusterSuffix)
	name, _ = strings.CutSuffix(name, ".svc")
	key := namespacedName(name)
	if f := s.functions[key]; f != nil {
		return f
	}
	b := s.backends[key]
	switch {
	case b == nil:
		return nil
	case !b.serves(port) && port != s.port():
		return answer(http.StatusBadGateway, fmt.Sprintf("Service %s/%s has no port %d, but %v", b.spec.Namespace, b.spec.Name, port, b.spec.Ports))
	case b.daemon == nil:
		return answer(http.StatusServiceUnavailable, fmt.Sprintf("Deployment %s has no replicas", b.spec.Program))
	default:
		return b.daemon
	}
}

// port is that of the one address: a Host header may have it or not.
func (s *System) port() int32 { return int32(s.listener.Addr().(*net.TCPAddr).Port) }

// serveHere serves the address itself: Brokers by path, a page that says what is here, and adding and removing.
func (s *System) serveHere(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" && r.Method == http.MethodGet {
		_, _ = w.Write([]byte(s.Overview()))
		return
	}
	if strings.HasPrefix(r.URL.Path, controlPath) {
		s.control(w, r)
		return
	}
	s.broker.Handler(manifest.BrokerIngressHost).ServeHTTP(w, r)
}

// notPublic says how to reach a function that is not exposed.
func notPublic(f *function) http.Handler {
	return answer(http.StatusNotFound, fmt.Sprintf("%s is cluster-local: not reachable from outside, as on a cluster; to call it by hand, use -H 'Host: %s'",
		f.spec.Key(), manifest.ServiceURL(f.spec.Namespace, f.spec.Name).Host))
}

func answer(status int, text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, status) })
}

// namespacedName reads NAME.NAMESPACE.
func namespacedName(host string) types.NamespacedName {
	name, namespace, _ := strings.Cut(host, ".")
	return types.NamespacedName{Namespace: namespace, Name: name}
}

func (s *System) unknownHost(host string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var known []string
	for _, f := range s.functions {
		if f.spec.Public {
			known = append(known, f.spec.Name+"."+f.spec.Namespace+publicSuffix)
		}
		known = append(known, manifest.ServiceURL(f.spec.Namespace, f.spec.Name).Host)
	}
	for key := range s.backends {
		known = append(known, manifest.ServiceURL(key.Namespace, key.Name).Host)
	}
	slices.Sort(known)
	return fmt.Sprintf("there is no host %s here; known hosts are:\n%s", host, strings.Join(known, "\n"))
}
