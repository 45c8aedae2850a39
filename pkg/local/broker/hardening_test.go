package broker_test

import (
	"net/http"
	"testing"

	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/local/broker"
)

// TestHardening sends to a Broker what can be wrong with an event. Knative's own ingress judges it, and is more lenient
// than a function: what it takes for an event is one.
func TestHardening(t *testing.T) {
	r := newRig(t, nil, map[string]trigger{"any": {subscriber: &subscriber{}}}, nil)
	const taken = http.StatusAccepted
	rows := functiontest.EventRows(functiontest.EventProgram{Code: taken, BadData: taken, Lenient: true, MaxBody: broker.MaxEvent})
	for code, names := range map[int][]string{
		// A batch, and a form that it cannot read, are malformed (data plane: "400 Bad Request").
		400: {"Batch", "OtherCharset"},
		// The SDK takes the last of two in JSON and the first of two headers, makes a number whole, and leaves out what it
		// cannot read. What of that reaches a function is a valid event.
		taken: {"OtherFormat", "StructuredBoth", "StructuredFraction", "StructuredHuge", "StructuredNested", "StructuredSchema",
			"StructuredTwice", "StructuredTwiceCase", "TwoEqual", "TwoExtensions", "TwoIDs"},
	} {
		for _, name := range names {
			row := rows[name]
			row.Code = code
			rows[name] = row
		}
	}
	functiontest.Hardening(t, functiontest.Program{
		Handler: r, Code: taken, MaxBody: broker.MaxEvent, Silent: true, Good: func() *http.Request { return request(good()) },
		// The ingress gives up a delivery that nobody waits for.
		HalfClosed: http.StatusInternalServerError,
	}, rows)
}
