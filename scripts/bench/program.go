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
	for _, inherited := range []string{"PATH", "HOME", "TMPDIR", "GODEBUG"} {
		env = append(env, inherited+"="+os.Getenv(inherited))
	}
	began := time.Now()
	started, err := process.Start(process.Spec{Name: name, Path: path, Args: args, Dir: s.bench.root, Output: out, Grace: 10 * time.Second,
		Env: append(env, "PORT="+port, "LISTEN_ADDRESS=127.0.0.1", "KUBECONFIG="+s.kubeconfig())})
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	go func() {
		<-started.Done()
		_ = out.Close()
	}()
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
		err := ready(ctx, p.address)
		if err == nil {
			p.took = time.Since(began)
			return nil
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

func ready(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		err = fmt.Errorf("/readyz answers %s", resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
