package server

import (
	"errors"
	"net"
	"os"

	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/pkg/function"
)

// Env is the function's configuration.
type Env struct {
	// UsersDir is where the Secret with the users of XOS is mounted.
	UsersDir string `envconfig:"XOS_USERS_DIR"`

	// APIHost and APIPort are set by Kubernetes in every container.
	APIHost string `envconfig:"KUBERNETES_SERVICE_HOST"`
	APIPort string `envconfig:"KUBERNETES_SERVICE_PORT" default:"443"`

	// CA is the CA of the Kubernetes API, as PEM. Kubernetes has it in the ConfigMap
	// kube-root-ca.crt of each namespace, so no service account has to be mounted for it.
	CA string `envconfig:"KUBERNETES_CA"`
}

// API says where the Kubernetes API is, in a pod or by KUBECONFIG. It has no credentials.
func (e Env) API() (*rest.Config, error) {
	if e.APIHost == "" || os.Getenv("KUBECONFIG") != "" {
		config, err := function.KubeConfig()
		if err != nil {
			return nil, err
		}
		return rest.AnonymousClientConfig(config), nil
	}
	if e.CA == "" {
		return nil, errors.New("KUBERNETES_CA: expected the CA of the Kubernetes API, as in the ConfigMap kube-root-ca.crt")
	}
	return &rest.Config{
		Host:            "https://" + net.JoinHostPort(e.APIHost, e.APIPort),
		TLSClientConfig: rest.TLSClientConfig{CAData: []byte(e.CA)},
	}, nil
}
