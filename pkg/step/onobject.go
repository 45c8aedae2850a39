package step

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"golang.org/x/text/unicode/norm"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/clock"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// maxAhead is how far the clock of a sender may be ahead.
const maxAhead = time.Minute

// Key says which object an event is about: the one that has this value in this field.
type Key struct {
	// Field of the object, like "spec.serialNumber". It must be one of the selectableFields of the
	// definition, so that the API server can find the object. An object that leaves the field empty is
	// known by its own name. No event is about a mirror, which a [Comparison] has made.
	Field string
	// Value in the field. The normal forms of Unicode are one value.
	Value string
}

// ObjectHandler is an event step for events that are each about one object (XOS: an event step). E is the
// event's data, decoded as for an [EventHandler].
//
// If there is no such object, one is made. What Apply does to it is stored, the feedback in its
// Status.Observed too. The engine promises this about late and repeated events:
//
//   - Events of one registration count in the order of their attribute time. One that is older than the
//     newest that an object was made of changes nothing. Events of the same time count in the order in
//     which they arrive. The clocks of those who send events about one object must agree.
//   - An event without a time counts when it arrives. So does one whose time is more than a minute ahead:
//     it would hold off all others until then.
//   - A repeated event changes nothing: one with source, id and data of one of the last 8 events that
//     changed the object.
//   - What others write to the object has no place in this order: the next event that counts overwrites it.
//   - The memory is status.lastEvents of the object. After a deletion every event makes the object again,
//     also an old or a repeated one.
//
// Events of different registrations do not overtake each other: if an announcement and an authentication
// have a handler each, both count, in whatever order they come.
type ObjectHandler[T model.Object, E any] interface {
	// Key says which object the event is about.
	Key(data E) Key
	// Apply makes the object as the event says. An object without a UID is to be created; Apply must set
	// the field of the key. After [ErrIgnore] nothing is written. Apply is called several times for one
	// event, so it must come to the same result when it gets what it has made itself. An event that has no
	// time has that of its arrival here.
	Apply(ctx context.Context, event cloudevents.Event, data E, obj T) error
}

// envNamespace is the setting that has the namespace of a function and of its models.
const envNamespace = "NAMESPACE"

// OnObject registers the handler for events of these types, about objects in a namespace. If that is empty it
// is $NAMESPACE, where the function is.
func OnObject[T model.Object, E any](namespace string, handler ObjectHandler[T, E], types ...string) Registration {
	return Registration{about: aboutKind[T]([]string{"patch"}, "get", "list", "create", "patch"), handler: func(models *model.Client) *eventHandler {
		namespace := cmp.Or(namespace, os.Getenv(envNamespace))
		o := &onObject[T, E]{handler, model.For[T](models), namespace, strings.Join(types[:min(1, len(types))], "")}
		h := On(o, types...).handler(models)
		if namespace == "" {
			h.err = errors.New("event step: namespace (or $NAMESPACE): expected it to be set")
		}
		return h
	}}
}

type onObject[T model.Object, E any] struct {
	ObjectHandler[T, E]
	models    model.Models[T]
	namespace string
	// stream is the first type of the registration.
	stream string
}

// errTaken says that there is an object of the name, which the event is not about.
var errTaken = errors.New("which is there already")

