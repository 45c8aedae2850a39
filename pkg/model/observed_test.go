package model_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// TestObserve reports about a box, which has no status before.
func TestObserve(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	boxes, before := model.For[*Box](c), save(t, c, box(t, "a"))
	observe := func(change func(*BoxObserved)) (*Box, model.Operation, error) {
		return boxes.Observe(t.Context(), before.Namespace, "a", func(b *Box) error { change(&b.Status.Observed); return nil })
	}
	for _, want := range []model.Operation{model.Updated, model.Unchanged} {
		b, op, err := observe(func(o *BoxObserved) { o.Place = "attic" })
		if err != nil || op != want || b.Status.Observed.Place != "attic" || b.Status.ObservedRevision != 1 {
			t.Errorf("want %s, got %s, %+v, %v", want, op, b, err)
		}
	}
	together(8, func(i int) {
		for {
			_, _, err := observe(func(o *BoxObserved) { o.Marks = map[string]string{fmt.Sprint(i): "x"} })
			if err == nil {
				return
			}
			if !apierrors.IsConflict(err) { // One that others overtake again and again has to come again.
				t.Error(err)
				return
			}
		}
	})
	b, op, err := observe(func(*BoxObserved) {})
	if err != nil || op != model.Unchanged || b.Status.ObservedRevision != 9 || b.Generation != before.Generation {
		t.Errorf("each report counts once, and none changes the spec, got %s, %+v, %v", op, b, err)
	}
	_, _, err = observe(func(o *BoxObserved) { o.Place = strings.Repeat("x", 4<<20) })
	if !apierrors.IsRequestEntityTooLargeError(err) || !strings.Contains(err.Error(), "status.observed of Box "+before.Namespace+"/a") {
		t.Errorf("a report that is too large is refused, with the name of the object, got %.300v", err)
	}
	_, _, err = boxes.Observe(t.Context(), before.Namespace, "b", func(*Box) error { return nil })
	if !apierrors.IsNotFound(err) {
		t.Errorf("want NotFound for no object, got %v", err)
	}
}

// TestFollowTogether makes a box of events that come at the same time, from new to old.
func TestFollowTogether(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	boxes, start := model.For[*Box](c), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const n = 8
	together(n, func(i int) {
		event := model.Occurrence{Stream: "moved", ID: fmt.Sprint(i), Time: start.Add(time.Duration(i) * time.Nanosecond * 1500)}
		// A run that others overtake too often is done again, as a broker does.
		for err := error(nil); ; {
			_, _, err = boxes.Follow(t.Context(), namespaceOf(t), "a", event, func(b *Box) error {
				b.Spec.Size = i
				b.Status.Observed.Place = fmt.Sprint(i)
				return nil
			})
			if err == nil {
				return
			}
			if !strings.Contains(err.Error(), "changed by others") && !apierrors.IsConflict(err) {
				t.Error(err)
				return
			}
		}
	})
	b, err := boxes.Get(t.Context(), namespaceOf(t), "a")
	if err != nil || b.Spec.Size != n-1 || b.Status.Observed.Place != fmt.Sprint(n-1) {
		t.Errorf("the newest event counts, got %+v, %v", b, err)
	}
	if last := b.Status.LastEvents; len(last) != 1 || last[0].Stream != "moved" || last[0].Events[len(last[0].Events)-1] != fmt.Sprint(n-1) {
		t.Errorf("it is remembered, got %+v", last)
	}
}
