package systemtest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/xos-knative/synchronizer/pkg/local"
)

// stale watches the greetings with an old text on their way to the greeter, and holds the first of them.
type stale struct {
	text    string
	held    chan struct{} // closed when one is held
	release chan struct{} // closed to let it go on

	mu      sync.Mutex // protects following
	holding bool
	answers []int
}

// between is a network in which only that happens.
func (s *stale) between(t *testing.T) func(string) (string, error) {
	system := ""
	return func(address string) (string, error) {
		if system != "" {
			return address, nil // The API.
		}
		system = address
		proxy := &httputil.ReverseProxy{
			Rewrite:        func(r *httputil.ProxyRequest) { s.rewrite(r, address) },
			Transport:      &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: address})},
			ModifyResponse: s.answered,
		}
		server := httptest.NewServer(proxy)
		t.Cleanup(server.Close)
		return strings.TrimPrefix(server.URL, "http://"), nil
	}
}

func (s *stale) rewrite(r *httputil.ProxyRequest, system string) {
	r.Out.URL, r.Out.Host = r.In.URL, r.In.Host
	if r.In.URL.Host == "" {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", system
	}
	if r.In.Method != http.MethodPut {
		return
	}
	body, _ := io.ReadAll(r.In.Body)
	r.Out.Body = io.NopCloser(bytes.NewReader(body))
	if !bytes.Contains(body, []byte(s.text)) {
		return
	}
	r.Out.Header.Set("Stale", "true")
	s.mu.Lock()
	first := !s.holding
	s.holding = true
	s.mu.Unlock()
	if first {
		r.Out = r.Out.WithContext(context.WithoutCancel(r.Out.Context())) // It arrives also if its sender gives up.
		close(s.held)
		<-s.release
	}
}

func (s *stale) answered(resp *http.Response) error {
	if resp.Request.Header.Get("Stale") != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.answers = append(s.answers, resp.StatusCode)
	}
	return nil
}

func (s *stale) codes() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int(nil), s.answers...)
}

// TestStoppedDuringItsCall stops a function while its request is on the way to the greeter. Before it goes on, another pod
// has synced something newer.
func TestStoppedDuringItsCall(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		text   string
		change func(w *world)
		want   string
	}{
		"Instance": {"an older instance", `"hello_to":"Old"`, func(w *world) { w.instance("a", "New", "helloworld") }, message("Jhon Snow", "New")},
		"Service":  {"an older service of the same instance", `"hello_from":"Jhon Snow"`, func(w *world) { w.service("helloworld", "Arya Stark") }, message("Arya Stark", "Old")},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stale{text: tc.text, held: make(chan struct{}), release: make(chan struct{})}
			w := start(t, local.Options{Pods: 2, Network: s.between(t)})
			release := sync.OnceFunc(func() { close(s.release) })
			t.Cleanup(release)
			w.service("helloworld", "Jhon Snow")
			w.Until("the service is synced", func() bool {
				s, err := w.services.Get(t.Context(), namespace, "helloworld")
				return err == nil && s.Status.Sync != nil
			})
			w.UntilIdle()
			w.instance("a", "Old", "helloworld")
			<-s.held
			pids := w.System.Program(namespace, "sync").PIDs
			if len(pids) != 1 || syscall.Kill(pids[0], syscall.SIGSTOP) != nil {
				t.Fatalf("expected one process of sync to stop, got %v", pids)
			}
			t.Cleanup(func() { _ = syscall.Kill(pids[0], syscall.SIGCONT) })

			tc.change(w)
			w.Until("another pod has synced what is newer", func() bool {
				// The source would send what is at the stopped one again after its visibility timeout.
				w.post("sync", reference("HelloWorldService", "helloworld"), modelEvent())
				w.post("sync", reference("HelloWorldServiceInstance", "a"), modelEvent())
				return ready(w.get("a")) && w.says(tc.want)
			})
			_ = syscall.Kill(pids[0], syscall.SIGCONT)
			release()
			w.Until("the first one has got its answer", func() bool { return len(s.codes()) > 0 })
			w.Until("and has ended", func() bool { return w.System.Program(namespace, "sync").PID == 0 })
			for _, code := range s.codes() {
				if code != http.StatusConflict && code != http.StatusPreconditionFailed {
					t.Errorf("the greeter refuses what is of %s, got %d", tc.reason, code)
				}
			}
			w.greets(tc.want)
			w.untilReady("a")
		})
	}
}
