package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/pkg/local/broker"
	"github.com/xos-knative/synchronizer/pkg/local/console"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/manifest"
	"github.com/xos-knative/synchronizer/pkg/local/ping"
)

// System is a running project. Make one with Start.
type System struct {
	o       Options
	console *console.Console
	set     *manifest.Set
	bin     string

	lock      *os.File
	logs      *logs
	api       *kubeapi.Server
	broker    *broker.Broker
	schedules *ping.Schedules
	functions map[types.NamespacedName]*function
	daemons   map[types.NamespacedName]*daemon
	backends  map[types.NamespacedName]*backend

	listener net.Listener
	server   *http.Server
	open     atomic.Bool // the address is served

	stop    sync.Once
	stopErr error
}

// current is the System that cluster-local names lead to, for Knative's handlers: they share one http.DefaultTransport.
var current atomic.Pointer[System]

// throughProxy changes http.DefaultTransport, once, before anybody makes clients from it.
var throughProxy sync.Once

// Start brings up everything and returns when it can be used: the API serves all CRDs, the address is open, and what
// always runs has been started. Functions are not, until they are needed. There can be only one System in a process at
// a time. ctx bounds the start only; call Stop to end the System.
func Start(ctx context.Context, o Options) (_ *System, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	s := &System{
		o:         o,
		console:   console.New(o.Out, o.Verbose),
		functions: map[types.NamespacedName]*function{},
		daemons:   map[types.NamespacedName]*daemon{},
		backends:  map[types.NamespacedName]*backend{},
	}
	if !current.CompareAndSwap(nil, s) {
		return nil, errors.New("there can be only one local system in a process at a time: stop the other one first")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	throughProxy.Do(func() {
		t := http.DefaultTransport.(*http.Transport)
		t.Proxy = broker.ClusterProxy(func() *url.URL { return current.Load().present() }, t.Proxy)
	})

	// First what a human may have to mend, then what takes time.
	if s.set, err = manifest.Load(manifest.Options{Dirs: o.resourceDirs(), Without: o.Without}); err != nil {
		return nil, fmt.Errorf("the resources cannot be run here:\n%w", err)
	}
	if err := s.uniqueNames(); err != nil {
		return nil, err
	}
	if s.lock, err = lock(o.Dir); err != nil {
		return nil, err
	}
	if s.listener, err = listen(o.Port); err != nil {
		return nil, err
	}
	if s.logs, err = newLogs(filepath.Join(o.Dir, "logs"), s.console); err != nil {
		return nil, err
	}
	// Of a run that was killed. Its processes died with it.
	_ = os.RemoveAll(filepath.Join(o.Dir, "pids"))

	if err := s.build(ctx); err != nil {
		return nil, err
	}
	if err := s.startAPI(ctx); err != nil {
		return nil, err
	}
	if err := s.startEvents(); err != nil {
		return nil, err
	}
	for _, w := range s.set.Warnings {
		s.console.Detail("resources", "warning: %s", w)
	}
	for _, kind := range s.set.Inert {
		s.console.Detail("resources", "%s: accepted, nothing to do for it locally", kind)
	}
	return s, s.startPrograms(ctx)
}

// startAPI serves the custom resources.
func (s *System) startAPI(ctx context.Context) error {
	api, err := kubeapi.Start(ctx, kubeapi.Options{Dir: filepath.Join(s.o.Dir, "api"), Port: s.o.APIPort, Fsync: s.o.Fsync, Namespace: s.namespace()})
	if err != nil {
		return err
	}
	s.api = api
	if err := api.ApplyCRDDocuments(ctx, s.set.CRDs...); err != nil {
		return err
	}
	return api.WriteKubeconfig(s.Kubeconfig())
}

// namespace is the one that all functions are in, empty if there are several.
func (s *System) namespace() string {
	found := sets.New[string]()
	for _, f := range s.set.Functions() {
		found.Insert(f.Namespace)
	}
	if len(found) != 1 {
		return ""
	}
	return found.UnsortedList()[0]
}

// startEvents sets up Brokers and functions, opens the address, and lets the PingSources tick last.
func (s *System) startEvents() error {
	logger, err := s.logs.knative()
	if err != nil {
		return err
	}
	s.broker, err = broker.New(broker.Options{
		Brokers: s.set.Brokers, Triggers: s.set.Triggers, Resolve: s.set.Resolve, Logger: logger,
		Failed: func(trigger types.NamespacedName, status int) {
			s.console.Detail("trigger", "%s: delivery answered %d", trigger.Name, status)
		},
	})
	if err != nil {
		return err
	}
	s.addFunctions()
	s.addDaemons()

	s.server = &http.Server{Handler: s.router(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(s.listener) }()
	s.open.Store(true)

	s.schedules, err = ping.Start(ping.Options{
		Sources: s.set.PingSources, Resolve: s.set.Resolve,
		Failed: func(source types.NamespacedName, err error) {
			s.console.Problem(source.Name, "a tick is lost: %v", err)
		},
	})
	return err
}

// startPrograms starts what always runs, and waits a moment for it to be ready.
func (s *System) startPrograms(ctx context.Context) error {
	for _, d := range s.daemons {
		d.start()
	}
	for _, f := range s.functions {
		if f.spec.AlwaysOn {
			f.activator.Warm()
		}
	}
	waiting, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for _, d := range s.daemons {
		if d.waitReady(waiting) != nil && ctx.Err() == nil {
			s.console.Problem(d.spec.Name, "not ready after %s, going on without it", readyTimeout)
		}
	}
	return ctx.Err()
}

// readyTimeout is how long Start waits for what always runs.
const readyTimeout = 20 * time.Second

// listen opens the one address, and says what to do if somebody else has it.
func listen(port int) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d is taken by another program: stop that, or choose another port with -port (0 = any free one)", port)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the address: %w", err)
	}
	return l, nil
}

