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
	s    *System
	spec manifest.Function
	pods []*pod
	turn atomic.Uint32 // the pod that was asked last
}

// pod is one process of a function, which runs while it has requests.
type pod struct {
	*function
	number    int
	activator *activator.Activator
	pid       atomic.Int64
}

// newFunction makes a Knative Service. Nothing runs yet.
func (s *System) newFunction(spec manifest.Function) *function {
	f := &function{s: s, spec: spec}
	for n := range s.podsOf(spec) {
		f.pods = append(f.pods, f.newPod(n))
	}
	return f
}

// podsOf is how many processes share the requests of a function.
func (s *System) podsOf(f manifest.Function) int {
	switch {
	case s.debugs(f.Key()):
		return 1
	case f.MaxScale > 0:
		return min(s.o.Pods, f.MaxScale)
	default:
		return s.o.Pods
	}
}

func (f *function) newPod(number int) *pod {
	p := &pod{function: f, number: number}
	timeout := f.spec.Timeout
	if f.s.debugs(f.spec.Key()) {
		timeout = 0 // Somebody is thinking.
	}
	p.activator = activator.New(activator.Options{
		Name:        f.spec.Key().String(),
		Start:       p.start,
		Probe:       f.spec.Probe,
		Concurrency: f.spec.Concurrency,
		Timeout:     timeout,
		Idle:        f.s.idle(f.spec),
		Report:      p.report,
	})
	return p
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

func (p *pod) start() (activator.Instance, string, error) {
	spec, address, err := p.s.spec(p.spec.Program, p.number)
	if err != nil {
		return nil, "", err
	}
	if p.s.debugs(p.spec.Key()) {
		if spec, err = p.s.debugged(spec); err != nil {
			return nil, "", err
		}
	}
	running, err := process.Start(spec)
	if err != nil {
		return nil, "", err
	}
	p.pid.Store(int64(running.PID()))
	return running, address, nil
}

func (p *pod) report(r activator.Report) {
	switch r.State {
	case activator.Starting:
		p.s.console.Detail(p.label(), "a request has come: starting")
	case activator.Ready:
		p.s.console.Event(p.label(), "started in %d ms", r.Took.Milliseconds())
	case activator.Stopped:
		p.pid.Store(0)
		p.s.console.Event(p.label(), "idle: back to zero")
	case activator.Crashed:
		p.pid.Store(0)
		p.s.console.Problem(p.label(), "ended: %v; the next request starts it again", r.Err)
	}
}

// ServeHTTP passes a request to the process that has the fewest, in turn if several have as few.
func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	turn := int(f.turn.Add(1))
	best, fewest := f.pods[turn%len(f.pods)], -1
	for i := range f.pods {
		p := f.pods[(turn+i)%len(f.pods)]
		if n := p.activator.Stats().InFlight; fewest < 0 || n < fewest {
			best, fewest = p, n
		}
	}
	best.activator.ServeHTTP(w, r)
}

// warm starts a process without a request.
func (f *function) warm() { f.pods[0].activator.Warm() }

// stop ends all processes.
func (f *function) stop() {
	inParallel(f.pods, func(p *pod) { p.activator.Stop() })
}

// kill ends all processes with SIGKILL, and reports whether there was one.
func (f *function) kill() (killed bool) {
	for _, p := range f.pods {
		killed = p.activator.Kill() || killed
	}
	return killed
}

func (f *function) stats() ProgramStats {
	all := ProgramStats{Namespace: f.spec.Namespace, Name: f.spec.Name, Function: true}
	for _, p := range f.pods {
		a := p.activator.Stats()
		all.Starts += a.Starts
		all.Requests += a.Requests
		if pid := int(p.pid.Load()); a.Running && pid != 0 {
			all.PIDs = append(all.PIDs, pid)
			all.PID = all.PIDs[0]
		}
	}
	return all
}
