package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/uuid"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/deadletter/envelope"
	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// storing is how long it may take to store one event.
const storing = 20 * time.Second

// maxEvent is the largest event that is taken, in bytes. It is far more than an object can hold: of
// such an event it must at least be known that it was there.
const maxEvent = 16 << 20

// annotationFailed is an annotation of a letter. It changes when the event fails once more while its replay
// is asked for: it may be the replay that has failed.
const annotationFailed = "core.xos-knative.dev/failed-during-replay"

// Letters stores what could not be delivered.
type Letters struct {
	models *model.Client
	limits *limits
}

type namespaceKey struct{}

// HTTP serves /letters/NAMESPACE. The answer to any other path says that this is expected.
func (l Letters) HTTP() (http.Handler, error) {
	events, err := function.Events(l.handle, function.WithMaxBody(maxEvent), function.WithSenders(ownAccount), function.WithLeniency())
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/letters/{namespace}", func(w http.ResponseWriter, r *http.Request) {
		events.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), namespaceKey{}, r.PathValue("namespace"))))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, fmt.Sprintf("path: expected /letters/NAMESPACE, with the namespace that is to keep the dead letter, got %q", r.URL.Path), http.StatusNotFound)
	})
	return mux, nil
}

// ownAccount lets only accounts of a namespace store dead letters in it, where senders have to say
// who they are: those of its Brokers and Triggers, whatever synchronizer they belong to.
func ownAccount(r *http.Request, subject string) bool {
	return strings.HasPrefix(subject, "system:serviceaccount:"+r.PathValue("namespace")+":")
}

// handle checks the namespace of the path and stores the event there.
func (l Letters) handle(ctx context.Context, event cloudevents.Event) (*cloudevents.Event, protocol.Result) {
	namespace, _ := ctx.Value(namespaceKey{}).(string)
	if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
		return nil, cehttp.NewResult(http.StatusBadRequest, "path: expected /letters/NAMESPACE, got the namespace %q: %s", namespace, strings.Join(problems, "; "))
	}
	return nil, l.Keep(ctx, namespace, event)
}

// Keep stores the event in the namespace. If that fails, the result is 503, so that the event comes
// again: behind this function there is no other that could keep it.
func (l Letters) Keep(ctx context.Context, namespace string, event cloudevents.Event) protocol.Result {
	// The sender may have given up, and this may have been its last attempt.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storing)
	defer cancel()
	letter := envelope.Of(event)
	letter.Namespace = namespace
	if err := l.limits.Wait(ctx, letter); err != nil {
		return function.Unavailable("namespace %s: %s", namespace, err)
	}
	stored, op, err := l.store(ctx, letter)
	if apierrors.IsForbidden(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return function.Unavailable("namespace %s: expected a RoleBinding to ClusterRole synchronizer-deadletter there: %s", namespace, err)
	}
	if err != nil {
		return function.Unavailable("namespace %s: the dead letter could not be stored: %s", namespace, err)
	}
	logging.FromContext(ctx).Warnw("Dead letter "+string(op), zap.String("namespace", namespace), zap.String("name", letter.Name),
		zap.String("id", event.ID()), zap.String("source", event.Source()), zap.String("type", event.Type()),
		zap.String("destination", letter.Spec.Destination), zap.Int32("code", letter.Spec.Code), zap.String("reason", letter.Spec.Reason))
	if op == model.Created {
		l.limits.record(stored, corev1.EventTypeWarning, reasonStored, actionStore, "%s %s from %s could not be delivered (HTTP %d): %s",
			event.Type(), event.ID(), event.Source(), letter.Spec.Code, letter.Spec.Reason)
		l.limits.Stored(ctx, letter)
	}
	return nil
}

// store creates the object. One that is there is of the same event, which has failed again or was
// delivered twice: its code and reason are brought up to date; what a human may have corrected in
// it stays, and so does the wish to replay it.
func (l Letters) store(ctx context.Context, letter *v1alpha1.DeadLetter) (*v1alpha1.DeadLetter, model.Operation, error) {
	letters := model.For[*v1alpha1.DeadLetter](l.models)
	return letters.CreateOrModify(ctx, letter.Namespace, letter.Name, func(live *v1alpha1.DeadLetter) error {
		if live.UID == "" {
			live.Annotations, live.Spec = letter.Annotations, letter.Spec
			return nil
		}
		if !live.DeletionTimestamp.IsZero() {
			return fmt.Errorf("DeadLetter %s of the same event is being deleted", letter.Name)
		}
		live.Spec.Code, live.Spec.Reason = letter.Spec.Code, letter.Spec.Reason
		if live.Spec.Replay {
			metav1.SetMetaDataAnnotation(&live.ObjectMeta, annotationFailed, uuid.NewString())
		}
		return nil
	})
}

// refused reports whether a status says that sending the same again is of no use. Knative's
// SelectiveRetry tries 404 and 409 again, a few times; a replay is tried forever, and a destination
// that is gone does not come back.
func refused(code int) bool {
	return code < 500 && code != http.StatusRequestTimeout && code != http.StatusTooManyRequests
}
