package step

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

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

// EventHandled tells what became of an event; its data is [EventResult].
const EventHandled = "dev.xos-knative.event.handled"

// eventSource is the CloudEvents source of what an event function replies.
const eventSource = "/synchronizer/event"

// EventHandler turns events of the micro-service into models (XOS: an event step).
//
// E is the event's data. It is decoded strictly: a field that E does not have,
// a value of another type, or more than one JSON value is refused before the
// handler is called. If E has a method Validate() error, that is called too;
// its error is to name the field and what was expected.
//
// An event may come more than once and late, so a handler makes the model as
// the event says and tells [model.Unchanged] if it was so already. An error of
// class [Permanent], or the API's answer that the model is not valid, means that the
// event can never be handled: it becomes a dead letter. With any other error
// it is delivered again.
type EventHandler[E any] interface {
	HandleEvent(ctx context.Context, event cloudevents.Event, data E) (EventResult, error)
}

// EventResult says what became of an event: which object is now as the event
// says, and whether something had to be done for that.
type EventResult struct {
	Operation model.Operation `json:"operation"`
	Kind      string          `json:"kind"`
	Namespace string          `json:"namespace"`
	Name      string          `json:"name"`
}

// eventHandler is an [EventHandler] of any data.
type eventHandler struct {
	types  []string
	handle func(ctx context.Context, event cloudevents.Event) (EventResult, error)
}

// On registers the handler for events of these types.
func On[E any](handler EventHandler[E], types ...string) Registration {
	return Registration{handler: &eventHandler{types, func(ctx context.Context, event cloudevents.Event) (EventResult, error) {
		data, err := decode[E](event.Data())
		if err != nil {
			return EventResult{}, Permanent(err)
		}
		return handler.HandleEvent(ctx, event, data)
	}}}
}

// eventEngine runs the event handlers of a function.
type eventEngine struct {
	settings
	handlers map[string]*eventHandler // by type
}

func (e *eventEngine) register(handler *eventHandler) error {
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

// handle handles one event: 200 with an [EventHandled] reply, 422 with a one-line reason for what can
// never be handled, and 503 for what is to be delivered again.
func (e *eventEngine) handle(ctx context.Context, event cloudevents.Event, handler *eventHandler) (*cloudevents.Event, protocol.Result) {
	log := logging.FromContext(ctx).With(zap.String("id", event.ID()), zap.String("source", event.Source()), zap.String("type", event.Type()))
	// It outlives the request: a broker that has lost patience sends the event
	// again, and then finds done what it can.
	ctx = logging.WithLogger(context.WithoutCancel(ctx), log)
	result, err := call(ctx, e.deadline, func(ctx context.Context) (EventResult, error) { return handler.handle(ctx, event) })
	if err != nil && hopeless(err) {
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

// hopeless reports whether an event will always fail in the same way. Of the API's answers those
// count that are about what the event asks for; not "you may not", which an operator can fix.
func hopeless(err error) bool {
	if classOf(err).class == permanent {
		return true
	}
	if apierrors.IsForbidden(err) {
		// In these words the API says that an admission policy or webhook has
		// looked at the object and refused it. Missing rights, a full quota
		// and a namespace that is going have the same status.
		return strings.Contains(err.Error(), "denied the request") || strings.Contains(err.Error(), "denied request")
	}
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// handled is the reply to an event. It has no attribute "step": nothing is to
// be woken by it.
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

// decode reads an event's data strictly. The error names the field that is
// wrong and what was expected. Field names are those of E, in their case.
func decode[E any](raw []byte) (E, error) {
	var data E
	if len(raw) == 0 {
		return data, errors.New("data: expected a JSON object, got nothing")
	}
	// The decoder would put replacement characters in the place of what is not
	// UTF-8: a model that nobody asked for.
	if !utf8.Valid(raw) {
		return data, errors.New("data: expected JSON in UTF-8")
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

// jsonType says in JSON's words what a field takes.
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

// oneLine makes a reason that fits into a dead letter, a header and a log:
// joined errors stand on lines of their own.
func oneLine(err error) string { return strings.Join(strings.FieldsFunc(err.Error(), isBreak), "; ") }

func isBreak(r rune) bool { return r == '\n' || r == '\r' }
