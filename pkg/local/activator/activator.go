package activator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// startTimeout is how long a process may take to become ready.
const startTimeout = time.Minute

// Instance is a process that serves requests.
type Instance interface {
	// Done is closed when it has ended.
	Done() <-chan struct{}
	// Err is how it ended, nil for an orderly end.
	Err() error
	// Stop lets it finish and returns when it is gone.
	Stop()
	// Kill ends it at once and returns when it is gone.
	Kill()
}

// Options describe a Service.
type Options struct {
	// Name is used in answers and in reports.
	Name string
	// Start runs a process, and returns the host and port that it will listen on.
	Start func() (_ Instance, address string, _ error)
	// Probe is the path that answers 2xx when the process is ready. Empty: it is ready when it takes connections.
	Probe string
	// Concurrency is how many requests it takes at a time. 0 = any number.
	Concurrency int
	// Timeout of a request, counted from when the process is ready for it. 0 = none.
	Timeout time.Duration
	// Idle is how long the process stays without a request. 0 = forever.
	Idle time.Duration
	// Report is called when something happens to the process. Default: nothing is called.
	Report func(Report)
}

// Report is an event in the life of a process.
type Report struct {
	// State is what it is now.
	State State
	// Took is how long a cold start or a stop took.
	Took time.Duration
	// Err says why it is Crashed.
	Err error
}

// State of a process.
type State string

// The states that are reported, in the order in which a process goes through them.
const (
	// Starting: a request has come, and there is no process.
	Starting State = "Starting"
	// Ready: the process takes requests.
	Ready State = "Ready"
	// Stopped: it was idle and has ended as it was asked to.
	Stopped State = "Stopped"
	// Crashed: it has ended without having been asked to, or was never ready.
	Crashed State = "Crashed"
)

// Stats are counters since the Activator was made.
type Stats struct {
	// Running: there is a process, ready or not.
	Running bool
	// Starts of a process.
	Starts int
	// Requests that came.
	Requests int
	// InFlight is how many requests wait or are being answered.
	InFlight int
}

// Activator is the http.Handler of a Service. Make one with New.
type Activator struct {
	o     Options
	slots chan struct{} // nil if any number of requests may be in the process
	proxy *httputil.ReverseProxy

	mu       sync.Mutex // protects following
	stats    Stats
	current  *run
	idle     *time.Timer
	draining bool // Stop was called
}

// run is one process from start to end.
type run struct {
	instance Instance // nil if it could not be started
	target   *url.URL
	ready    chan struct{} // closed when it is ready or will never be
	err      error         // why it never will be, set before ready is closed
	gone     chan struct{} // closed when the process has ended
	stopping bool          // it was asked to end
}

// New makes an Activator. Nothing runs until the first request, or Warm.
func New(o Options) *Activator {
	if o.Report == nil {
		o.Report = func(Report) {}
	}
	a := &Activator{o: o}
	if o.Concurrency > 0 {
		a.slots = make(chan struct{}, o.Concurrency)
	}
	a.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			target := r.In.Context().Value(targetKey{}).(*url.URL)
			r.SetURL(target)
			// The program sees the name that it was called by, as behind Knative's proxies.
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport:    transport,
		ErrorHandler: a.proxyError,
		ErrorLog:     log.New(io.Discard, "", 0), // the answer says it
	}
	return a
}

// targetKey carries the address of the process in a request's context.
type targetKey struct{}

// transport never goes through a proxy, and keeps no connection that may lead to a process that is gone.
var transport = &http.Transport{
	DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	MaxIdleConnsPerHost: 64,
	IdleConnTimeout:     5 * time.Second,
}

// ServeHTTP passes a request to the process, after having started it if needed.
func (a *Activator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.enter()
	defer a.leave()

	target, err := a.acquire(r.Context())
	if err != nil {
		if r.Context().Err() == nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
		return
	}

	ctx := r.Context()
	if a.o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.o.Timeout)
		defer cancel()
	}
	if a.slots != nil {
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		case <-ctx.Done():
			a.proxyError(w, r, ctx.Err())
			return
		}
	}
	ctx = context.WithValue(ctx, targetKey{}, target)
	a.proxy.ServeHTTP(w, r.WithContext(ctx))
}

// proxyError answers for a process that does not.
func (a *Activator) proxyError(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		// Knative's words.
		http.Error(w, "request timeout", http.StatusGatewayTimeout)
		return
	}
	http.Error(w, fmt.Sprintf("%s did not answer: %v", a.o.Name, err), http.StatusBadGateway)
}

// enter counts a request, so that the process is not stopped.
func (a *Activator) enter() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.Requests++
	a.stats.InFlight++
	if a.idle != nil {
		a.idle.Stop()
		a.idle = nil
	}
}

// leave counts a request that is done, and sets the clock to stop the process after the last one.
func (a *Activator) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.InFlight--
	a.watchIdle()
}

