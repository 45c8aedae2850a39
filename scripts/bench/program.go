package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/xos-knative/synchronizer/pkg/local/process"
)

// readyTimeout is how long a program may take until it answers.
const readyTimeout = 2 * time.Minute

// program is a process that the driver has started.
type program struct {
	*process.Process
	name, address string
	took          time.Duration // from exec to its first answer
}

// start runs a program of the session and waits until it answers GET /readyz. It gets a port on loopback, the kubeconfig,
// and what else is in env.
func (s *session) start(ctx context.Context, name, path string, args []string, env ...string) (*program, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	out, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	began := time.Now()
	started, err := process.Start(process.Spec{Name: name, Path: path, Args: args, Dir: s.bench.root, Output: out, Grace: 10 * time.Second,
		Env: append(os.Environ(), append(env, "PORT="+port, "LISTEN_ADDRESS=127.0.0.1", "KUBECONFIG="+s.kubeconfig())...)})
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	context.AfterFunc(ctx, func() { _ = out.Close() })
	p := &program{Process: started, name: name, address: address}
	s.programs = append(s.programs, p)
	if err := p.answers(ctx, began); err != nil {
		return nil, fmt.Errorf("%s is not ready: %w; its log is %s", name, err, out.Name())
	}
	return p, nil
}

// answers waits until the program answers. It looks every millisecond.
func (p *program) answers(ctx context.Context, began time.Time) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("no answer after %s", readyTimeout))
	defer cancel()
	for {
		resp, err := call(ctx, http.MethodGet, p.address, "/readyz", nil)
		if err == nil {
			p.took = time.Since(began)
			return resp.Body.Close()
		}
		select {
		case <-p.Done():
			return fmt.Errorf("it ended (%v)", p.Err())
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(time.Millisecond):
		}
	}
}

// call sends a request without a body. An answer that is not 2xx is an error.
func call(ctx context.Context, method, address, path string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	for name := range header {
		req.Header.Set(name, header.Get(name))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, errors.Join(fmt.Errorf("%s answers %s", path, resp.Status), resp.Body.Close())
	}
	return resp, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
