package model

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// remembered is how many events of a stream an object remembers.
	remembered = 8
	// maxFollows is how often events about one object can overtake each other before one comes again.
	maxFollows = 5
)

// Occurrence is an event, as far as its place among the events about an object goes.
type Occurrence struct {
	// Stream has one order. Events of different streams do not overtake each other.
	Stream string
	// ID is the same for an event that is delivered again.
	ID string
	// Time says which event is newer; zero for one that counts when it arrives.
	Time time.Time
}

// LastEvents says of which events of a stream an object was made last.
//
// +kubebuilder:object:generate=true
type LastEvents struct {
	// The stream: the first type of events that the event step is for.
	Stream string `json:"stream"`
	// Time of the newest event, if one had a time.
	// +optional
	Time *metav1.MicroTime `json:"time,omitempty"`
	// The last events that changed the object, each by a digest of its source, id and data.
	// +optional
	// +listType=atomic
	Events []string `json:"events,omitempty"`
}

// Follow makes an object as an event says, which change does to its spec and to its feedback, in the
// field Status.Observed. If there is no such object it is created, as [Models.CreateOrModify] does. The
// event is remembered in the status. It changes nothing if the object was made of a newer event of its
// stream, or of this one.
//
// Change is called several times, and must come to the same result each time that it gets the same
// object, or one that it has changed before. It is also called for an object that is being deleted.
//
// [Unchanged] is returned if the event was late, repeated, or has said nothing new.
func (m Models[T]) Follow(ctx context.Context, namespace, name string, e Occurrence, change func(T) error) (T, Operation, error) {
	var none T
	k, err := m.Kind(ctx)
	if err != nil {
		return none, "", err
	}
	e.Time = e.Time.Truncate(time.Microsecond) // As it is stored.
	op, stored := Unchanged, false
	for range maxFollows {
		counts := true
		u, did, err := m.client.modify(ctx, k, namespace, name, true, func(u *unstructured.Unstructured) error {
			if u.GetUID() != "" {
				s, err := k.SnapshotOf(u)
				if err != nil {
					return err
				}
				if counts = e.counts(s.Status.LastEvents, stored); !counts {
					return nil
				}
			}
			return overlay(u, edit(change))
		})
		if err != nil {
			return none, "", err
		}
		if op != Created && did != Unchanged {
			op = did
		}
		// The spec and the status are two writes. An older event can come in between, so the spec is
		// looked at again after the status says that it would be late.
		if !counts || stored && did == Unchanged {
			t, err := Typed[T](u)
			return t, op, err
		}
		_, reported, err := m.report(ctx, k, u, func(s *Snapshot, t T) error {
			if counts = e.counts(s.Status.LastEvents, stored); !counts {
				return nil
			}
			return change(t)
		}, func(s *Snapshot, reported bool) ([]operation, error) {
			if !counts {
				return nil, nil
			}
			return e.remember(s.Status.LastEvents, reported || op != Unchanged)
		})
		if err != nil {
			return none, "", fmt.Errorf("storing the status of %s %s/%s: %w", k.GVK.Kind, namespace, name, m.client.explain(ctx, k, err))
		}
		if op == Unchanged && reported {
			op = Updated
		}
		stored = true
	}
	return none, "", fmt.Errorf("%s %s/%s was changed by others %d times in a row", k.GVK.Kind, namespace, name, maxFollows)
}

// counts reports whether the event is neither late nor repeated. Again is for an event that is remembered
// already: it counts as long as it is the last one.
func (e Occurrence) counts(all []LastEvents, again bool) bool {
	i := slices.IndexFunc(all, func(l LastEvents) bool { return l.Stream == e.Stream })
	if i < 0 {
		return true
	}
	last := all[i]
	if n := len(last.Events); again && n > 0 && last.Events[n-1] == e.ID {
		return true
	}
	return !slices.Contains(last.Events, e.ID) && (e.Time.IsZero() || last.Time == nil || !e.Time.Before(last.Time.Time))
}

// remember returns the operations that store the event. One that has changed nothing is only stored if it
// is newer than those before: it makes them late.
func (e Occurrence) remember(before []LastEvents, changed bool) ([]operation, error) {
	after := slices.Clone(before)
	i := slices.IndexFunc(after, func(l LastEvents) bool { return l.Stream == e.Stream })
	if i < 0 {
		i, after = len(after), append(after, LastEvents{Stream: e.Stream})
	}
	last := &after[i]
	isNewer := !e.Time.IsZero() && (last.Time == nil || e.Time.After(last.Time.Time))
	if slices.Contains(last.Events, e.ID) || !isNewer && !changed {
		return nil, nil
	}
	if isNewer {
		last.Time = &metav1.MicroTime{Time: e.Time}
	}
	last.Events = append(slices.Clone(last.Events), e.ID)
	last.Events = last.Events[max(0, len(last.Events)-remembered):]
	var lists [2]any // As they are in the object.
	for i, l := range [][]LastEvents{before, after} {
		status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&Status{LastEvents: l})
		if err != nil {
			return nil, err
		}
		lists[i] = status["lastEvents"]
	}
	return []operation{test("/status/lastEvents", lists[0]), add("/status/lastEvents", lists[1])}, nil
}
