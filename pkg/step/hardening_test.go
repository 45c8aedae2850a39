package step_test

import (
	"context"
	"net/http"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/function/functiontest/conformance"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

// TestHardening sends what can be wrong to functions of each kind of step.
func TestHardening(t *testing.T) {
	f, _ := newBook(t)
	handled := orders(func(_ context.Context, o order) (step.EventResult, error) {
		return step.EventResult{Operation: model.Unchanged, Kind: "Order", Namespace: "ns", Name: o.Name}, nil
	})
	events, err := step.New(t.Context(), nil, []step.Registration{step.On(handled, "order")})
	if err != nil {
		t.Fatal(err)
	}
	pull, err := step.New(t.Context(), nil, []step.Registration{step.Pull(pullFunc(func(context.Context, *step.Round) error { return nil }))})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		function *step.Function
		good     cloudevents.Event
		// badData answers an event with bad data. Default: 422.
		badData int
	}{
		"Model": {f.Function, steptest.Snapshot[*book](f.World, "a").WakeEvent(model.StepSync, 1, now), 0},
		"Event": {events, steptest.Event("order", `{"name": "a"}`), 0},
		"Pull":  {pull, steptest.Event(step.EventPing, `{}`), 200},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			handler, err := tc.function.HTTP()
			if err != nil {
				t.Fatal(err)
			}
			rows := functiontest.EventRows(functiontest.EventProgram{BadData: tc.badData})
			rows["OtherType"] = functiontest.Row{Reason: "Events of other functions are not for this one.", Change: func(r *http.Request) { r.Header.Set("ce-type", "other") }, Code: 422, Says: []string{"type"}}
			if name == "Model" {
				rows["OtherType"] = functiontest.Row{Reason: "It is the attribute step that says for which step an event is.", Change: func(r *http.Request) { r.Header.Set("ce-step", "other") }, Code: 422, Says: []string{"step"}}
			}
			functiontest.Hardening(t, functiontest.Program{Handler: handler, MaxBody: function.MaxBody, Good: func() *http.Request { return functiontest.Request("/", tc.good) }}, rows)
			conformance.Answers(t, handler, "/", http.StatusUnprocessableEntity)
		})
	}
}
