package main

import (
	"net/http"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest/conformance"
)

// TestHardening sends what can be wrong to the door for letters. Whatever is an event is kept: behind this
// function there is no other.
func TestHardening(t *testing.T) {
	w := newWorld(t)
	env, err := function.Env[settings]()
	if err != nil {
		t.Fatal(err)
	}
	handler, err := newFunction(t.Context(), functionConfig(t), env)
	if err != nil {
		t.Fatal(err)
	}
	rows := functiontest.EventRows(functiontest.EventProgram{BadData: 200, Lenient: true, MaxBody: maxEvent})
	path := func(path string) func(*http.Request) { return func(r *http.Request) { r.URL.Path = path } }
	rows["OtherPath"] = functiontest.Row{Reason: "Letters are for a namespace.", Change: path("/letters"), Code: 404, Says: []string{"path", "/letters/NAMESPACE"}}
	rows["UncleanPath"] = functiontest.Row{Reason: "Of an unclean path the clean one is told.", Change: path("/letters//x"), Code: 307}
	functiontest.Hardening(t, functiontest.Program{Handler: handler, MaxBody: maxEvent, Good: func() *http.Request {
		return functiontest.Request("/letters/"+w.Namespace, w.event(data(cloudevents.ApplicationJSON, []byte(`{"a": 1}`))))
	}}, rows)
	conformance.Answers(t, handler, "/letters/"+w.Namespace, http.StatusOK)
}