// watchIdle sets the clock if nothing is in flight. a.mu is held.
func (a *Activator) watchIdle() {
	if a.stats.InFlight > 0 || a.o.Idle <= 0 || a.current == nil {
		return
	}
	if a.idle != nil {
		a.idle.Stop()
	}
	a.idle = time.AfterFunc(a.o.Idle, a.scaleToZero)
}

// scaleToZero stops the process, unless a request has come in between.
func (a *Activator) scaleToZero() {
	a.mu.Lock()
	r := a.current
	if a.stats.InFlight > 0 || r == nil || r.instance == nil || r.stopping {
		a.mu.Unlock()
		return
	}
	r.stopping = true
	a.mu.Unlock()
	r.instance.Stop()
}

// acquire returns the address of a process that is ready, and starts one if there is none. It waits for the end of a
// process that is being stopped: there is never more than one.
func (a *Activator) acquire(ctx context.Context) (*url.URL, error) {
	for {
		r, err := a.ensure()
		if err != nil {
			return nil, err
		}
		wait := r.ready
		if r.leaving(a) {
			wait = r.gone
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if wait == r.gone {
			continue
		}
		if r.err != nil {
			return nil, r.err
		}
		return r.target, nil
	}
}

// leaving reports whether the process was asked to end.
func (r *run) leaving(a *Activator) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return r.stopping
}

// ensure returns the run there is, or a new one.
func (a *Activator) ensure() (*run, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.draining {
		return nil, fmt.Errorf("%s is being shut down", a.o.Name)
	}
	if a.current == nil {
		a.current = &run{ready: make(chan struct{}), gone: make(chan struct{})}
		go a.launch(a.current)
	}
	return a.current, nil
}

// launch takes a run through its whole life.
func (a *Activator) launch(r *run) {
	began := time.Now()
	a.o.Report(Report{State: Starting})
	instance, address, err := a.o.Start()
	if err != nil {
		r.err = err
		close(r.ready)
		a.end(r, Report{State: Crashed, Err: err})
		return
	}

	a.mu.Lock()
	r.instance = instance
	r.target = &url.URL{Scheme: "http", Host: address}
	a.stats.Starts++
	// It may have been asked to end before there was a process.
	stopping := r.stopping
	a.mu.Unlock()
	if stopping {
		go instance.Stop()
	}

	if err := a.waitReady(r); err != nil {
		r.err = fmt.Errorf("%s is not ready: %w", a.o.Name, err)
		close(r.ready)
		instance.Kill()
		if r.leaving(a) {
			a.end(r, Report{State: Stopped})
			return
		}
		a.end(r, Report{State: Crashed, Err: err, Took: time.Since(began)})
		return
	}
	a.o.Report(Report{State: Ready, Took: time.Since(began)})
	close(r.ready)
	a.mu.Lock()
	// Those who asked for it may have gone before it was ready.
	a.watchIdle()
	a.mu.Unlock()

	<-instance.Done()
	if r.leaving(a) {
		a.end(r, Report{State: Stopped})
		return
	}
	err = instance.Err()
	if err == nil {
		err = errors.New("it ended by itself")
	}
	a.end(r, Report{State: Crashed, Err: err})
}

// end forgets a run, so that the next request starts another.
func (a *Activator) end(r *run, report Report) {
	a.mu.Lock()
	a.current = nil
	a.mu.Unlock()
	a.o.Report(report)
	close(r.gone)
}

// waitReady probes the process.
func (a *Activator) waitReady(r *run) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	go func() {
		select {
		case <-r.instance.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	err := WaitReady(ctx, r.target.Host, a.o.Probe)
	select {
	case <-r.instance.Done():
		if end := r.instance.Err(); end != nil {
			return fmt.Errorf("it ended while starting: %w", end)
		}
		return errors.New("it ended while starting")
	default:
		return err
	}
}

// Warm starts the process without a request.
func (a *Activator) Warm() {
	// Fails only while shutting down.
	_, _ = a.ensure()
}

// Stats returns the counters.
func (a *Activator) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stats
	s.Running = a.current != nil
	return s
}

// Kill ends the process with SIGKILL if there is one, and reports whether there was.
func (a *Activator) Kill() bool {
	a.mu.Lock()
	r := a.current
	if r == nil || r.instance == nil {
		a.mu.Unlock()
		return false
	}
	instance := r.instance
	a.mu.Unlock()
	instance.Kill()
	<-r.gone
	return true
}

// Stop ends the process and returns when it is gone. Requests that come later get 503.
func (a *Activator) Stop() {
	a.mu.Lock()
	a.draining = true
	if a.idle != nil {
		a.idle.Stop()
	}
	r := a.current
	var instance Instance
	if r != nil {
		r.stopping = true
		instance = r.instance
	}
	a.mu.Unlock()
	if r == nil {
		return
	}
	if instance != nil {
		instance.Stop()
	}
	<-r.gone
}
