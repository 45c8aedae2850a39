package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"knative.dev/pkg/logging"
)

func TestPanic(t *testing.T) {
	w := httptest.NewRecorder()
	ctx := logging.WithLogger(context.Background(), zap.NewNop().Sugar())
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/run", nil)
	recovered(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("goroutine 1 [running]") })).ServeHTTP(w, r)
	if w.Code != 500 || w.Body.String() != "InternalError: internal error, see the log of the function\n" {
		t.Errorf("a panic is an answer without a trace: %d %s", w.Code, w.Body)
	}
}

// After some wrong passwords the next try takes time, for every name.
func TestAttempts(t *testing.T) {
	var a attempts
	now := time.Unix(0, 0)
	right, wrong := func() string { return "token" }, func() string { return "" }
	try := func(name string, match func() string, want string) {
		t.Helper()
		got, err := a.try(now, name, match)
		if err != nil {
			got = failureOf(err).errs[0].Name
		}
		if got != want {
			t.Errorf("%s: want %q, got %q", name, want, got)
		}
	}
	for range guesses * 2 {
		try("a", right, "token")
	}
	for range guesses {
		try("a", wrong, "")
	}
	try("a", right, tooManyAttempts)
	try("b", right, "token")
	now = now.Add(guessEvery)
	try("a", wrong, "")
	try("a", right, tooManyAttempts)
	now = now.Add(guessEvery)
	try("a", right, "token")
}

func TestPythonList(t *testing.T) {
	cases := map[string]struct {
		reason string
		in     []string
		want   string
	}{
		"None":   {"An empty list", nil, "[]"},
		"Two":    {"Single quotes", []string{"a", "b c"}, "['a', 'b c']"},
		"Quote":  {"A name with a single quote is in double ones", []string{"it's"}, `["it's"]`},
		"Quotes": {"A name with both is escaped", []string{`"it's" \`}, `['"it\'s" \\']`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, pythonList(tc.in)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}
