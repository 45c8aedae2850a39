package activator_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/xos-knative/synchronizer/pkg/local/activator"
)

// fake is an Instance: a server in place of a process.
type fake struct {
	server *httptest.Server
	done   chan struct{}
	once   sync.Once
	err    error
}

func (f *fake) Done() <-chan struct{} { return f.done }
func (f *fake) Stop()                 { f.end(nil) }
func (f *fake) Kill()                 { f.end(errors.New("signal: killed")) }
func (f *fake) Err() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}

func (f *fake) end(err error) {
	f.once.Do(func() {
		f.err = err
		f.server.CloseClientConnections()
		f.server.Close()
		close(f.done)
	})
}

// rig is an Activator of fakes that all run the same handler.
type rig struct {
	*activator.Activator
	last atomic.Pointer[fake]

	mu     sync.Mutex
	states []activator.State
}

func newRig(t *testing.T, o activator.Options, handler http.HandlerFunc) *rig {
	t.Helper()
	r := &rig{}
	o.Name = "f"
	if o.Start == nil {
		o.Start = func() (activator.Instance, string, error) {
			f := &fake{server: httptest.NewServer(handler), done: make(chan struct{})}
			r.last.Store(f)
			return f, f.server.Listener.Addr().String(), nil
		}
	}
	o.Report = func(report activator.Report) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.states = append(r.states, report.State)
	}
	r.Activator = activator.New(o)
	t.Cleanup(r.Stop)
	return r
}

func (r *rig) get(ctx context.Context, path string) *http.Response {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "http://f.test.localhost"+path, nil))
	return w.Result()
}

func (r *rig) seen() []activator.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]activator.State(nil), r.states...)
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 2*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) { return f(), nil })
	if err != nil {
		t.Fatalf("it never happened that %s", what)
	}
}

func hello(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, "hello "+r.Host) }

func TestFromAndToZero(t *testing.T) {
	r := newRig(t, activator.Options{Idle: 30 * time.Millisecond}, hello)
	if s := r.Stats(); s.Running || s.Starts != 0 {
		t.Fatalf("nothing may run before the first request: %+v", s)
	}
	resp := r.get(t.Context(), "/")
	body, _ := io.ReadAll(resp.Body)
	if diff := cmp.Diff("hello f.test.localhost", string(body)); diff != "" {
		t.Errorf("the first request must be held until it can be answered, under its own name: -want, +got:\n%s", diff)
	}
	eventually(t, "an idle process is stopped", func() bool { return !r.Stats().Running })
	if got := r.get(t.Context(), "/").StatusCode; got != http.StatusOK {
		t.Errorf("the next request must start it again, got %d", got)
	}
	if s := r.Stats(); s.Starts != 2 || s.Requests != 2 {
		t.Errorf("want 2 starts for 2 requests, got %+v", s)
	}
	want := []activator.State{activator.Starting, activator.Ready, activator.Stopped, activator.Starting, activator.Ready}
	if diff := cmp.Diff(want, r.seen()[:5]); diff != "" {
		t.Errorf("what happens must be told: -want, +got:\n%s", diff)
	}
}

func TestBusyIsNotIdle(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, activator.Options{Idle: 5 * time.Millisecond}, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			<-release
		}
	})
	done := make(chan int)
	go func() { done <- r.get(t.Context(), "/slow").StatusCode }()
	eventually(t, "the request is in flight", func() bool { return r.Stats().InFlight == 1 && r.Stats().Starts == 1 })
	// Another request comes and goes, which sets no clock while the first one is there.
	r.get(t.Context(), "/fast")
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	if got := <-done; got != http.StatusOK {
		t.Errorf("a process must not be stopped under a request, got %d", got)
	}
}

