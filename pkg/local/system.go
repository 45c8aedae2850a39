package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	programs "github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/local/broker"
	"github.com/xos-knative/synchronizer/pkg/local/collector"
	"github.com/xos-knative/synchronizer/pkg/local/console"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/manifest"
	"github.com/xos-knative/synchronizer/pkg/local/ping"
)

// System is a running project. Make one with Start.
type System struct {
	o       Options
	console *console.Console
	bin     string // the directory of the programs
	module  string // the path of the project's module
	without *manifest.Exclusions
	base    sets.Set[string] // the names of the parts that the Options name

	lock      *os.File
	memory    *memory
	logs      *logs
	api       *kubeapi.Server
	collector *collector.Collector
	broker    *broker.Broker
	schedules *ping.Schedules

	listener net.Listener
	server   *http.Server
	open     atomic.Bool // the address is served

	inside, insideAPI string // the addresses of the System and of its API for programs, see Options.Network

	changing sync.Mutex         // held while something changes what runs
	life     context.Context    // ends when Stop begins
	end      context.CancelFunc // of life

	mu    sync.RWMutex // protects following
	parts []*part      // the core first
	running

	stop    sync.Once
	stopErr error
}

// running is what the parts consist of.
type running struct {
	set       *manifest.Set
	functions map[types.NamespacedName]*function
	daemons   map[types.NamespacedName]*daemon
	backends  map[types.NamespacedName]*backend
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
		o: o, console: console.New(o.Out, o.Verbose),
		without: manifest.Exclude(o.Without...),
		base:    sets.New[string](),
		running: running{set: &manifest.Set{}},
	}
	s.life, s.end = context.WithCancel(context.Background())
	if !current.CompareAndSwap(nil, s) {
		return nil, errors.New("there can be only one local system in a process at a time: stop the other one first")
	}
	throughProxy.Do(func() {
		t := http.DefaultTransport.(*http.Transport)
		t.Proxy = broker.ClusterProxy(func() *url.URL { return current.Load().present() }, t.Proxy)
		t.MaxIdleConnsPerHost = maxIdle // All names lead to one address.
	})
	if err := s.change(ctx, s.start); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// start does all of Start: first what a human may have to fix, then what takes time.
func (s *System) start(ctx context.Context) error {
	parts, err := s.prepare()
	if err != nil {
		return err
	}
	next, err := s.plan(parts...)
	if err != nil {
		return fmt.Errorf("the resources cannot be run here:\n%w", err)
	}
	if err := s.checkDebug(next); err != nil {
		return err
	}
	if err := s.without.Unused(); err != nil {
		return fmt.Errorf("the resources cannot be run here:\n%w", err)
	}
	if s.listener, err = listen(s.o.Port); err != nil {
		return err
	}
	s.logs = newLogs(filepath.Join(s.o.Dir, "logs"), s.console)
	// Of a run that was killed. Its processes died with it.
	_ = os.RemoveAll(filepath.Join(s.o.Dir, "pids"))

	if err := s.buildAll(ctx, parts); err != nil {
		return err
	}
	if err := s.startAPI(ctx); err != nil {
		return err
	}
	if err := s.connect(); err != nil {
		return err
	}
	if err := s.startEvents(); err != nil {
		return err
	}
	if err := s.wire(ctx, next); err != nil {
		return err
	}
	if err := s.serve(); err != nil {
		return err
	}
	return s.run(ctx, next)
}

// prepare takes the data directory and finds out what is to be run.
func (s *System) prepare() (parts []*part, err error) {
	if s.lock, err = lock(s.o.Dir); err != nil {
		return nil, err
	}
	if s.memory, err = recall(s.o.Dir); err != nil {
		return nil, err
	}
	s.bin = s.o.Bin
	if s.bin == "" {
		s.bin = filepath.Join(s.o.Dir, "bin")
	}
	if s.module, err = moduleOf(s.o.Root); err != nil {
		return nil, err
	}
	return s.choose()
}

// startAPI brings up the API and its garbage collector, unless Options.API says where both are.
func (s *System) startAPI(ctx context.Context) (err error) {
	if s.o.API != nil {
		s.api, err = kubeapi.Use(s.o.API)
		return err
	}
	s.api, err = kubeapi.Start(ctx, kubeapi.Options{Dir: filepath.Join(s.o.Dir, "api"), Port: s.o.APIPort, Fsync: s.o.Fsync})
	if err != nil {
		return err
	}
	s.collector, err = collector.Start(s.api.Config())
	return err
}

// connect finds out how programs reach the System and its API.
func (s *System) connect() (err error) {
	s.inside, s.insideAPI = s.listener.Addr().String(), strings.TrimPrefix(s.api.URL(), "https://")
	if s.o.Network == nil {
		return nil
	}
	if s.inside, err = s.o.Network(s.inside); err != nil {
		return fmt.Errorf("the network of the programs: %w", err)
	}
	if s.insideAPI, err = s.o.Network(s.insideAPI); err != nil {
		return fmt.Errorf("the network of the programs: %w", err)
	}
	return nil
}

