package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/tosca"
	"github.com/xos-knative/synchronizer/pkg/tosca/upload"
)

// Names of errors that are not about the recipe.
const (
	unauthorized = "UnauthorizedError"
	forbidden    = "ForbiddenError"
	unavailable  = "UnavailableError"
	internal     = "InternalError"
)

// retryAfter is when a caller may try again while the API is away, in seconds.
const retryAfter = "5"

// failure is an error that knows its HTTP status.
type failure struct {
	status int
	errs   []*tosca.Error
	// done and left are names of nodes, when an upload stopped in the middle.
	done, left []string
}

func (f *failure) Error() string { return tosca.Errors(f.errs).Error() }

func badRequest(name, message string) *failure {
	return &failure{status: http.StatusBadRequest, errs: []*tosca.Error{{Name: name, Message: message}}}
}

// failureOf finds the answer to an error: a failure, one of the recipe, or one of the API.
func failureOf(err error) *failure {
	var own *failure
	if errors.As(err, &own) {
		return own
	}
	var partial *upload.PartialError
	if errors.As(err, &partial) {
		f := failureOf(partial.Err)
		f = &failure{status: f.status, errs: []*tosca.Error{{Name: f.errs[0].Name, Message: partial.Error()}}}
		// The recipe is good, since its dry run has passed. Something else changed.
		if f.status == http.StatusBadRequest {
			f.status = http.StatusConflict
		}
		f.done, f.left = names(partial.Done), names(partial.Left)
		return f
	}
	var recipe tosca.Errors
	if errors.As(err, &recipe) {
		return &failure{status: statusOf(recipe), errs: recipe[:min(len(recipe), tosca.MaxErrors)]}
	}
	one := func(status int, name string) *failure {
		return &failure{status: status, errs: []*tosca.Error{{Name: name, Message: err.Error()}}}
	}
	if errors.Is(err, context.Canceled) {
		// Nobody may be there any more. Who has closed only its side reads this.
		return &failure{status: http.StatusRequestTimeout, errs: []*tosca.Error{{Name: unavailable, Message: "connection: expected it to stay open until the answer"}}}
	}
	status := apierrors.APIStatus(nil)
	isStatus := errors.As(err, &status)
	switch {
	case apierrors.IsUnauthorized(err):
		return one(http.StatusUnauthorized, unauthorized)
	case apierrors.IsForbidden(err):
		return one(http.StatusForbidden, forbidden)
	case apierrors.IsNotFound(err) && isStatus && status.Status().Details != nil && status.Status().Details.Kind == "namespaces":
		return one(http.StatusBadRequest, tosca.InvalidArgument)
	case apierrors.IsRequestEntityTooLargeError(err):
		return one(http.StatusRequestEntityTooLarge, tosca.TooLarge)
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return one(http.StatusConflict, tosca.Conflict)
	}
	// Otherwise the API cannot be reached, is overloaded, or does not serve a new model yet. All of
	// that passes.
	f := one(http.StatusServiceUnavailable, unavailable)
	if !isStatus && !errors.Is(err, model.ErrVersion) {
		// The transport's errors have addresses and certificates in them, which are for the log.
		f.errs[0].Message = "the Kubernetes API cannot be reached; try again"
	}
	return f
}

// statusOf is 409 if all errors are conflicts, otherwise 400.
func statusOf(errs tosca.Errors) int {
	for _, e := range errs {
		if e.Name != tosca.Conflict {
			return http.StatusBadRequest
		}
	}
	return http.StatusConflict
}

func names(steps []*upload.Step) []string {
	out := make([]string, 0, len(steps))
	for _, s := range steps {
		out = append(out, s.Node.Name)
	}
	return out
}

// log logs what an operator has to know: trouble with the API, recipes that are only partly done,
// and tokens that the API does not know.
func (f *failure) log(ctx context.Context, err error) {
	if apierrors.IsUnauthorized(err) {
		logging.FromContext(ctx).Warnw("A token is wrong", zap.Error(err))
	}
	if f.status >= http.StatusInternalServerError || len(f.left) > 0 {
		logging.FromContext(ctx).Errorw("Request failed", zap.Int("code", f.status), zap.Error(err))
	}
}

