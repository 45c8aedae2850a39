package step

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/clock"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// AnnotationLastEvents, on an object, says of which events it was made last: see [InOrder].
const AnnotationLastEvents = "synchronizer.xos-knative.dev/last-events"

const (
	// remembered is how many events an object remembers.
	remembered = 8
	// maxAhead is how far the clock of a sender may be ahead.
	maxAhead = time.Minute
)

// InOrder calls change, which makes an object as the event says, unless the object was made of a newer
// event, or of this one. Then it leaves the object as it is and returns nil. It remembers the event on
// the object, in [AnnotationLastEvents]. So it is called with the object that [model.Models.Modify] or
// [model.Models.CreateOrModify] hands out:
//
//	books.CreateOrModify(ctx, namespace, name, func(b *v1alpha1.Book) error {
//		return step.InOrder(ctx, event, b, func() error {
//			b.Spec.Title = data.Title
//			return nil
//		})
//	})
//
// This is what the handler then promises:
//
//   - Events count in the order of their attribute time. One that is older than the newest of an object
//     changes nothing, and is answered like one that has nothing new. Events of the same time count in the
//     order in which they arrive. The clocks of those who send events about one object must agree.
//   - An event without a time counts when it arrives. So does one whose time is more than a minute ahead:
//     it would hold off all others until then.
//   - A repeated event changes nothing: one with source, id and data of one of the last 8 events that
//     changed the object.
//   - What others write to the object has no place in this order: the next event that counts overwrites it.
//   - The memory is that of the object. After a deletion every event makes the object again, also an old
//     or a repeated one. So it is if somebody removes the annotation.
func InOrder(ctx context.Context, event cloudevents.Event, obj model.Object, change func() error) error {
	last, at, id := lastEventsOf(obj), timeOf(ctx, event), identity(event)
	if slices.Contains(last.Events, id) || !at.IsZero() && at.Before(last.Time) {
		logging.FromContext(ctx).Infow("The event is late or repeated: nothing is changed", zap.String("name", obj.GetName()), zap.Time("time", event.Time()))
		return nil
	}
	before := obj.DeepCopyObject()
	if err := change(); err != nil {
		return err
	}
	isNewer := at.After(last.Time)
	if !isNewer && equality.Semantic.DeepEqual(before, obj) {
		return nil
	}
	if isNewer {
		last.Time = at
	}
	last.Events = append(last.Events, id)
	last.Events = last.Events[max(0, len(last.Events)-remembered):]
	raw, err := json.Marshal(last)
	if err != nil {
		return fmt.Errorf("annotation %s: %w", AnnotationLastEvents, err)
	}
	annotations := maps.Clone(obj.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[AnnotationLastEvents] = string(raw)
	obj.SetAnnotations(annotations)
	return nil
}

// lastEvents is the value of [AnnotationLastEvents].
type lastEvents struct {
	// Time of the newest event, zero if none had one.
	Time time.Time `json:"time,omitzero"`
	// Events by their identity, the last one at the end.
	Events []string `json:"events"`
}

// lastEventsOf is empty if somebody has written something else into the annotation.
func lastEventsOf(obj model.Object) (last lastEvents) {
	if err := json.Unmarshal([]byte(obj.GetAnnotations()[AnnotationLastEvents]), &last); err != nil {
		return lastEvents{}
	}
	return last
}

// identity is the same for an event that is delivered again. Source and id alone would do if all senders
// kept to the rule that no two events have the same.
func identity(event cloudevents.Event) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %s", event.Source(), event.ID(), event.Data()))
	return hex.EncodeToString(sum[:8])
}

// timeOf is the time by which the event counts, zero if that is when it arrives.
func timeOf(ctx context.Context, event cloudevents.Event) time.Time {
	now := clock.PassiveClock(clock.RealClock{})
	if c, ok := ctx.Value(clockKey{}).(clock.PassiveClock); ok {
		now = c
	}
	if event.Time().After(now.Now().Add(maxAhead)) {
		return time.Time{}
	}
	return event.Time().UTC()
}

// clockKey is the key of the function's clock in the context of a handler.
type clockKey struct{}
