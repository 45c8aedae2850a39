package local

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/local/activator"
	"github.com/xos-knative/synchronizer/pkg/local/manifest"
	"github.com/xos-knative/synchronizer/pkg/local/process"
)

// daemon is a program that always runs: a Deployment or a ContainerSource.
type daemon struct {
	s        *System
	spec     manifest.Program
	requests atomic.Int64
	proxy    http.Handler

	mu      sync.Mutex // protects following
	keeper  *process.Keeper
	address string        // of the process that runs, "" if none is ready
	ready   chan struct{} // closed when one is ready for the first time
}

// backend is a Service of Kubernetes before a Deployment.
type backend struct {
	spec   manifest.Backend
	daemon *daemon
}

// newDaemon prepares a Deployment or ContainerSource.
func (s *System) newDaemon(spec manifest.Program) *daemon {
	d := &daemon{s: s, spec: spec, ready: make(chan struct{})}
	d.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: r.In.Context().Value(addressKey{}).(string)})
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: maxIdle},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, fmt.Sprintf("%s did not answer: %v", spec.Key(), err), http.StatusBadGateway)
		},
	}
	return d
}

// backends are the Services of Kubernetes that lead to the daemons.
func backends(r running) map[types.NamespacedName]*backend {
	all := map[types.NamespacedName]*backend{}
	for _, spec := range r.set.Backends() {
		// A Deployment of zero replicas is not there.
		d := r.daemons[types.NamespacedName{Namespace: spec.Namespace, Name: spec.Program}]
		all[types.NamespacedName{Namespace: spec.Namespace, Name: spec.Name}] = &backend{spec: spec, daemon: d}
	}
	return all
}

// maxIdle is how many connections to a program are kept: as many as functions call it at the same time.
const maxIdle = 64

// addressKey carries the address of the process in a request's context.
type addressKey struct{}

// ServeHTTP passes a request to the process. While none is ready it answers 503: a cluster refuses the connection, which
// is the same to a client that tries again.
func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.requests.Add(1)
	d.mu.Lock()
	address := d.address
	d.mu.Unlock()
	if address == "" {
		http.Error(w, d.spec.Key().String()+" is not running", http.StatusServiceUnavailable)
		return
	}
	d.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), addressKey{}, address)))
}

func (d *daemon) label() string { return d.s.label(d.spec.Key()) }

func (d *daemon) start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keeper = process.Keep(d.launch, d.report)
}

// launch starts the process, and opens it for requests when it is ready.
func (d *daemon) launch() (*process.Process, error) {
	spec, address, err := d.s.spec(d.spec, 0)
	if err != nil {
		return nil, err
	}
	p, err := process.Start(spec)
	if err != nil {
		return nil, err
	}
	go d.open(p, address)
	return p, nil
}

// open makes a process the one that gets requests, from when it is ready until it ends.
func (d *daemon) open(p *process.Process, address string) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-p.Done()
		cancel()
	}()
	if activator.WaitReady(ctx, address, d.spec.Probe) != nil {
		return
	}
	d.mu.Lock()
	d.address = address
	select {
	case <-d.ready:
	default:
		close(d.ready)
	}
	d.mu.Unlock()

	<-ctx.Done()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.address == address {
		d.address = ""
	}
}

func (d *daemon) report(e process.Event) {
	switch {
	case !e.Ended:
		d.s.console.Event(d.label(), "running, process %d", e.Process.PID())
	case e.Err == nil:
		d.s.console.Problem(d.label(), "ended by itself; starting again in %s", e.Wait)
	default:
		d.s.console.Problem(d.label(), "ended: %v; starting again in %s", e.Err, e.Wait)
	}
}

// waitReady returns when the program was ready once.
func (d *daemon) waitReady(ctx context.Context) error {
	select {
	case <-d.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *daemon) keep() *process.Keeper {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keeper
}

func (d *daemon) stats() ProgramStats {
	p := ProgramStats{Namespace: d.spec.Namespace, Name: d.spec.Name, Requests: int(d.requests.Load())}
	if k := d.keep(); k != nil {
		p.Starts = k.Starts()
		if now := k.Current(); now != nil {
			p.PID = now.PID()
			p.PIDs = []int{p.PID}
		}
	}
	return p
}

func (d *daemon) kill() bool {
	k := d.keep()
	if k == nil {
		return false
	}
	now := k.Current()
	if now == nil {
		return false
	}
	now.Kill()
	return true
}

func (d *daemon) stop() {
	if k := d.keep(); k != nil {
		k.Stop()
	}
}

// serves reports whether a Service has a port. HTTP without a port means 80.
func (b *backend) serves(port int32) bool { return slices.Contains(b.spec.Ports, port) }
