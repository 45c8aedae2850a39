package step

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	"github.com/google/uuid"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"knative.dev/pkg/logging"
	"sigs.k8s.io/json"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// EventHandled is the type of the reply to an event that was handled; its data is [EventResult].
const EventHandled = "dev.xos-knative.event.handled"

// eventSource is the CloudEvents source of what an event function replies.
const eventSource = "/synchronizer/event"

// EventHandler turns events of the micro-service into models (XOS: an event step).
//
// E is the event's data. It is decoded strictly: the event is refused, and the handler not called, if
// there is a field that E does not have, a field twice, a value of another type, text that is not Unicode,
// or more than one JSON value. If E has a method Validate() error, it is called too; its error names the
// field and what was expected.
//
// An event can come late, and several times; [OnObject] takes care of that, so use it if an event is about
// one object. A handler returns [model.Unchanged] if there was nothing to do. After a [Permanent] error,
// or if the API says that the model is not valid, the event becomes a dead letter: it can never be
// handled. After any other error it is delivered again.
type EventHandler[E any] interface {
	HandleEvent(ctx context.Context, event cloudevents.Event, data E) (EventResult, error)
}

// EventResult says which object is now as the event says, and what was done for that.
type EventResult struct {
	Operation model.Operation `json:"operation"`
	Kind      string          `json:"kind"`
	Namespace string          `json:"namespace"`
	Name      string          `json:"name"`
}

// eventHandler is an [EventHandler] of any data.
type eventHandler struct {
	types  []string
	err    error // Says why it cannot be registered.
	handle func(ctx context.Context, event cloudevents.Event) (EventResult, error)
}

// On registers the handler for events of these types.
func On[E any](handler EventHandler[E], types ...string) Registration {
	return Registration{handler: func(*model.Client) *eventHandler {
		return &eventHandler{types: types, handle: func(ctx context.Context, event cloudevents.Event) (EventResult, error) {
			data, err := decode[E](event.Data())
			if err != nil {
				return EventResult{}, Permanent(err)
			}
			return handler.HandleEvent(ctx, event, data)
		}}
	}}
}

// eventEngine runs the event handlers of a function.
type eventEngine struct {
	settings
	handlers map[string]*eventHandler // By type.
}

func (e *eventEngine) register(handler *eventHandler) error {
	if handler.err != nil {
		return handler.err
	}
	if len(handler.types) == 0 {
		return errors.New("event step: expected at least one type of event, got none")
	}
	for _, t := range handler.types {
		if _, ok := e.handlers[t]; ok {
			return fmt.Errorf("event step: expected one handler for type %s, got two", t)
		}
		e.handlers[t] = handler
	}
	return nil
}

// handle handles one event. The answer is 200 with an [EventHandled] reply, 422 with a reason of one
// line if the event can never be handled, or 503 if it is to be delivered again.
func (e *eventEngine) handle(ctx context.Context, event cloudevents.Event, handler *eventHandler) (*cloudevents.Event, protocol.Result) {
	log := logging.FromContext(ctx).With(zap.String("id", event.ID()), zap.String("source", event.Source()), zap.String("type", event.Type()))
	// The handler outlives the request. If the broker hangs up and delivers the event again, the work
	// may be done already.
	ctx = e.events.during(logging.WithLogger(context.WithoutCancel(ctx), log), "event")
	ctx = context.WithValue(ctx, clockKey{}, e.clock)
	result, err := call(ctx, e.deadline, func(ctx context.Context) (EventResult, error) { return handler.handle(ctx, event) })
	if err != nil && isFinal(err) {
		return nil, function.Unprocessable("%s", oneLine(err))
	}
	if err != nil {
		return nil, function.Unavailable("%s", oneLine(err))
	}
	outcome := string(result.Operation)
	if result.Operation == model.Unchanged {
		outcome = "nothing new"
	}
	log.Infow("Event handled: "+outcome, zap.String("kind", result.Kind), zap.String("namespace", result.Namespace), zap.String("name", result.Name))
	return e.handled(result), nil
}

// isFinal reports whether the event will fail again in the same way. That is so if the API refuses the
// object that the event asks for. Missing rights are not final: an operator can fix them.
func isFinal(err error) bool {
	if classOf(err).class == permanent {
		return true
	}
	if apierrors.IsForbidden(err) {
		// These words say that an admission policy or a webhook has refused the object. Missing rights, a
		// full quota and a namespace that is being deleted have the same status code.
		return strings.Contains(err.Error(), "denied the request") || strings.Contains(err.Error(), "denied request")
	}
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// handled is the reply to an event. It has no attribute "step", so it wakes no step.
func (e *eventEngine) handled(result EventResult) *cloudevents.Event {
	reply := cloudevents.NewEvent()
	reply.SetID(uuid.NewString())
	reply.SetType(EventHandled)
	reply.SetSource(eventSource)
	reply.SetSubject(result.Name)
	reply.SetTime(e.clock.Now())
	if err := reply.SetData(cloudevents.ApplicationJSON, result); err != nil {
		panic(fmt.Sprintf("event result cannot be encoded: %v", err)) // A programmer's error.
	}
	return &reply
}

// decode decodes an event's data strictly; field names are case-sensitive. The error names the field
// that is wrong, and what was expected.
func decode[E any](raw []byte) (E, error) {
	var data E
	if len(raw) == 0 {
		return data, errors.New("data: expected a JSON object, got nothing")
	}
	if err := function.CheckText("data", raw); err != nil {
		return data, err
	}
	strict, err := json.UnmarshalStrict(raw, &data)
	if mismatch := new(stdjson.UnmarshalTypeError); errors.As(err, &mismatch) {
		return data, fmt.Errorf("%s: expected %s, got %s", strings.TrimSuffix("data."+mismatch.Field, "."), jsonType(mismatch.Type), mismatch.Value)
	}
	if err != nil {
		return data, fmt.Errorf("data: expected a JSON object: %w", err)
	}
	if err := errors.Join(strict...); err != nil {
		return data, fmt.Errorf("data: %w", err)
	}
	if v, ok := any(&data).(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return data, err
		}
	}
	return data, nil
}

// jsonType is JSON's word for what a field of the type takes.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	default:
		return "an object"
	}
}

// oneLine makes a reason for a dead letter, a header or a log. (Joined errors have a line each.)
func oneLine(err error) string { return strings.Join(strings.FieldsFunc(err.Error(), isBreak), "; ") }

func isBreak(r rune) bool { return r == '\n' || r == '\r' }
