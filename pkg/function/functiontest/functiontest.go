// Package functiontest serves functions to tests, and has the table of what every program that listens has to
// withstand.
package functiontest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/function"
)

// Serve serves a handler until the test ends, as function.Main would but for the log, which goes
// nowhere, and returns its URL.
func Serve(t testing.TB, handler http.Handler) string {
	t.Helper()
	return serve(t, handler, function.Limits{})
}

func serve(t testing.TB, handler http.Handler, limits function.Limits) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = function.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(logging.WithLogger(r.Context(), zap.NewNop().Sugar())))
	}), limits)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL
}
