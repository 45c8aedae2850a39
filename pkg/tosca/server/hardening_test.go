package server_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/tosca"
	"github.com/xos-knative/synchronizer/pkg/tosca/server"
	. "github.com/xos-knative/synchronizer/pkg/tosca/toscatest"
)

// TestHardening sends what can be wrong with a recipe as a CloudEvent.
func TestHardening(t *testing.T) {
	w := newWorld(t)
	event := cloudevents.NewEvent()
	event.SetID("1")
	event.SetSource("/test")
	event.SetType(server.EventRecipe)
	event.SetDataContentType("application/yaml")
	event.DataEncoded = []byte(Recipe(Widget("a")))
	rows := functiontest.EventRows(functiontest.EventProgram{})
	delete(rows, "Get") // That lists the types.
	functiontest.Hardening(t, functiontest.Program{Handler: w.handler, MaxBody: function.MaxBody, HalfClosed: 408, Lines: true, Good: func() *http.Request {
		r := functiontest.Request("/", event)
		r.Header.Set("Authorization", "Bearer "+alice)
		return r
	}}, rows, tokenRows)
}

// tokenRows are about who sends it.
var tokenRows = map[string]functiontest.Row{
	"NoToken":   {Reason: "Who has no token is nobody.", Change: func(r *http.Request) { r.Header.Del("Authorization") }, Code: 401, Says: []string{"UnauthorizedError"}},
	"TwoTokens": {Reason: "Of two tokens none counts.", Change: func(r *http.Request) { r.Header.Add("Authorization", "Bearer x") }, Code: 400, Says: []string{"authorization", "once"}},
	"LongToken": {Reason: "A token can have any length.", Change: func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 100_000)) }, Code: 401, Says: []string{"UnauthorizedError"}},
	"OddToken":  {Reason: "And any bytes.", Change: func(r *http.Request) { r.Header.Set("Authorization", "Bearer \xff\"") }, Code: 401, Says: []string{"UnauthorizedError"}},
}

// TestHardeningOfUploads sends what can be wrong with a recipe as XOS had it.
func TestHardeningOfUploads(t *testing.T) {
	w := newWorld(t)
	query := func(query string) func(*http.Request) { return func(r *http.Request) { r.URL.RawQuery = query } }
	recipe := func(text string) func(*http.Request) {
		return func(r *http.Request) { r.Body, r.ContentLength = uploadRequest(text).Body, int64(len(text)) }
	}
	rows := map[string]functiontest.Row{
		"Query":      {Reason: "A query that cannot be read does not count as none.", Change: query("dry-run=%zz"), Code: 400, Says: []string{"query"}},
		"Semicolon":  {Reason: "Whatever is wrong with it.", Change: query("dry-run;wait=1s"), Code: 400, Says: []string{"query"}},
		"Twice":      {Reason: "A parameter is there once.", Change: query("namespace=a&namespace=b"), Code: 400, Says: []string{"namespace", "once"}},
		"NotUTF8":    {Reason: "Text is Unicode.", Change: recipe(Recipe(Widget("J\xf6rg"))), Code: 400, Says: []string{"UTF-8"}},
		"Deep":       {Reason: "Nothing is that deep.", Change: recipe(strings.Repeat("[", 100_000)), Code: 400, Says: []string{"Error"}},
		"DeepEnd":    {Reason: "Also if it ends.", Change: recipe(strings.Repeat("[", 9000) + strings.Repeat("]", 9000)), Code: 400, Says: []string{"Error"}},
		"TwiceKey":   {Reason: "A key is there once.", Change: recipe(Recipe(Widget("a") + "    count: 2\n")), Code: 400, Says: []string{"count"}},
		"Huge":       {Reason: "Numbers are bounded.", Change: recipe(strings.Replace(Recipe(Widget("a")), "count: 1", "count: 1e999999", 1)), Code: 400, Says: []string{"count"}},
		"Compressed": {Reason: "Nothing is compressed.", Change: func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, Code: 415, Says: []string{"content-encoding"}},
		"Path":       {Reason: "There is nothing else.", Change: func(r *http.Request) { r.URL.Path = "/no/such/path" }, Code: 404},
		"Get":        {Reason: "A recipe is posted.", Change: func(r *http.Request) { r.Method = http.MethodGet }, Code: 405},
	}
	functiontest.Hardening(t, functiontest.Program{Handler: w.handler, MaxBody: tosca.MaxBytes, HalfClosed: 408, Lines: true, Good: func() *http.Request { return uploadRequest(Recipe(Widget("a"))) }}, rows, tokenRows)
}

func uploadRequest(text string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/run", strings.NewReader(text))
	r.Header.Set("Authorization", "Bearer "+alice)
	return r
}
