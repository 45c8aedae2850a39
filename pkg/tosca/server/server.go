// Package server is the HTTP side of the TOSCA function: the paths, headers and answers that XOS had, in front of package
// upload.
//
//	POST /run                  create or update what the recipe in the body lists
//	POST /delete               delete it, in reverse order
//	POST /                     the recipe as a CloudEvent
//	GET  /                     the node types, as JSON
//	GET  /custom_type/<name>   one of them, as TOSCA
//
// Every request works with its caller's own bearer token and keeps nothing for the next one: there is nothing that a restart
// could mend.
package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"

	"go.uber.org/zap"
	"k8s.io/client-go/rest"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/tosca"
	"github.com/xos-knative/synchronizer/pkg/tosca/upload"
)

// Options are what a server needs.
type Options struct {
	// API says where the Kubernetes API is and by which CA it is known. Credentials in it are not used.
	API *rest.Config

	// Namespace is where models go when a request does not say (?namespace=).
	Namespace string

	// UsersDir is a mounted Secret with the users of XOS (config/samples/tosca/users.yml). Empty, or a directory that is not there, switches the
	// headers xos-username and xos-password off.
	UsersDir string
}

type server struct {
	Options
}

// New makes the handler. Its answers are text, as XOS's were, or JSON for those who send `Accept: application/json`.
// The error is about the environment (see function.Events).
func New(o Options) (http.Handler, error) {
	s := &server{Options: o}
	event, err := s.event()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /run", s.recipes(run))
	mux.HandleFunc("POST /delete", s.recipes(remove))
	mux.HandleFunc("POST /{$}", event)
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /custom_type/{name}", s.customType)
	return recovered(mux), nil
}

// recovered makes a panic an answer that says nothing of the program's insides; those go to the log.
func recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p) // How net/http is told to break off the connection.
			}
			logging.FromContext(r.Context()).Errorw("Handler panicked", zap.Any("panic", p), zap.String("path", r.URL.Path), zap.ByteString("stack", debug.Stack()))
			respondError(w, r, &failure{status: http.StatusInternalServerError, errs: []*tosca.Error{{Name: internal, Message: "internal error, see the log of the function"}}})
		}()
		next.ServeHTTP(w, r)
	})
}

// recipes handles POST /run and POST /delete.
func (s *server) recipes(do action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		args, err := s.arguments(r.URL.Query())
		if err != nil {
			respondError(w, r, err)
			return
		}
		// Before the body is read: a stranger's recipe is not worth its bytes.
		u, err := s.uploader(r, args.namespace)
		if err != nil {
			respondError(w, r, err)
			return
		}
		recipe, err := body(w, r)
		if err != nil {
			respondError(w, r, err)
			return
		}
		result, err := s.work(r.Context(), u, do, recipe, args)
		if err != nil {
			respondError(w, r, err)
			return
		}
		respond(w, r, result)
	}
}

// body reads a recipe of any content type: what curl sends by default is called a form.
func body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, &failure{status: http.StatusUnsupportedMediaType, errs: []*tosca.Error{{Name: tosca.InvalidArgument,
			Message: fmt.Sprintf("content-encoding %q: send the recipe as it is", enc)}}}
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, tosca.MaxBytes))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &failure{status: http.StatusRequestEntityTooLarge, errs: []*tosca.Error{{Name: tosca.TooLarge,
			Message: fmt.Sprintf("the recipe is too large; at most %d bytes are taken", tooLarge.Limit)}}}
	}
	if err != nil {
		return nil, badRequest(tosca.SyntaxError, "the recipe could not be read to its end")
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media == "application/x-www-form-urlencoded" &&
		bytes.Contains(data, []byte("tosca_definitions_version")) && !bytes.Contains(data, []byte("\n")) {
		return nil, badRequest(tosca.SyntaxError, "the recipe has no line breaks: send it with `curl --data-binary @file`, since -d drops them")
	}
	return data, nil
}

// work brings one recipe in. It returns a result, or an error whose failure says how to answer.
func (s *server) work(ctx context.Context, u *upload.Uploader, do action, recipe []byte, args arguments) (*result, error) {
	logger := logging.FromContext(ctx).With(zap.String("action", do.name), zap.String("namespace", args.namespace))
	// The types come first, because with them the API answers whether it takes the caller at all.
	types, err := u.Types(ctx)
	if err != nil {
		return nil, err
	}
	parsed, err := tosca.Parse(recipe)
	if err != nil {
		return nil, err
	}
	nodes, errs := tosca.Check(parsed, types)
	plan, planErrs, err := do.plan(ctx, u, nodes)
	if err != nil {
		return nil, err
	}
	if errs = append(errs, planErrs...); len(errs) > 0 {
		errs.Sort()
		return nil, errs
	}
	res := &result{action: do, plan: plan, dryRun: args.dryRun, waited: args.wait}
	if args.dryRun {
		return res, nil
	}
	if err := u.Apply(ctx, plan); err != nil {
		return nil, err
	}
	logger.Infow("Recipe done", zap.Int("nodes", len(plan.Steps)), zap.Int("written", plan.Writes()))
	if args.wait > 0 {
		ctx, cancel := context.WithTimeout(ctx, args.wait)
		defer cancel()
		res.pending = u.Wait(ctx, plan)
	}
	return res, nil
}

// index lists the node types.
func (s *server) index(w http.ResponseWriter, r *http.Request) {
	types, err := s.types(r)
	if err != nil {
		respondError(w, r, err)
		return
	}
	paths := map[string]string{}
	for _, id := range types.IDs() {
		paths[id] = "/custom_type/" + id
	}
	writeJSON(w, http.StatusOK, paths)
}

func (s *server) customType(w http.ResponseWriter, r *http.Request) {
	types, err := s.types(r)
	if err != nil {
		respondError(w, r, err)
		return
	}
	t := types.ByID(r.PathValue("name"))
	if t == nil {
		respondError(w, r, &failure{status: http.StatusNotFound, errs: []*tosca.Error{{Name: tosca.InvalidType, Message: "there is no such type; GET / lists them"}}})
		return
	}
	doc, err := t.YAML()
	if err != nil {
		respondError(w, r, err)
		return
	}
	writeText(w, http.StatusOK, string(doc))
}

func (s *server) types(r *http.Request) (*tosca.Types, error) {
	u, err := s.uploader(r, s.Namespace)
	if err != nil {
		return nil, err
	}
	return u.Types(r.Context())
}

func (s *server) uploader(r *http.Request, namespace string) (*upload.Uploader, error) {
	token, err := s.token(r)
	if err != nil {
		return nil, err
	}
	return upload.New(s.API, token, namespace)
}

// wantsJSON reads the Accept header as far as two kinds of answer need it.
func wantsJSON(r *http.Request) bool {
	for accept := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		if media, _, err := mime.ParseMediaType(accept); err == nil && media == "application/json" {
			return true
		}
	}
	return false
}
