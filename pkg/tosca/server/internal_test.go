package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

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
