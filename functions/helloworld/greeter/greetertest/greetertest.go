// Package greetertest starts a real greeter for the tests of programs that call it. Its store is in a
// temporary folder.
package greetertest

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/utils/clock"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/server"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/store"
)

// Greeter runs until the test ends. It publishes nothing: what its users ask for stays in its outbox.
type Greeter struct {
	// URL of the greeter, on the loopback interface.
	URL string

	// Client of the greeter.
	Client *client.Client

	// Store of the greeter, to read or to change without a request.
	Store *store.Store

	// mu protects following.
	mu    sync.RWMutex
	fault Fault
}

// Fault wraps the greeter's handler in one that misbehaves.
type Fault func(greeter http.Handler) http.Handler

// Option is an option of [Start].
type Option func(*store.Config)

// WithClock replaces the clock. Default: the real one.
func WithClock(c clock.PassiveClock) Option {
	return func(config *store.Config) { config.Clock = c }
}

// WithOutboxLimit sets how many greetings may wait to be published. Default: 100,000.
func WithOutboxLimit(n int) Option {
	return func(config *store.Config) { config.OutboxLimit = n }
}

// OpenStore opens an empty store until the test ends. It does not wait for the disk.
func OpenStore(t testing.TB, opts ...Option) *store.Store {
	t.Helper()
	config := store.Config{DataDir: t.TempDir(), LockTimeout: time.Second, TombstoneTTL: 24 * time.Hour, OutboxLimit: 100_000, NoSync: true}
	for _, o := range opts {
		o(&config)
	}
	s, err := store.Open(config)
	if err != nil {
		t.Fatalf("cannot open the greeter's store: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Start starts a greeter with an empty store.
func Start(t testing.TB, opts ...Option) *Greeter {
	t.Helper()
	g := &Greeter{Store: OpenStore(t, opts...)}
	handler := server.New(logging.WithLogger(t.Context(), zap.NewNop().Sugar()), g.Store, nil)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.RLock()
		fault := g.fault
		g.mu.RUnlock()
		if fault == nil {
			handler.ServeHTTP(w, r)
			return
		}
		fault(handler).ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)

	c, err := client.New(srv.URL)
	if err != nil {
		t.Fatalf("cannot make a client of the greeter: %v", err)
	}
	g.URL, g.Client = srv.URL, c
	return g
}

// Misbehave applies the fault to all further requests, in place of the one before. Nil repairs the
// greeter.
func (g *Greeter) Misbehave(f Fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fault = f
}

// Failing answers with the status and does nothing.
func Failing(status int) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "the greeter is out of order", status)
		})
	}
}

// AnswerLost does what is requested and then breaks the connection, like a greeter that dies before it
// can answer.
func AnswerLost() Fault {
	return func(greeter http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			greeter.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		})
	}
}

// BrokenJSON does what is requested and answers with the first half of the body.
func BrokenJSON() Fault {
	return func(greeter http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			greeter.ServeHTTP(rec, r)
			for name, values := range rec.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(rec.Code)
			body := bytes.TrimSpace(rec.Body.Bytes())
			_, _ = w.Write(body[:len(body)/2])
		})
	}
}

// Slow waits first. It does what is requested unless the caller gives up before the time is over.
func Slow(d time.Duration) Fault {
	return func(greeter http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(d):
				greeter.ServeHTTP(w, r)
			}
		})
	}
}
