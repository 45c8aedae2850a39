package activator

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// probeInterval is short, so that a cold start takes little longer than the program.
const probeInterval = 5 * time.Millisecond

// WaitReady returns when the process at address is ready: when path answers 2xx or 3xx, or without a path when it takes
// connections. If ctx ends, the error says what it was waiting for.
func WaitReady(ctx context.Context, address, path string) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, probeInterval, true, func(ctx context.Context) (bool, error) {
		last = probe(ctx, address, path)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}

func probe(ctx context.Context, address, path string) error {
	if path == "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	// What Knative's prober and kubelet call themselves: programs keep such requests out of their logs.
	req.Header.Set("User-Agent", "kube-probe/local")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("%s answers %s", path, resp.Status)
	}
	return nil
}
