package function

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
	"knative.dev/pkg/logging"
)

// MaxBody is the largest event that [Events] reads, in bytes, if no option says otherwise: 1 MiB.
// The CloudEvents specification asks for at least 64 KiB.
const MaxBody = 1 << 20

// EventsOption changes a handler made by [Events] from its defaults.
type EventsOption func(*eventsSettings)

type eventsSettings struct {
	maxBody int64
	senders func(r *http.Request, subject string) bool
	lenient bool
}

// WithMaxBody replaces the size, in bytes, of the largest event that is read. Default: [MaxBody].
func WithMaxBody(bytes int64) EventsOption {
	return func(s *eventsSettings) { s.maxBody = bytes }
}

// WithSenders replaces which accounts are let in where senders have to say who they are: those for
// which the function reports true. Default: those of $OIDC_SUBJECTS.
func WithSenders(allowed func(r *http.Request, subject string) bool) EventsOption {
	return func(s *eventsSettings) { s.senders = allowed }
}

// WithLeniency takes also events that a Broker lets pass although they are not as the specification says: with
// text that is not Unicode, or data of a type that is none. It is for a program that keeps events and does not
// read them. Default: they are refused.
func WithLeniency() EventsOption { return func(s *eventsSettings) { s.lenient = true } }

// Handler handles one CloudEvent. The result says what to answer:
//
//	nil                            200, with the reply as a CloudEvent if there is one, otherwise without a body
//	[Unprocessable] (422)          never to be delivered again; the reason reaches the dead letter
//	[Unavailable] (503)            to be delivered again later
//	another *cehttp.Result         its status and its text
//	any other error                500 and its text
type Handler func(ctx context.Context, event cloudevents.Event) (*cloudevents.Event, protocol.Result)

// Unprocessable says that the event can never be handled, in one line. Knative does not retry a 422
// (kncloudevents.SelectiveRetry).
func Unprocessable(format string, args ...any) protocol.Result {
	return cehttp.NewResult(http.StatusUnprocessableEntity, format, args...)
}

// Unavailable says that the event is to be delivered again later.
func Unavailable(format string, args ...any) protocol.Result {
	return cehttp.NewResult(http.StatusServiceUnavailable, format, args...)
}

var (
	eventsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "synchronizer_function_events_total",
		Help: "CloudEvents received, by HTTP status of the answer.",
	}, []string{"code"})
	eventSeconds = promauto.NewHistogram(prometheus.HistogramOpts{
		Name:    "synchronizer_function_event_duration_seconds",
		Help:    "Time from an event's arrival to its answer, in seconds.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
	})
)

// Events makes an HTTP handler of an event handler, for both content modes of the CloudEvents HTTP
// binding. If a request is not a CloudEvent, the answer is 4xx with the reason as text. So is one to what
// the SDK would take for another event: an attribute or a header that is there twice, attributes that are not
// Unicode, numbers that are not whole, what the JSON format does not allow. Data is the handler's to check. The body of
// a 2xx is empty or a CloudEvent: Knative's broker takes anything else for a failed delivery. A
// panic in the handler is answered with 500 and logged. With $OIDC_AUDIENCE, every request is
// authenticated before its body is read; see [SenderSettings].
func Events(handle Handler, options ...EventsOption) (http.Handler, error) {
	verify, err := newVerifier()
	if err != nil {
		return nil, err
	}
	return events(handle, verify, options...), nil
}

func events(handle Handler, verify *verifier, options ...EventsOption) http.Handler {
	settings := eventsSettings{maxBody: MaxBody}
	for _, o := range options {
		o(&settings)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		event, refusal := receive(w, r, verify, settings)
		eventType := ""
		var reply *cloudevents.Event
		var result protocol.Result = refusal
		if event != nil {
			eventType = event.Type()
			reply, result = guarded(r.Context(), handle, *event)
		}
		code := answer(r.Context(), w, reply, result)
		if event == nil || code >= 300 {
			logging.FromContext(r.Context()).Warnw("Event not accepted", zap.Int("code", code),
				zap.Error(result), zap.String("id", idOf(event)), zap.String("type", eventType))
		}
		// Not by the type of the event: senders choose it, and could make any number of metrics.
		eventsTotal.WithLabelValues(fmt.Sprint(code)).Inc()
		eventSeconds.Observe(time.Since(start).Seconds())
	})
}

func idOf(event *cloudevents.Event) string {
	if event == nil {
		return ""
	}
	return event.ID()
}