func TestOneProcessForABurst(t *testing.T) {
	r := newRig(t, activator.Options{}, hello)
	var wg sync.WaitGroup
	var failed atomic.Int32
	for range 50 {
		wg.Go(func() {
			if r.get(t.Context(), "/").StatusCode != http.StatusOK {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	if s := r.Stats(); s.Starts != 1 || failed.Load() != 0 {
		t.Errorf("want one process and no failure, got %d starts, %d failures", s.Starts, failed.Load())
	}
}

func TestConcurrency(t *testing.T) {
	var now, most atomic.Int32
	release := make(chan struct{})
	r := newRig(t, activator.Options{Concurrency: 3}, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
	})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { r.get(t.Context(), "/") })
	}
	eventually(t, "all have come, and as many as allowed are in", func() bool { return r.Stats().InFlight == 20 && now.Load() == 3 })
	close(release)
	wg.Wait()
	if got := most.Load(); got != 3 {
		t.Errorf("want no more than 3 requests at a time, got %d", got)
	}
}

func TestTimeout(t *testing.T) {
	r := newRig(t, activator.Options{Timeout: 20 * time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	resp := r.get(t.Context(), "/")
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusGatewayTimeout || string(body) != "request timeout\n" {
		t.Errorf("want Knative's answer to a slow function, got %d %q", resp.StatusCode, body)
	}
}

func TestCrash(t *testing.T) {
	started := make(chan struct{}, 1)
	r := newRig(t, activator.Options{}, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			started <- struct{}{}
			<-r.Context().Done()
		}
	})
	done := make(chan int)
	go func() { done <- r.get(t.Context(), "/hang").StatusCode }()
	<-started
	if !r.Kill() {
		t.Fatal("there was a process to kill")
	}
	if got := <-done; got != http.StatusBadGateway {
		t.Errorf("a request whose process dies must get 502, got %d", got)
	}
	if r.Stats().Running {
		t.Error("the process is gone")
	}
	if r.Kill() {
		t.Error("there is nothing to kill")
	}
	if got := r.get(t.Context(), "/").StatusCode; got != http.StatusOK {
		t.Errorf("the next request must start it again, got %d", got)
	}
	if got := r.seen()[2]; got != activator.Crashed {
		t.Errorf("a crash must be told, got %s", got)
	}
}

func TestCannotStart(t *testing.T) {
	closed := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		return l.Addr().String()
	}
	cases := map[string]struct {
		reason string
		start  func() (activator.Instance, string, error)
		want   string
	}{
		"NoProcess": {
			reason: "A program that cannot be started is told.",
			start:  func() (activator.Instance, string, error) { return nil, "", errors.New("no such file") },
			want:   "no such file\n",
		},
		"EndsAtOnce": {
			reason: "So is one that ends before it is ready, with how it ended.",
			start: func() (activator.Instance, string, error) {
				f := &fake{server: httptest.NewServer(nil), done: make(chan struct{})}
				f.end(errors.New("exit status 3"))
				return f, closed(), nil
			},
			want: "f is not ready: it ended while starting: exit status 3\n",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, activator.Options{Start: tc.start}, nil)
			resp := r.get(t.Context(), "/")
			body, _ := io.ReadAll(resp.Body)
			if diff := cmp.Diff(tc.want, string(body)); resp.StatusCode != http.StatusServiceUnavailable || diff != "" {
				t.Errorf("\n%s\nwant 503, got %d: -want, +got:\n%s", tc.reason, resp.StatusCode, diff)
			}
			eventually(t, "it is not running", func() bool { return !r.Stats().Running })
		})
	}
}

func TestProbe(t *testing.T) {
	var probes atomic.Int32
	r := newRig(t, activator.Options{Probe: "/ready"}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ready" && probes.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if r.URL.Path != "/ready" && probes.Load() < 3 {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	if got := r.get(t.Context(), "/").StatusCode; got != http.StatusOK {
		t.Errorf("a request must be held until the probe succeeds, got %d", got)
	}
}

func TestGoneClient(t *testing.T) {
	block := make(chan struct{})
	r := newRig(t, activator.Options{Probe: "/ready", Idle: time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) {
		<-block
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.get(ctx, "/")
	}()
	eventually(t, "it is being started", func() bool { return r.Stats().Starts == 1 })
	cancel()
	<-done
	close(block)
	eventually(t, "a process that nobody waits for any more is stopped", func() bool { return !r.Stats().Running })
}

func TestStop(t *testing.T) {
	r := newRig(t, activator.Options{}, hello)
	r.Warm()
	eventually(t, "a warm process runs without a request", func() bool { return r.Stats().Starts == 1 })
	r.Stop()
	if r.Stats().Running {
		t.Error("nothing may run after Stop")
	}
	if got := r.get(t.Context(), "/").StatusCode; got != http.StatusServiceUnavailable {
		t.Errorf("nothing may be started after Stop, got %d", got)
	}
}
