package local

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/xos-knative/synchronizer/pkg/local/activator"
	"github.com/xos-knative/synchronizer/pkg/local/manifest"
	"github.com/xos-knative/synchronizer/pkg/local/process"
)

// function is a Knative Service.
type function struct {
	s         *System
	spec      manifest.Function
	activator *activator.Activator
	pid       atomic.Int64
}

// newFunction makes the activator of a Knative Service.
func (s *System) newFunction(spec manifest.Function) *function {
	f := &function{s: s, spec: spec}
	timeout := spec.Timeout
	if s.debugs(spec.Key()) {
		timeout = 0 // Somebody is thinking.
	}
	f.activator = activator.New(activator.Options{
		Name:        spec.Key().String(),
		Start:       f.start,
		Probe:       spec.Probe,
		Concurrency: spec.Concurrency,
		Timeout:     timeout,
		Idle:        s.idle(spec),
		Report:      f.report,
	})
	return f
}

func (f *function) label() string { return f.s.label(f.spec.Key()) }

// idle is how long a function stays without a request, 0 for always.
func (s *System) idle(f manifest.Function) time.Duration {
	switch {
	case f.AlwaysOn, s.debugs(f.Key()):
		return 0
	case s.o.Idle > 0:
		return s.o.Idle
	case f.Window > 0:
		return f.Window
	default:
		return DefaultIdle
	}
}

func (f *function) start() (activator.Instance, string, error) {
	spec, address, err := f.s.spec(f.spec.Program)
	if err != nil {
		return nil, "", err
	}
	if f.s.debugs(f.spec.Key()) {
		if spec, err = f.s.debugged(spec); err != nil {
			return nil, "", err
		}
	}
	p, err := process.Start(spec)
	if err != nil {
		return nil, "", err
	}
	f.pid.Store(int64(p.PID()))
	return p, address, nil
}

func (f *function) report(r activator.Report) {
	switch r.State {
	case activator.Starting:
		f.s.console.Detail(f.label(), "a request has come: starting")
	case activator.Ready:
		f.s.console.Event(f.label(), "started in %d ms", r.Took.Milliseconds())
	case activator.Stopped:
		f.pid.Store(0)
		f.s.console.Event(f.label(), "idle: back to zero")
	case activator.Crashed:
		f.pid.Store(0)
		f.s.console.Problem(f.label(), "ended: %v; the next request starts it again", r.Err)
	}
}

func (f *function) stats() ProgramStats {
	a := f.activator.Stats()
	p := ProgramStats{Namespace: f.spec.Namespace, Name: f.spec.Name, Function: true, Starts: a.Starts, Requests: a.Requests}
	if a.Running {
		p.PID = int(f.pid.Load())
	}
	return p
}

// ServeHTTP passes a request to the function's process.
func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.activator.ServeHTTP(w, r) }
