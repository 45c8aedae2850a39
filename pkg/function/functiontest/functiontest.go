// Package functiontest serves functions to tests.
package functiontest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"
	"knative.dev/pkg/logging"
)

// Serve serves a handler until the test ends, as function.Main would but for the log, which goes
// nowhere, and returns its URL.
func Serve(t testing.TB, handler http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(logging.WithLogger(r.Context(), zap.NewNop().Sugar())))
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}