// startEvents makes what carries events, still without Brokers and PingSources.
func (s *System) startEvents() error {
	logger, err := s.logs.knative()
	if err != nil {
		return err
	}
	s.broker, err = broker.New(broker.Options{
		Logger: logger,
		Failed: func(trigger types.NamespacedName, status int) {
			s.console.Detail("trigger", "%s: delivery answered %d", s.label(trigger), status)
		},
	})
	if err != nil {
		return err
	}
	s.schedules = ping.Start(ping.Options{
		Resolve: s.resolve,
		Failed: func(source types.NamespacedName, err error) {
			s.console.Problem(s.label(source), "a tick is lost: %v", err)
		},
	})
	return nil
}

// serve opens the address.
func (s *System) serve() error {
	s.server = programs.Server(s.router(), programs.Limits{})
	go func() { _ = s.server.Serve(s.listener) }()
	s.open.Store(true)
	return s.writeAddress()
}

// listen opens the one address, and says what to do if somebody else has it.
func listen(port int) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d is taken by another program: stop that, or choose another port with --port (0 = any free one)", port)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the address: %w", err)
	}
	return l, nil
}

// label is what a human calls an object: NAMESPACE/NAME, or the name alone if it belongs to the core.
func (s *System) label(o types.NamespacedName) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.parts {
		if p.name == coreName && slices.Contains(p.set.Namespaces, o.Namespace) {
			return o.Name
		}
	}
	return o.String()
}

// resolve finds the address of a destination among all that runs.
func (s *System) resolve(d duckv1.Destination, namespace string) (*apis.URL, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.set.Resolve(d, namespace)
}

// URL is the one address, such as "http://127.0.0.1:8080".
func (s *System) URL() string { return "http://" + s.listener.Addr().String() }

// present is where this System is for those in it, nil as long as it is nowhere.
func (s *System) present() *url.URL {
	if s == nil || !s.open.Load() {
		return nil
	}
	return &url.URL{Scheme: "http", Host: s.inside}
}

// FunctionURL is where a public Knative Service is reached from outside, such as
// "http://tosca.synchronizer-system.localhost:8080". Where such names do not resolve, send its host to URL as the Host header.
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
	here := &url.URL{Scheme: "http", Host: s.listener.Addr().String()}
	return &http.Client{Transport: &http.Transport{Proxy: broker.ClusterProxy(func() *url.URL { return here }, nil)}}
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (s *System) Kubeconfig() string { return kubeconfig(s.o.Dir) }

// programKubeconfig is the path of the kubeconfig that programs get.
func (s *System) programKubeconfig() string {
	if s.o.Network == nil {
		return s.Kubeconfig()
	}
	return filepath.Join(s.o.Dir, "programs.kubeconfig")
}

func kubeconfig(dir string) string { return filepath.Join(dir, "kubeconfig") }

// Config is a fresh client configuration of the administrator.
func (s *System) Config() *rest.Config { return s.api.Config() }

// SetBrokerDown makes all Brokers refuse events with 503 until it is called with false, as on a cluster whose broker
// ingress has no pod. Events that were accepted before are still delivered.
func (s *System) SetBrokerDown(down bool) { s.broker.SetDown(down) }

// Stop ends everything, in the reverse order of Start, and returns when no process is left. It can be called again.
func (s *System) Stop() error {
	s.stop.Do(func() {
		// A change under way ends with an error.
		s.end()
		s.changing.Lock()
		defer s.changing.Unlock()
		_ = os.Remove(s.addressFile())
		if s.schedules != nil {
			s.schedules.Stop()
		}
		// No new work, but functions can finish what they do: everything that they may need is still there.
		if s.broker != nil {
			s.broker.SetDown(true)
		}
		inParallel(slices.Collect(maps.Values(s.functions)), (*function).stop)
		inParallel(slices.Collect(maps.Values(s.daemons)), (*daemon).stop)
		s.stopErr = errors.Join(s.close()...)
		current.CompareAndSwap(s, nil)
	})
	return s.stopErr
}

// close gives back everything that is no process.
func (s *System) close() (errs []error) {
	s.open.Store(false)
	if s.server != nil {
		errs = append(errs, s.server.Close())
	} else if s.listener != nil {
		errs = append(errs, s.listener.Close())
	}
	if s.broker != nil {
		s.broker.Stop()
	}
	if s.collector != nil {
		s.collector.Stop()
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
	return errs
}

// Failed is closed when the System cannot go on: its Kubernetes API has ended by itself.
func (s *System) Failed() <-chan struct{} { return s.api.Done() }

func inParallel[T any](all []T, f func(T)) {
	var wg sync.WaitGroup
	for _, v := range all {
		wg.Go(func() { f(v) })
	}
	wg.Wait()
}
