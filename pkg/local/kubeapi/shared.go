package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"k8s.io/client-go/rest"
)

// Use is the API that another process has started, by the client configuration of its administrator: its kubeconfig or its
// Server.Config. Stop leaves it running, and Done is not closed when it ends.
func Use(config *rest.Config) (*Server, error) {
	u, err := url.Parse(config.Host)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the API to use: expected a host like https://127.0.0.1:6443, got %q", config.Host)
	}
	if config.BearerToken == "" || len(config.CAData) == 0 {
		return nil, errors.New("the API to use: expected a bearer token, and the certificate in the configuration itself")
	}
	life, cancel := context.WithCancel(context.Background())
	return &Server{
		identity: &identity{token: config.BearerToken, ca: config.CAData},
		address:  u.Host,
		life:     life, cancel: cancel, stopped: make(chan struct{}),
		again: &again{life: life, waiting: map[string]context.CancelFunc{}},
	}, nil
}
