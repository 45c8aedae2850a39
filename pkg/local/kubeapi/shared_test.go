package kubeapi_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
)

// TestUse uses an API from what its kubeconfig says, as another process does.
func TestUse(t *testing.T) {
	own, err := kubeapi.Start(t.Context(), kubeapi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = own.Stop() }()
	raw, err := own.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	used, err := kubeapi.Use(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := used.ApplyCRDs(t.Context(), crdFile); err != nil {
		t.Errorf("definitions can be added to it: %v", err)
	}
	if again, err := used.Kubeconfig(); err != nil || string(again) != string(raw) {
		t.Errorf("it has the same kubeconfig: got %s, %v", again, err)
	}
	if err := used.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := client(t, own.Config()).Create(t.Context(), box("a", map[string]any{"size": int64(1)}), metav1.CreateOptions{}); err != nil {
		t.Errorf("it goes on after Stop, with the definitions: %v", err)
	}

	for reason, config := range map[string]*rest.Config{
		"https://":     {Host: "127.0.0.1:6443", BearerToken: "t", TLSClientConfig: rest.TLSClientConfig{CAData: []byte("c")}},
		"bearer token": {Host: own.URL()},
	} {
		if _, err := kubeapi.Use(config); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("want an error about %s, got %v", reason, err)
		}
	}
}
