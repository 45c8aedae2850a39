// Package kubeapitest gives tests a Kubernetes API, of their own (Start) or one
// for all tests of a package (Main).
package kubeapitest

import (
	"testing"

	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
)

// Start runs an API for the length of the test, with the CRDs of the given YAML files or directories, and returns the
// administrator's client configuration. The test fails if the API cannot be started.
func Start(t testing.TB, crds ...string) *rest.Config {
	t.Helper()
	return StartServer(t, kubeapi.Options{CRDs: crds}).Config()
}

// StartServer is Start for tests that need more than a client. A missing o.Dir is a temporary one.
func StartServer(t testing.TB, o kubeapi.Options) *kubeapi.Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := kubeapi.Start(t.Context(), o)
	if err != nil {
		t.Fatalf("cannot start the Kubernetes API: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("cannot stop the Kubernetes API: %v", err)
		}
	})
	return s
}
