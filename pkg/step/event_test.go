package step_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

type order struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
	Parts []struct {
		OK bool `json:"ok"`
	} `json:"parts"`
}

func (o order) Validate() error {
	if o.Name == "" {
		return errors.New("data.name: required")
	}
	return nil
}

type orders func(ctx context.Context, o order) (step.EventResult, error)

func (f orders) HandleEvent(ctx context.Context, _ cloudevents.Event, o order) (step.EventResult, error) {
	return f(ctx, o)
}

func TestEventDecodes(t *testing.T) {
	cases := map[string]struct {
		reason, data string
		want         answer
	}{
		"Good":      {"Valid data is handled", `{"name":"a"}`, answer{200, step.EventHandled, `{"operation":"created","kind":"Order","namespace":"ns","name":"a"}`}},
		"Unknown":   {"An unknown field", `{"name":"a","size":1}`, answer{422, "", `data: unknown field "size"`}},
		"Case":      {"A field name in another case", `{"Name":"a"}`, answer{422, "", `data: unknown field "Name"`}},
		"Twice":     {"The same field twice", `{"name":"a","name":"b"}`, answer{422, "", `data: duplicate field "name"`}},
		"Missing":   {"A missing field", `{"count":1}`, answer{422, "", `data.name: required`}},
		"Null":      {"A field that is null", `{"name":null}`, answer{422, "", `data.name: required`}},
		"Type":      {"Another type", `{"name":1}`, answer{422, "", `data.name: expected a string, got number`}},
		"Number":    {"Another type of number", `{"name":"a","count":1.5}`, answer{422, "", `data.count: expected a whole number, got number 1.5`}},
		"Deep":      {"Another type in a nested field", `{"name":"a","parts":[{"ok":1}]}`, answer{422, "", `data.parts.ok: expected true or false, got number`}},
		"Array":     {"An array", `[]`, answer{422, "", `data: expected an object, got array`}},
		"Trailing":  {"More than one value", `{"name":"a"} {}`, answer{422, "", "data: expected a JSON object: invalid character '{' after top-level value"}},
		"Truncated": {"Half a value", `{"name":`, answer{422, "", "data: expected a JSON object: unexpected end of JSON input"}},
		"Text":      {"Data that is not JSON", `name: a`, answer{422, "", "data: expected a JSON object: invalid character 'a' in literal null (expecting 'u')"}},
		"Empty":     {"No data", ``, answer{422, "", "data: expected a JSON object, got nothing"}},
		"NotUTF8":   {"Data that is not UTF-8", "{\"name\":\"\xff\"}", answer{422, "", "data: expected JSON in UTF-8"}},
		"Surrogate": {"Half of a surrogate pair", `{"name":"a\ud800"}`, answer{422, "", "data.name: expected text in Unicode, got half of a surrogate pair"}},
		"Low":       {"The other half", `{"name":"\udc00\ud800"}`, answer{422, "", "data.name: expected text in Unicode, got half of a surrogate pair"}},
		"Half":      {"Half of a pair before another escape", `{"name":"\ud83d\n"}`, answer{422, "", "data.name: expected text in Unicode, got half of a surrogate pair"}},
		"Nested":    {"Half of a pair in a list", `{"parts":[{"ok":true},{"ok":"\uDFFF"}]}`, answer{422, "", "data.parts[1].ok: expected text in Unicode, got half of a surrogate pair"}},
		"Key":       {"Half of a pair in the name of a field", `{"\ud800":1}`, answer{422, "", "data: expected text in Unicode, got half of a surrogate pair"}},
		"Pair":      {"A whole pair is text", `{"name":"\ud83d\ude00"}`, answer{200, step.EventHandled, `{"operation":"created","kind":"Order","namespace":"ns","name":"😀"}`}},
		"Backslash": {"A backslash before a u is text", `{"name":"\\ud800"}`, answer{200, step.EventHandled, `{"operation":"created","kind":"Order","namespace":"ns","name":"\\ud800"}`}},
		"FFFD":      {"The replacement character itself is text", `{"name":"\ufffd"}`, answer{200, step.EventHandled, `{"operation":"created","kind":"Order","namespace":"ns","name":"�"}`}},
		"Lines":     {"Several reasons in one line", `{"x":1,"y":2}`, answer{422, "", `data: unknown field "x"; unknown field "y"`}},
	}
	url := serve(t, nil, step.On(orders(func(_ context.Context, o order) (step.EventResult, error) {
		return step.EventResult{Operation: model.Created, Kind: "Order", Namespace: "ns", Name: o.Name}, nil
	}), "order"))
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, post(t, url, "order", tc.data)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestEventAnswers(t *testing.T) {
	gk, gr := schema.GroupKind{Kind: "Order"}, schema.GroupResource{Resource: "orders"}
	fail := func(err error) orders {
		return func(context.Context, order) (step.EventResult, error) {
			return step.EventResult{}, fmt.Errorf("saving: %w", err)
		}
	}
	cases := map[string]struct {
		reason  string
		handler orders
		code    int
		body    string
	}{
		"Permanent":  {"After a permanent error the event is not delivered again", fail(step.Permanent(errors.New("no\nand no"))), 422, "saving: no; and no"},
		"Invalid":    {"Also if the API says that the model is not valid", fail(apierrors.NewInvalid(gk, "a", nil)), 422, "invalid"},
		"BadRequest": {"Or that the request is malformed", fail(apierrors.NewBadRequest("no")), 422, "no"},
		"Policy":     {"Or that an admission policy denies it", fail(apierrors.NewForbidden(gr, "a", errors.New("ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no"))), 422, "denied"},
		"Rights":     {"Missing rights can be fixed", fail(apierrors.NewForbidden(gr, "a", errors.New(`User "x" cannot create resource`))), 503, "cannot create"},
		"Other":      {"Any other error can pass", fail(errors.New("later")), 503, "saving: later"},
		"Conflict":   {"A conflict can pass", fail(apierrors.NewConflict(gr, "a", errors.New("x"))), 503, "saving"},
		"Panic":      {"A panic can pass", func(context.Context, order) (step.EventResult, error) { panic("no") }, 503, "panic: no"},
		"Deadline": {"A handler that takes too long can be faster next time", func(ctx context.Context, _ order) (step.EventResult, error) {
			<-ctx.Done()
			return step.EventResult{}, ctx.Err()
		}, 503, "deadline exceeded"},
		"IgnoresContext": {"Also one that ignores its context", func(context.Context, order) (step.EventResult, error) { select {} }, 503, "did not end within 50ms"},
		"NothingNew": {"The reply says that there was nothing to do", func(context.Context, order) (step.EventResult, error) {
			return step.EventResult{Operation: model.Unchanged}, nil
		}, 200, `"operation":"unchanged"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			url := serve(t, []step.Option{step.WithDeadline(50 * time.Millisecond)}, step.On(tc.handler, "order", "other"))
			got := post(t, url, "other", `{"name":"a"}`)
			if got.Code != tc.code || !strings.Contains(got.Body, tc.body) || strings.Contains(got.Body, "\n") {
				t.Errorf("%s: want %d with one line about %q, got %+v", tc.reason, tc.code, tc.body, got)
			}
		})
	}
}

func TestEventTypes(t *testing.T) {
	nothing := orders(func(context.Context, order) (step.EventResult, error) { return step.EventResult{}, nil })
	url := serve(t, nil, step.On(nothing, "b"), step.On(nothing, "a"))
	if diff := cmp.Diff(answer{422, "", `type: expected a or b, got "c"`}, post(t, url, "c", "{}")); diff != "" {
		t.Errorf("an event of another type is refused with the known types: -want +got:\n%s", diff)
	}
}

func TestEventReply(t *testing.T) {
	f, err := step.New(t.Context(), nil, []step.Registration{step.On(orders(func(context.Context, order) (step.EventResult, error) {
		return step.EventResult{Operation: model.Updated, Kind: "Order", Namespace: "ns", Name: "a"}, nil
	}), "order")})
	if err != nil {
		t.Fatal(err)
	}
	event := cloudevents.NewEvent()
	event.SetID("1")
	event.SetSource("/test")
	event.SetType("order")
	if err := event.SetData(cloudevents.ApplicationJSON, json.RawMessage(`{"name":"a"}`)); err != nil {
		t.Fatal(err)
	}
	reply, result := f.Handle(t.Context(), event)
	if result != nil || reply == nil {
		t.Fatalf("want a reply, got %v, %v", reply, result)
	}
	if err := reply.Validate(); err != nil || reply.Time().IsZero() || reply.Subject() != "a" || len(reply.Extensions()) != 0 {
		t.Errorf("a broker accepts the reply, and it wakes no step: got %v, %v", reply, err)
	}
}
