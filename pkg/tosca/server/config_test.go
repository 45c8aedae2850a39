package server_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/tosca/server"
)

func TestAPI(t *testing.T) {
	kubeconfig := t.TempDir() + "/kubeconfig"
	c := clientcmdapi.NewConfig()
	c.Clusters["c"] = &clientcmdapi.Cluster{Server: "https://127.0.0.1:1", CertificateAuthorityData: []byte("CA")}
	c.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: "the administrator's"}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	c.CurrentContext = "x"
	if err := clientcmd.WriteToFile(*c, kubeconfig); err != nil {
		t.Fatal(err)
	}
	type want struct{ host, ca, err string }
	cases := map[string]struct {
		reason string
		env    map[string]string
		want   want
	}{
		"Pod":        {"In a pod the API is where Kubernetes says, known by the CA", map[string]string{"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443", "KUBERNETES_CA": "PEM"}, want{host: "https://[fd00::1]:6443", ca: "PEM"}},
		"NoCA":       {"Without the CA nobody's token may be sent", map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, want{err: "KUBERNETES_CA: expected the CA of the Kubernetes API, as in the ConfigMap kube-root-ca.crt"}},
		"Kubeconfig": {"Elsewhere a kubeconfig says where, but not who", map[string]string{"KUBECONFIG": kubeconfig}, want{host: "https://127.0.0.1:1", ca: "CA"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for _, k := range []string{"KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_CA"} {
				t.Setenv(k, tc.env[k])
			}
			if port := tc.env["KUBERNETES_SERVICE_PORT"]; port != "" {
				t.Setenv("KUBERNETES_SERVICE_PORT", port)
			}
			env, err := function.Env[server.Env]()
			if err != nil {
				t.Fatal(err)
			}
			got := want{}
			api, err := env.API()
			if err != nil {
				got.err = err.Error()
			} else {
				got.host, got.ca = api.Host, string(api.CAData)
				if api.BearerToken != "" || api.BearerTokenFile != "" || api.CertFile != "" || len(api.CertData) > 0 || api.ExecProvider != nil || api.AuthProvider != nil {
					t.Error("the configuration has credentials in it")
				}
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}