func respondError(w http.ResponseWriter, r *http.Request, err error) {
	f := failureOf(err)
	f.log(r.Context(), err)
	switch f.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="tosca"`)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter)
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", strconv.Itoa(int(guessEvery.Seconds())))
	}
	if !wantsJSON(r) {
		writeText(w, f.status, f.Error()+"\n")
		return
	}
	writeJSON(w, f.status, struct {
		Errors  []*tosca.Error `json:"errors"`
		Done    []string       `json:"done,omitempty"`
		NotDone []string       `json:"notDone,omitempty"`
	}{f.errs, f.done, f.left})
}

// result is an upload or deletion that worked.
type result struct {
	action  action
	plan    *upload.Plan
	dryRun  bool
	waited  time.Duration
	pending []upload.Pending
}

// status is 504 if the models were written, and were not ready in time.
func (res *result) status() int {
	if len(res.pending) > 0 {
		return http.StatusGatewayTimeout
	}
	return http.StatusOK
}

func respond(w http.ResponseWriter, r *http.Request, res *result) {
	if wantsJSON(r) {
		writeJSON(w, res.status(), res.json())
		return
	}
	writeText(w, res.status(), res.text())
}

func (res *result) text() string {
	var b strings.Builder
	if res.dryRun {
		for _, s := range res.plan.Steps {
			b.WriteString(res.would(s))
			b.WriteByte('\n')
		}
		if len(res.plan.Steps) == 0 {
			b.WriteString("nothing to do\n")
		}
		return b.String()
	}
	fmt.Fprintf(&b, "%s models: %s", res.action.verb, pythonList(res.plan.Names()))
	if len(res.pending) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "\nNot %s after at most %s:\n", res.goal(), res.waited)
	for _, p := range res.pending {
		fmt.Fprintf(&b, "  %s: %s\n", res.place(p.Step), p.Reason)
	}
	return b.String()
}

func (res *result) goal() string {
	if res.action.name == remove.name {
		return "gone"
	}
	return "ready"
}

func (res *result) place(s *upload.Step) string {
	return fmt.Sprintf("node %q, %s %s/%s", s.Node.Name, s.Kind(), res.plan.Namespace, s.Object)
}

func (res *result) would(s *upload.Step) string {
	switch s.Action {
	case upload.Unchanged:
		return "unchanged: " + res.place(s)
	case upload.Reference:
		return "exists, as it must: " + res.place(s)
	case upload.Absent:
		return "nothing to delete: " + res.place(s)
	case upload.Update:
		words := make([]string, 0, len(s.Changes))
		for _, c := range s.Changes {
			words = append(words, c.String())
		}
		return "would update " + res.place(s) + ": " + strings.Join(words, ", ")
	}
	return fmt.Sprintf("would %s %s", s.Action, res.place(s))
}

// jsonModel is one node in an answer.
type jsonModel struct {
	Node      string          `json:"node"`
	Kind      string          `json:"kind"`
	Namespace string          `json:"namespace"`
	Name      string          `json:"name"`
	Action    upload.Action   `json:"action,omitempty"`
	Changes   []upload.Change `json:"changes,omitempty"`
	Reason    string          `json:"reason,omitempty"`
}

func (res *result) json() map[string]any {
	entry := func(s *upload.Step) jsonModel {
		return jsonModel{Node: s.Node.Name, Kind: s.Kind(), Namespace: res.plan.Namespace, Name: s.Object}
	}
	models := make([]jsonModel, 0, len(res.plan.Steps))
	for _, s := range res.plan.Steps {
		m := entry(s)
		m.Action, m.Changes = s.Action, s.Changes
		models = append(models, m)
	}
	out := map[string]any{"models": models}
	if res.dryRun {
		out["dryRun"] = true
		return out
	}
	out[strings.ToLower(res.action.verb)] = res.plan.Names()
	if len(res.pending) > 0 {
		pending := make([]jsonModel, 0, len(res.pending))
		for _, p := range res.pending {
			m := entry(p.Step)
			m.Reason = p.Reason
			pending = append(pending, m)
		}
		out["not"+strings.ToUpper(res.goal()[:1])+res.goal()[1:]] = pending
	}
	return out
}

// pythonList writes names as XOS did: as Python prints a list.
func pythonList(names []string) string {
	words := make([]string, 0, len(names))
	for _, n := range names {
		quote := "'"
		if strings.Contains(n, "'") && !strings.Contains(n, `"`) {
			quote = `"`
		}
		words = append(words, quote+strings.NewReplacer(`\`, `\\`, quote, `\`+quote).Replace(n)+quote)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// The error is ignored: the caller is gone.
	_, _ = io.WriteString(w, text)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
