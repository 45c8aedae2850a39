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
	// UsersDir is where the Secret with the users of XOS is mounted, if there is one.
	UsersDir string `envconfig:"XOS_USERS_DIR"`

	// APIHost and APIPort are what Kubernetes tells every container.
	APIHost string `envconfig:"KUBERNETES_SERVICE_HOST"`
	APIPort string `envconfig:"KUBERNETES_SERVICE_PORT" default:"443"`

	// CA is the CA, as PEM, that the Kubernetes API is known by. Kubernetes keeps it in the ConfigMap kube-root-ca.crt of each
	// namespace, so that no service account has to be mounted to have it.
	CA string `envconfig:"KUBERNETES_CA"`
}

// API says where the Kubernetes API is, in a pod or by KUBECONFIG, and never with credentials.
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
