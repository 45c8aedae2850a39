package steptest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Backend replaces a micro-service that has an HTTP interface. It records each request, and answers 200
// with "{}" unless [Backend.Answer] or [Backend.Do] says otherwise.
type Backend struct {
	// URL of the backend.
	URL string

	// mu protects following.
	mu     sync.Mutex
	answer http.HandlerFunc
	calls  []string
	faults func() fault
}

// fault of a backend.
type fault int

const (
	none fault = iota
	// failsBefore: it does nothing, and says so.
	failsBefore
	// failsAfter: it does what it was asked for, and says that it has failed.
	failsAfter
	// answersLate: it does what it was asked for, and answers when nobody listens any more.
	answersLate
)

// setFaults has each request fail as faults says; nil for none.
func (b *Backend) setFaults(faults func() fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = faults
}

// NewBackend starts a backend. It runs until the test ends.
func NewBackend(t testing.TB) *Backend {
	b := &Backend{}
	b.Answer(http.StatusOK, "{}")
	srv := httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(srv.Close)
	b.URL = srv.URL
	return b
}

func (b *Backend) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // The caller has hung up.
	}
	call := r.Method + " " + r.URL.RequestURI()
	if len(body) > 0 {
		call += " " + string(body)
	}
	b.mu.Lock()
	b.calls = append(b.calls, call)
	answer, faults := b.answer, b.faults
	b.mu.Unlock()
	fault := none
	if faults != nil {
		fault = faults()
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	switch fault {
	case none:
		answer(w, r)
		return
	case failsAfter:
		answer(httptest.NewRecorder(), r)
	case answersLate:
		answer(httptest.NewRecorder(), r)
		<-r.Context().Done()
		return
	}
	http.Error(w, "the backend has failed", http.StatusServiceUnavailable)
}

// Answer sets the status and the body that answer all further requests.
func (b *Backend) Answer(code int, body string) {
	b.Do(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	})
}

// Do sets the handler of all further requests. It can hang up with panic(http.ErrAbortHandler).
func (b *Backend) Do(fn http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = fn
}

// Calls lists the requests since the last call of Calls, each as "METHOD path body".
func (b *Backend) Calls() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls
	b.calls = nil
	return calls
}
