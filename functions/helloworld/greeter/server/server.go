// Package server is the greeter's HTTP interface:
//
//	PUT    /greetings/{id}               create or update; 409 for an old generation
//	GET    /greetings/{id}
//	DELETE /greetings/{id}?generation=N  204, also if it is not there; 409 for an old generation
//	GET    /greetings?limit=&continue=&managed=
//	POST   /greetings                    a greeting for a user of the greeter; published as a CloudEvent
//	GET    /outbox                       what waits to be published
//
// A 409 for an old generation has an ETag. A writer that has made sure after it that there is no newer
// model than its own (they were restored from a backup) sends the write again with If-Match and that
// ETag: it is accepted, or answered 412 if what the greeter has was changed in between.
//
// Every answer that is not 2xx is an [api.Error].
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/store"
)

type server struct {
	store    *store.Store
	accepted func(store.Line)
	log      *zap.SugaredLogger
}

// New makes the handler. It calls accepted, which must not block and can be nil, for each greeting that
// is to be published. The logger is that of ctx.
func New(ctx context.Context, s *store.Store, accepted func(store.Line)) http.Handler {
	if accepted == nil {
		accepted = func(store.Line) {}
	}
	srv := &server{store: s, accepted: accepted, log: logging.FromContext(ctx)}

	mux := http.NewServeMux()
	mux.Handle("/greetings", srv.methods(map[string]handler{
		http.MethodGet:  srv.list,
		http.MethodPost: srv.post,
	}))
	mux.Handle("/greetings/{id}", srv.methods(map[string]handler{
		http.MethodGet:    srv.get,
		http.MethodPut:    srv.put,
		http.MethodDelete: srv.delete,
	}))
	mux.Handle("/outbox", srv.methods(map[string]handler{
		http.MethodGet: srv.outbox,
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		srv.fail(w, r, failure(http.StatusNotFound, "path: expected /greetings, /greetings/{id} or /outbox, got %.150q", r.URL.Path))
	})
	return mux
}

// handler returns the status and the body of an answer, or an error that fail answers.
type handler func(w http.ResponseWriter, r *http.Request) (status int, body any, err error)

// methods stands in for the methods in patterns of http.ServeMux, which answers 405 in plain text.
func (s *server) methods(byMethod map[string]handler) http.Handler {
	allow := strings.Join(slices.Sorted(maps.Keys(byMethod)), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, ok := byMethod[r.Method]
		if r.Method == http.MethodHead {
			h, ok = byMethod[http.MethodGet]
		}
		if !ok {
			w.Header().Set("Allow", allow)
			s.fail(w, r, failure(http.StatusMethodNotAllowed, "method: expected %s, got %.20s", allow, r.Method))
			return
		}
		status, body, err := h(w, r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.answer(w, status, body)
	})
}

func (s *server) put(w http.ResponseWriter, r *http.Request) (int, any, error) {
	id, err := pathID(r)
	if err != nil {
		return 0, nil, err
	}
	body, err := decode[api.PutRequest](w, r)
	if err != nil {
		return 0, nil, err
	}
	replaced, err := ifMatch(r)
	if err != nil {
		return 0, nil, err
	}
	g, change, err := s.store.Put(id, body, replaced...)
	if err != nil {
		return 0, nil, err
	}
	if change != store.Unchanged {
		s.log.Infow(g.Message, "greeting", g.ID, "name", g.Name, "generation", g.Generation)
	}
	if change == store.Created {
		return http.StatusCreated, g, nil
	}
	return http.StatusOK, g, nil
}

func (s *server) get(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	id, err := pathID(r)
	if err != nil {
		return 0, nil, err
	}
	if err := query(r); err != nil {
		return 0, nil, err
	}
	g, err := s.store.Get(id)
	return http.StatusOK, g, err
}

func (s *server) delete(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	id, err := pathID(r)
	if err != nil {
		return 0, nil, err
	}
	generation, err := deletedGeneration(r)
	if err != nil {
		return 0, nil, err
	}
	replaced, err := ifMatch(r)
	if err != nil {
		return 0, nil, err
	}
	deleted, err := s.store.Delete(id, generation, replaced...)
	if err != nil {
		return 0, nil, err
	}
	if deleted {
		s.log.Infow("The greeting is deleted", "greeting", id, "generation", generation)
	}
	return http.StatusNoContent, nil, nil
}

func (s *server) list(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	options, err := listOptions(r)
	if err != nil {
		return 0, nil, err
	}
	items, more, err := s.store.List(options)
	if err != nil {
		return 0, nil, err
	}
	page := api.GreetingList{Items: items}
	if more {
		page.Continue = token(items[len(items)-1].ID)
	}
	return http.StatusOK, page, nil
}

func (s *server) post(w http.ResponseWriter, r *http.Request) (int, any, error) {
	body, err := decode[api.Request](w, r)
	if err != nil {
		return 0, nil, err
	}
	g, entry, err := s.store.Accept(body)
	if err != nil {
		return 0, nil, err
	}
	s.log.Infow("A greeting is requested", "greeting", g.ID, "name", g.Name, "helloTo", g.HelloTo)
	s.accepted(entry.Line())
	w.Header().Set("Location", "/greetings/"+g.ID)
	return http.StatusCreated, g, nil
}

func (s *server) outbox(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	if err := query(r); err != nil {
		return 0, nil, err
	}
	status, err := s.store.OutboxStatus()
	return http.StatusOK, status, err
}

func (s *server) answer(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	raw, err := json.Marshal(body)
	if err != nil {
		s.log.Errorw("Cannot encode an answer", "error", err)
		status, raw = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // A caller that has hung up needs no answer.
}

// statusError is an error with the status to answer.
type statusError struct {
	status int
	error
}

func failure(status int, format string, args ...any) error {
	return &statusError{status: status, error: fmt.Errorf(format, args...)}
}

func invalid(err error) error { return &statusError{status: http.StatusBadRequest, error: err} }

func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var known *statusError
	var conflict *store.ConflictError
	status, reason := http.StatusServiceUnavailable, "the store is in trouble, try again later"
	switch {
	case errors.As(err, &known):
		status, reason = known.status, known.Error()
	case errors.As(err, &conflict):
		if conflict.Tag != "" {
			w.Header().Set("ETag", strconv.Quote(conflict.Tag))
		}
		status, reason = http.StatusConflict, conflict.Error()
	case errors.Is(err, store.ErrChanged):
		status, reason = http.StatusPreconditionFailed, "If-Match: "+err.Error()
	case errors.Is(err, store.ErrNotFound):
		status, reason = http.StatusNotFound, err.Error()
	case errors.Is(err, store.ErrOutboxFull):
		w.Header().Set("Retry-After", "30")
		reason = err.Error()
	default:
		// The cause is for the log: the caller can only try again.
		s.log.Errorw("The store is in trouble", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	// Joined errors have a line each, but a reason is one line, for logs and status messages. It can have
	// names of fields in it, which may be long.
	s.answer(w, status, api.Error{Error: fmt.Sprintf("%.1000s", strings.ReplaceAll(reason, "\n", "; "))})
}
