// Package server is the HTTP side of the TOSCA function: the paths, headers and answers that XOS
// had, in front of package upload.
//
//	POST /run                  create or update what the recipe in the body lists
//	POST /delete               delete it, in reverse order
//	POST /                     the recipe as a CloudEvent
//	GET  /                     the node types, as JSON
//	GET  /custom_type/<name>   one of them, as TOSCA
//
// Every request works with its caller's own bearer token and keeps nothing for the next one (but
// how often a password was wrong, see attempts.go), so there is nothing that a restart could fix. A request is handled in this order: who sends it
// (token, then the API's answer), where its models go (?namespace=, otherwise the namespace of the
// caller's service account), and only then its body.
//
// Start reading with [New]; caller.go has the order of a request, respond.go the answers.
package server

import (
	"bytes"
	"cmp"
	"errors"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"

	"go.uber.org/zap"
	"k8s.io/client-go/rest"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/tosca"
)

// Options are what a server needs.
type Options struct {
	// API says where the Kubernetes API is and by which CA it is known. Credentials in it are not
	// used.
	API *rest.Config

	// UsersDir is a mounted Secret with the users of XOS (config/samples/tosca/users.yml). If it is
	// empty or not there, the headers xos-username and xos-password are refused.
	UsersDir string
}

type server struct {
	Options
	attempts attempts
}

// handler writes the answer to a request, or returns the error that is the answer.
type handler func(w http.ResponseWriter, r *http.Request) error

// ServeHTTP implements [http.Handler].
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h(w, r); err != nil {
		respondError(w, r, err)
	}
}

// New makes the handler. Its answers are text, as XOS's were, or JSON for those who send `Accept:
// application/json`. The error is about the environment (see function.Events).
func New(o Options) (http.Handler, error) {
	s := &server{Options: o}
	event, err := s.event()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /run", s.recipes(run))
	mux.Handle("POST /delete", s.recipes(remove))
	mux.Handle("POST /{$}", event)
	mux.Handle("GET /{$}", handler(s.index))
	mux.Handle("GET /custom_type/{name}", handler(s.customType))
	return recovered(mux), nil
}

// recovered answers a panic with 500. What it was about is in the log only.
func recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p) // It makes net/http close the connection.
			}
			logging.FromContext(r.Context()).Errorw("Handler panicked", zap.Any("panic", p), zap.String("path", r.URL.Path), zap.ByteString("stack", debug.Stack()))
			respondError(w, r, &failure{status: http.StatusInternalServerError, errs: []*tosca.Error{{Name: internal, Message: "internal error, see the log of the function"}}})
		}()
		next.ServeHTTP(w, r)
	})
}

// recipes handles POST /run and POST /delete.
func (s *server) recipes(do action) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		args, err := parseArguments(r.URL.RawQuery)
		if err != nil {
			return err
		}
		c, err := s.caller(r)
		if err != nil {
			return err
		}
		if args.namespace, err = c.namespace(r.Context(), args.namespace); err != nil {
			return err
		}
		recipe, err := body(w, r)
		if err != nil {
			return err
		}
		result, err := c.work(r.Context(), do, recipe, args)
		if err != nil {
			return err
		}
		respond(w, r, result)
		return nil
	}
}

// bodyErrors are the names of errors about the body as a whole.
var bodyErrors = map[int]string{
	http.StatusRequestEntityTooLarge: tosca.TooLarge,
	http.StatusUnsupportedMediaType:  tosca.InvalidArgument,
}

// body reads a recipe of any content type: curl calls what it sends a form.
func body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	data, err := function.Body(w, r, tosca.MaxBytes)
	if refused := (*function.BodyError)(nil); errors.As(err, &refused) {
		name := cmp.Or(bodyErrors[refused.Code], tosca.SyntaxError)
		return nil, &failure{status: refused.Code, errs: []*tosca.Error{{Name: name, Message: refused.Reason}}}
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media == "application/x-www-form-urlencoded" &&
		bytes.Contains(data, []byte("tosca_definitions_version")) && !bytes.Contains(data, []byte("\n")) {
		return nil, badRequest(tosca.SyntaxError, "the recipe has no line breaks: send it with `curl --data-binary @file`, since -d drops them")
	}
	return data, nil
}

// index lists the node types.
func (s *server) index(w http.ResponseWriter, r *http.Request) error {
	c, err := s.caller(r)
	if err != nil {
		return err
	}
	paths := map[string]string{}
	for _, id := range c.types.IDs() {
		paths[id] = "/custom_type/" + id
	}
	writeJSON(w, http.StatusOK, paths)
	return nil
}

func (s *server) customType(w http.ResponseWriter, r *http.Request) error {
	c, err := s.caller(r)
	if err != nil {
		return err
	}
	t := c.types.ByID(r.PathValue("name"))
	if t == nil {
		return &failure{status: http.StatusNotFound, errs: []*tosca.Error{{Name: tosca.InvalidType, Message: "there is no such type; GET / lists them"}}}
	}
	doc, err := t.YAML()
	if err != nil {
		return err
	}
	writeText(w, http.StatusOK, string(doc))
	return nil
}

// wantsJSON reports whether the Accept header has JSON.
func wantsJSON(r *http.Request) bool {
	for accept := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		if media, _, err := mime.ParseMediaType(accept); err == nil && media == "application/json" {
			return true
		}
	}
	return false
}
