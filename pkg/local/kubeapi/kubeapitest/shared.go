package kubeapitest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	utilrand "k8s.io/apimachinery/pkg/util/rand"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
)

// shared is the API of Main, nil until a test has asked for it.
var (
	shared  *kubeapi.Server
	options *kubeapi.Options
	start   = sync.OnceValue(func() (err error) {
		shared, err = kubeapi.Start(context.Background(), *options)
		return err
	})
)

// Main is what a package's TestMain calls whose tests share one API (Shared),
// each in a namespace of its own (Namespace): starting one takes seconds. It
// starts with the first test that needs it and ends with the process.
func Main(m *testing.M, o kubeapi.Options) {
	options = &o
	code := m.Run()
	if shared != nil {
		if err := shared.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "cannot stop the Kubernetes API:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// Shared is the API of Main.
func Shared(t testing.TB) *kubeapi.Server {
	t.Helper()
	if options == nil {
		t.Fatal("a package whose tests share an API has a TestMain that calls kubeapitest.Main")
	}
	if err := start(); err != nil {
		t.Fatalf("cannot start the Kubernetes API: %v", err)
	}
	return shared
}

// LeadTo makes KUBECONFIG lead to an API for the length of the test, which
// therefore must not run in parallel with others.
func LeadTo(t testing.TB, s *kubeapi.Server) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := s.WriteKubeconfig(file); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
}

// Namespace names a namespace after the test, another one at each call.
func Namespace(t testing.TB) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(t.Name()))
	return strings.Trim(name[:min(len(name), 50)], "-") + "-" + utilrand.String(5)
}