// HandleEvent implements [EventHandler].
func (o *onObject[T, E]) HandleEvent(ctx context.Context, event cloudevents.Event, data E) (EventResult, error) {
	k, err := o.models.Kind(ctx)
	if err != nil {
		return EventResult{}, err
	}
	kind, key := k.GVK.Kind, o.Key(data)
	occurrence := o.occurrence(ctx, event)
	if event.Time().IsZero() {
		event = event.Clone()
		event.SetTime(nowIn(ctx)) // Once, so that all calls of Apply get the same.
	}
	name, err := o.find(ctx, kind, key)
	if err != nil {
		return EventResult{}, err
	}
	names := []string{name}
	if name == "" {
		if name, err = model.ObjectName(kind, key.Value); err != nil {
			return EventResult{}, Permanent(fmt.Errorf("%s: %w", key.Field, err))
		}
		names = []string{name, model.DistinctName(kind, key.Value)}
	}
	result := EventResult{Kind: kind, Namespace: o.namespace}
	for _, result.Name = range names {
		_, result.Operation, err = o.models.Follow(ctx, o.namespace, result.Name, occurrence, func(obj T) error {
			switch {
			case obj.GetUID() == "":
			case !o.isAbout(obj, key):
				return fmt.Errorf("%s: %q would be the %s %s, %w and is %q: expected another value", key.Field, key.Value, kind, result.Name, errTaken, valueOf(obj, key.Field))
			case obj.GetDeletionTimestamp() != nil:
				// A change would be deleted with it.
				return fmt.Errorf("%s %s/%s is being deleted: the event has to wait until it is gone", kind, o.namespace, result.Name)
			}
			return o.Apply(ctx, event, data, obj)
		})
		if !errors.Is(err, errTaken) {
			break
		}
	}
	switch {
	case errors.Is(err, ErrIgnore):
		result.Operation = model.Unchanged
	case errors.Is(err, errTaken) && len(names) > 1:
		return EventResult{}, Permanent(err)
	case err != nil:
		return EventResult{}, err
	}
	return result, nil
}

// find finds the name of the object that the key is about, empty if there is none.
func (o *onObject[T, E]) find(ctx context.Context, kind string, key Key) (string, error) {
	var found []string
	look := func(obj T) error {
		if o.isAbout(obj, key) {
			found = append(found, obj.GetName())
		}
		return nil
	}
	for form := range sets.New(key.Value, norm.NFC.String(key.Value), norm.NFD.String(key.Value)) {
		err := o.models.Each(ctx, o.namespace, model.Filter{Fields: fields.OneTermEqualSelector(key.Field, form)}, look)
		if apierrors.IsBadRequest(err) {
			return "", fmt.Errorf("%s: expected one of the selectableFields in the definition of %s: %w", key.Field, kind, err)
		}
		if err != nil {
			return "", err
		}
	}
	if len(validation.IsDNS1123Subdomain(key.Value)) == 0 {
		obj, err := o.models.Get(ctx, o.namespace, key.Value)
		if err == nil && !slices.Contains(found, key.Value) {
			err = look(obj)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return "", err
		}
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	}
	return "", Permanent(fmt.Errorf("%s: expected one %s with %q, got %d, %s and %s among them", key.Field, kind, key.Value, len(found), found[0], found[1]))
}

// isAbout reports whether an event with this key is about the object.
func (o *onObject[T, E]) isAbout(obj T, key Key) bool {
	return norm.NFC.String(valueOf(obj, key.Field)) == norm.NFC.String(key.Value) && !model.Mirrors(obj)
}

// valueOf is what the object has in the field, or its name.
func valueOf(obj model.Object, field string) string {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return obj.GetName()
	}
	if value, _, _ := unstructured.NestedString(content, strings.Split(field, ".")...); value != "" {
		return value
	}
	return obj.GetName()
}

// occurrence is the event's place in the order. Source and id alone would do for the identity if all senders
// kept to the rule that no two events have the same.
func (o *onObject[T, E]) occurrence(ctx context.Context, event cloudevents.Event) model.Occurrence {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %s", event.Source(), event.ID(), event.Data()))
	at := event.Time()
	if at.After(nowIn(ctx).Add(maxAhead)) {
		at = time.Time{}
	}
	return model.Occurrence{Stream: o.stream, ID: hex.EncodeToString(sum[:8]), Time: at.UTC()}
}

func nowIn(ctx context.Context) time.Time {
	if c, ok := ctx.Value(clockKey{}).(clock.PassiveClock); ok {
		return c.Now()
	}
	return time.Now()
}

// clockKey is the key of the function's clock in the context of a handler.
type clockKey struct{}
