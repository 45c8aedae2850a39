package server_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/greetertest"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/server"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
)

// TestHardening sends what any HTTP client can do wrong. What can be wrong with a greeting has TestRefused.
func TestHardening(t *testing.T) {
	body := func(text string) func(*http.Request) {
		return func(r *http.Request) { *r = *putRequest(text) }
	}
	rows := map[string]functiontest.Row{
		"Deep":       {Reason: "Nothing is that deep.", Change: body(strings.Repeat("[", 60_000)), Code: 400, Says: []string{"body"}},
		"DeepEnd":    {Reason: "Also if it ends.", Change: body(strings.Repeat("[", 9000) + strings.Repeat("]", 9000)), Code: 400, Says: []string{"body"}},
		"DeepField":  {Reason: "Also in a field that is not there.", Change: body(`{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`), Code: 400, Says: []string{`unknown field`}},
		"Huge":       {Reason: "Numbers have 64 bits.", Change: body(`{"generation":1e999999}`), Code: 400, Says: []string{"generation", "whole number"}},
		"Long":       {Reason: "Digits are bounded.", Change: body(`{"generation":` + strings.Repeat("9", 50_000) + `}`), Code: 400, Says: []string{"generation", "whole number"}},
		"LongField":  {Reason: "The answer is short, whatever the request is.", Change: body(`{"` + strings.Repeat("a", 50_000) + `":1}`), Code: 400, Says: []string{"unknown field"}},
		"Compressed": {Reason: "Nothing is compressed.", Change: func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, Code: 415, Says: []string{"content-encoding"}},
		"TwoTypes":   {Reason: "A body has one type.", Change: func(r *http.Request) { r.Header.Add("Content-Type", "text/plain") }, Code: 400, Says: []string{"header content-type: expected once"}},
		"TwoMatches": {Reason: "And one condition.", Change: func(r *http.Request) { r.Header["If-Match"] = []string{`"a"`, `"b"`} }, Code: 400, Says: []string{"header if-match: expected once"}},
		"Path":       {Reason: "Of an unclean path the clean one is told.", Change: func(r *http.Request) { r.URL.Path = "//greetings" }, Code: 307},
		"Query":      {Reason: "Nor does a query that is none.", Change: func(r *http.Request) { r.URL.RawQuery = "%zz" }, Code: 400, Says: []string{"query"}},
		"Method":     {Reason: "The method is bounded in the answer.", Change: func(r *http.Request) { r.Method = strings.Repeat("X", 1000) }, Code: 405, Says: []string{"method"}},
	}
	const good = `{"name":"n","hello_to":"t"}`
	handler := server.New(t.Context(), greetertest.OpenStore(t), nil)
	handler.ServeHTTP(httptest.NewRecorder(), putRequest(good)) // So that all others change nothing.
	functiontest.Hardening(t, functiontest.Program{Handler: handler, Good: func() *http.Request { return putRequest(good) }, MaxBody: api.MaxBody}, rows)
}

func putRequest(text string) *http.Request {
	r := httptest.NewRequest(http.MethodPut, "/greetings/a", strings.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	return r
}
