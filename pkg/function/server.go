package function

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/utils/ptr"
)

// MaxHeader is how large the header of a request may be, in bytes: 1 MiB. Knative's own programs take as
// much, so what a Broker has taken gets through.
const MaxHeader = 1 << 20

// Limits bound for how long a client can hold up a program.
type Limits struct {
	// Header is how long the header of a request may take to arrive. Default: 10 s.
	Header time.Duration
	// Request is how long all of a request may take, and how long a client may take to read each part of
	// an answer. What a handler does between the two is not counted. Default: 30 s.
	Request time.Duration
}

// Server makes the server of a program: one whose memory and connections nobody can use up with
// requests that are slow, endless or broken.
func Server(handler http.Handler, limits Limits) *http.Server {
	request := cmp.Or(limits.Request, 30*time.Second)
	return &http.Server{
		Handler:           prompt(once(handler), request),
		ReadHeaderTimeout: cmp.Or(limits.Header, 10*time.Second),
		ReadTimeout:       request,
		// Longer than Go's clients keep one, which is 90 s: otherwise one of their requests may be on its way
		// while this side hangs up.
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: MaxHeader,
	}
}

// prompt answers at once, also if the handler has not read the body: net/http would wait for the rest of
// it, which somebody may send slowly. The connection is then closed.
func prompt(next http.Handler, reading time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &promptWriter{ResponseWriter: w, reading: reading}
		if r.Body != nil && r.Body != http.NoBody {
			answer.body = &countedBody{ReadCloser: r.Body}
			// A copy: net/http goes on with its own body, of which it lets the client send a little more
			// before it hangs up, so that the answer is not lost.
			r = ptr.To(*r)
			r.Body = answer.body
		}
		defer answer.begin() // Of a handler that has written nothing.
		next.ServeHTTP(answer, r)
	})
}

// single are headers of which only one can be meant. Programs read the first, and a proxy in front of them
// may have read the last.
var single = []string{"Authorization", "Content-Encoding", "Content-Type", "If-Match"}

// once refuses requests that have one of these twice.
func once(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range single {
			if n := len(r.Header.Values(name)); n > 1 {
				http.Error(w, fmt.Sprintf("header %s: expected once, got %d times", strings.ToLower(name), n), http.StatusBadRequest)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// countedBody knows whether it was read to its end. A proxy reads it in another goroutine.
type countedBody struct {
	io.ReadCloser
	ended atomic.Bool
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.ended.Store(true)
	}
	return n, err
}

type promptWriter struct {
	http.ResponseWriter
	body    *countedBody // nil without a body
	reading time.Duration
	begun   bool
}

// Unwrap is for [http.ResponseController].
func (w *promptWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// begin is called before each write.
func (w *promptWriter) begin() {
	// An error says that the connection is none with deadlines, as in some tests.
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.reading))
	if w.begun {
		return
	}
	w.begun = true
	if w.body != nil && !w.body.ended.Load() {
		w.Header().Set("Connection", "close")
	}
}

func (w *promptWriter) WriteHeader(code int) {
	if code >= 200 {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *promptWriter) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

// BodyError says why a body could not be read.
type BodyError struct {
	// Code is the HTTP status to answer. Knative delivers an event again after 408, which is for a body
	// that did not arrive in time, and does not after the others, 400, 413 and 415.
	Code int
	// Reason is one line that names what was expected.
	Reason string
}

func (e *BodyError) Error() string { return e.Reason }

// Body reads the body of a request, of at most so many bytes. The error is a [*BodyError].
func Body(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	refuse := func(code int, format string, args ...any) ([]byte, error) {
		return nil, &BodyError{code, fmt.Sprintf(format, args...)}
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return refuse(http.StatusUnsupportedMediaType, "content-encoding: expected none, got %.50q", encoding)
	}
	var raw []byte
	var err error = &http.MaxBytesError{}
	if r.ContentLength <= most { // Otherwise nobody has to send it.
		raw, err = io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	}
	var slow net.Error
	switch {
	case err == nil:
		return raw, nil
	case errors.As(err, new(*http.MaxBytesError)):
		return refuse(http.StatusRequestEntityTooLarge, "body: expected at most %d bytes", most)
	case errors.As(err, &slow) && slow.Timeout():
		return refuse(http.StatusRequestTimeout, "body: expected all of it in time, got %d bytes", len(raw))
	case errors.Is(err, io.ErrUnexpectedEOF) && r.ContentLength > 0:
		return refuse(http.StatusBadRequest, "body: expected %d bytes as content-length says, got %d", r.ContentLength, len(raw))
	}
	return refuse(http.StatusBadRequest, "body: cannot be read to its end: %s", oneLine(err))
}