// receive reads the event from the request, or says why it cannot.
func receive(w http.ResponseWriter, r *http.Request, verify *verifier, settings eventsSettings) (*cloudevents.Event, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, cehttp.NewResult(http.StatusMethodNotAllowed, "method %s: expected POST with a CloudEvent", r.Method)
	}
	if verify != nil {
		if err := verify.check(r, settings.senders); err != nil {
			if err.code == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			return nil, cehttp.NewResult(err.code, "%s", err.reason)
		}
	}
	body, err := Body(w, r, settings.maxBody)
	if refused := (*BodyError)(nil); errors.As(err, &refused) {
		return nil, cehttp.NewResult(refused.Code, "%s", refused.Reason)
	}
	if body, err = form(r.Header, body, settings.lenient); err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	event, err := decode(r)
	if errors.Is(err, binding.ErrUnknownEncoding) {
		return nil, cehttp.NewResult(http.StatusBadRequest, "not a CloudEvent: expected the headers ce-specversion, ce-id, ce-source and ce-type, or content-type application/cloudevents+json")
	}
	if err != nil {
		return nil, cehttp.NewResult(http.StatusBadRequest, "not a CloudEvent: %s", oneLine(err))
	}
	if err := event.Validate(); err != nil {
		return nil, cehttp.NewResult(http.StatusBadRequest, "not a valid CloudEvent: %s", oneLine(err))
	}
	return event, nil
}

// decode makes an event of the request. The SDK panics on a header that is only its prefix, "ce-".
func decode(r *http.Request) (event *cloudevents.Event, err error) {
	defer func() {
		if p := recover(); p != nil {
			event, err = nil, fmt.Errorf("%v", p)
		}
	}()
	return cloudevents.NewEventFromHTTPRequest(r)
}

// maxAnswer is how long the text of an answer may be, in bytes. Knative 0.50 keeps 1024 characters of
// the base64 of it for a dead letter, and its dispatcher panics on more than the 768 bytes of that.
const maxAnswer = 767

// shorten cuts a reason to what fits into an answer, without splitting a character.
func shorten(reason string) string {
	const more = " ..."
	if len(reason) < maxAnswer { // http.Error adds a line break.
		return reason
	}
	return strings.ToValidUTF8(reason[:maxAnswer-1-len(more)], "") + more
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// guarded calls the handler and makes a panic an error.
func guarded(ctx context.Context, handle Handler, event cloudevents.Event) (reply *cloudevents.Event, result protocol.Result) {
	defer func() {
		if p := recover(); p != nil {
			logging.FromContext(ctx).Errorw("Handler panicked", zap.Any("panic", p), zap.String("id", event.ID()), zap.ByteString("stack", debug.Stack()))
			reply, result = nil, cehttp.NewResult(http.StatusInternalServerError, "internal error, see the log")
		}
	}()
	return handle(ctx, event)
}

// answer writes the result and returns its status.
func answer(ctx context.Context, w http.ResponseWriter, reply *cloudevents.Event, result protocol.Result) int {
	code, reason := http.StatusOK, ""
	var status *cehttp.Result
	switch {
	case result == nil:
	case errors.As(result, &status):
		code, reason = status.StatusCode, fmt.Errorf(status.Format, status.Args...).Error()
		if code < 200 || code > 599 {
			code, reason = http.StatusInternalServerError, result.Error()
		}
	case !protocol.IsACK(result):
		code, reason = http.StatusInternalServerError, result.Error()
	}
	if code >= 300 {
		http.Error(w, shorten(reason), code)
		return code
	}
	if reply == nil || reply.Context == nil {
		w.WriteHeader(code)
		return code
	}
	// A broker refuses a reply without these two.
	if reply.ID() == "" {
		reply.SetID(uuid.NewString())
	}
	if reply.Time().IsZero() {
		reply.SetTime(time.Now())
	}
	if err := reply.Validate(); err != nil {
		logging.FromContext(ctx).Errorw("Reply is not a valid CloudEvent and was left out", zap.Error(err))
		w.WriteHeader(code)
		return code
	}
	if err := cehttp.WriteResponseWriter(ctx, binding.ToMessage(reply), code, w); err != nil {
		// The sender is gone, or the connection broke: the sender will try again.
		logging.FromContext(ctx).Warnw("Reply could not be written", zap.Error(err))
	}
	return code
}
