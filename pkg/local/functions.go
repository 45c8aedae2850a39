package local

import (
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/local/activator"
	"github.com/xos-knative/synchronizer/pkg/local/manifest"
	"github.com/xos-knative/synchronizer/pkg/local/process"
)

// function is a Knative Service.
type function struct {
	spec      manifest.Function
	activator *activator.Activator
	pid       atomic.Int64
}

// addFunctions makes an activator for each Knative Service.
func (s *System) addFunctions() {
	for _, spec := range s.set.Functions() {
		f := &function{spec: spec}
		f.activator = activator.New(activator.Options{
			Name:        spec.Name,
			Start:       func() (activator.Instance, string, error) { return s.startFunction(f) },
			Probe:       spec.Probe,
			Concurrency: spec.Concurrency,
			Timeout:     spec.Timeout,
			Idle:        s.idle(spec),
			Report:      func(r activator.Report) { s.reportFunction(f, r) },
		})
		s.functions[types.NamespacedName{Namespace: spec.Namespace, Name: spec.Name}] = f
	}
}

// idle is how long a function stays without a request, 0 for always.
func (s *System) idle(f manifest.Function) time.Duration {
	switch {
	case f.AlwaysOn:
		return 0
	case s.o.Idle > 0:
		return s.o.Idle
	case f.Window > 0:
		return f.Window
	default:
		return DefaultIdle
	}
}

func (s *System) startFunction(f *function) (activator.Instance, string, error) {
	spec, address, err := s.spec(f.spec.Program)
	if err != nil {
		return nil, "", err
	}
	p, err := process.Start(spec)
	if err != nil {
		return nil, "", err
	}
	f.pid.Store(int64(p.PID()))
	return p, address, nil
}

func (s *System) reportFunction(f *function, r activator.Report) {
	switch r.State {
	case activator.Starting:
		s.console.Detail(f.spec.Name, "a request has come: starting")
	case activator.Ready:
		s.console.Event(f.spec.Name, "started in %d ms", r.Took.Milliseconds())
	case activator.Stopped:
		f.pid.Store(0)
		s.console.Event(f.spec.Name, "idle: back to zero")
	case activator.Crashed:
		f.pid.Store(0)
		s.console.Problem(f.spec.Name, "ended: %v; the next request starts it again", r.Err)
	}
}

func (f *function) stats() ProgramStats {
	a := f.activator.Stats()
	p := ProgramStats{Name: f.spec.Name, Function: true, Starts: a.Starts, Requests: a.Requests}
	if a.Running {
		p.PID = int(f.pid.Load())
	}
	return p
}

// ServeHTTP passes a request to the function's process.
func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.activator.ServeHTTP(w, r) }