// uniqueNames refuses two programs of one name: log files, pids and Kill know them by it.
func (s *System) uniqueNames() error {
	seen := sets.New[string]()
	for _, p := range s.programs() {
		if seen.Has(p.Name) {
			return fmt.Errorf("two resources want to run a program called %q: the local runner tells processes apart by name; rename one, or leave one out with -without", p.Name)
		}
		seen.Insert(p.Name)
	}
	return nil
}

// URL is the one address, such as "http://127.0.0.1:8080".
func (s *System) URL() string { return "http://" + s.listener.Addr().String() }

// present is where this System is, nil as long as it is nowhere.
func (s *System) present() *url.URL {
	if s == nil || !s.open.Load() {
		return nil
	}
	return &url.URL{Scheme: "http", Host: s.listener.Addr().String()}
}

// FunctionURL is where a public Knative Service is reached from outside, such as
// "http://tosca.helloworld.localhost:8080". Where such names do not resolve, send its host to URL as the Host header.
func (s *System) FunctionURL(namespace, name string) string {
	_, port, _ := net.SplitHostPort(s.listener.Addr().String())
	return "http://" + name + "." + namespace + ".localhost:" + port
}

// BrokerURL is where a Broker takes events, such as "http://127.0.0.1:8080/helloworld/events".
func (s *System) BrokerURL(namespace, name string) string {
	return s.URL() + "/" + namespace + "/" + name
}

// Client reaches everything by its name on a cluster, such as "http://greeter.helloworld.svc.cluster.local/greetings".
func (s *System) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{Proxy: broker.ClusterProxy(s.present, nil)}}
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (s *System) Kubeconfig() string { return filepath.Join(s.o.Dir, "kubeconfig") }

// Config is a fresh client configuration of the administrator.
func (s *System) Config() *rest.Config { return s.api.Config() }

// SetBrokerDown makes all Brokers refuse events with 503 until it is called with false, as on a cluster whose broker
// ingress has no pod. Events that were accepted before are still delivered.
func (s *System) SetBrokerDown(down bool) { s.broker.SetDown(down) }

// ProgramStats is what is known about one program.
type ProgramStats struct {
	// Name is that of the resource.
	Name string
	// Function tells that it is a Knative Service, which runs only when it is needed.
	Function bool
	// PID of the process, 0 if none runs.
	PID int
	// Starts of a process since the System was started.
	Starts int
	// Requests that came for it since the System was started.
	Requests int
}

// Running tells whether a process runs.
func (p ProgramStats) Running() bool { return p.PID != 0 }

// Programs tells about all programs, sorted by name.
func (s *System) Programs() []ProgramStats {
	var all []ProgramStats
	for _, f := range s.functions {
		all = append(all, f.stats())
	}
	for _, d := range s.daemons {
		all = append(all, d.stats())
	}
	slices.SortFunc(all, func(a, b ProgramStats) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Program tells about one program. Of a name that no resource has everything is zero.
func (s *System) Program(name string) ProgramStats {
	for _, p := range s.Programs() {
		if p.Name == name {
			return p
		}
	}
	return ProgramStats{Name: name}
}

// Kill ends a program with SIGKILL, as a crash would, and tells whether there was one to kill. What always runs is
// started again by itself, a function by its next request.
func (s *System) Kill(name string) bool {
	for _, f := range s.functions {
		if f.spec.Name == name {
			return f.activator.Kill()
		}
	}
	for _, d := range s.daemons {
		if d.spec.Name == name {
			return d.kill()
		}
	}
	return false
}

// Stop ends everything, in the reverse order of Start, and returns when no process is left. It can be called again.
func (s *System) Stop() error {
	s.stop.Do(func() {
		if s.schedules != nil {
			s.schedules.Stop()
		}
		// No new work, but what functions are at can be finished: all that they may need is still there.
		if s.broker != nil {
			s.broker.SetDown(true)
		}
		inParallel(s.functions, func(f *function) { f.activator.Stop() })
		inParallel(s.daemons, (*daemon).stop)
		var errs []error
		s.open.Store(false)
		if s.server != nil {
			errs = append(errs, s.server.Close())
		} else if s.listener != nil {
			errs = append(errs, s.listener.Close())
		}
		if s.broker != nil {
			s.broker.Stop()
		}
		if s.api != nil {
			errs = append(errs, s.api.Stop())
		}
		if s.logs != nil {
			errs = append(errs, s.logs.close())
		}
		if s.lock != nil {
			errs = append(errs, s.lock.Close())
		}
		current.CompareAndSwap(s, nil)
		s.stopErr = errors.Join(errs...)
	})
	return s.stopErr
}

// Failed is closed when the System cannot go on: its Kubernetes API has ended by itself.
func (s *System) Failed() <-chan struct{} { return s.api.Done() }

func inParallel[T any](all map[types.NamespacedName]T, f func(T)) {
	var wg sync.WaitGroup
	for _, v := range all {
		wg.Go(func() { f(v) })
	}
	wg.Wait()
}
