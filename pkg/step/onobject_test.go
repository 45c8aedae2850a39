package step_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// notice is an event about a book.
type notice struct {
	Name  string `json:"name"`
	Title string `json:"title,omitempty"`
	Place string `json:"place,omitempty"`
	Lent  int32  `json:"lent,omitempty"`
	Field string `json:"field,omitempty"`
}

// notices makes books of notices. A book that is not titled in a notice is not made.
type notices struct{}

func (notices) Key(n notice) step.Key {
	if n.Field != "" {
		return step.Key{Field: n.Field, Value: n.Name}
	}
	return step.Key{Field: "spec.name", Value: n.Name}
}

func (notices) Apply(_ context.Context, _ cloudevents.Event, n notice, b *book) error {
	if b.UID == "" && n.Title == "" {
		return step.ErrIgnore
	}
	if b.UID == "" {
		b.Spec.Name, b.Spec.Shelf = n.Name, &v1alpha1.ShelfReference{Name: "fiction"}
	}
	if n.Title != "" {
		b.Spec.Title = n.Title
	}
	if n.Place != "" {
		b.Status.Observed.Place = n.Place
	}
	if n.Lent != 0 {
		b.Status.Observed.Lent = n.Lent
	}
	return nil
}

// told is a notice of a type, some seconds after the start of the world.
func told(eventType string, seconds int, data string) cloudevents.Event {
	event := steptest.Event(eventType, data)
	event.SetID(fmt.Sprint(eventType, seconds, data))
	event.SetTime(steptest.Start.Add(time.Duration(seconds) * time.Second))
	return event
}

// newNoticed has the book dune, "a", on its shelf, both Ready, and event steps for notices.
func newNoticed(t *testing.T) *reporting {
	t.Helper()
	r := newReporting(t)
	r.start(step.Sync(r.fixture), step.Sync(shelfSyncer{r.fixture}), step.Policies[*book](step.PolicyFuncs[*book]{OnCreate: r.apply, OnUpdate: r.apply}),
		step.OnObject(r.Namespace, notices{}, "titled"), step.OnObject(r.Namespace, notices{}, "lent"))
	steptest.Change(r.World, "a", func(b *book) { b.Spec.Name = "Dune" })
	r.Settle()
	r.takeCalls()
	return r
}

func TestOnObject(t *testing.T) {
	emma := told("titled", -30, `{"name":"Emma","title":"Emma","place":"desk"}`)
	tests := map[string]struct {
		reason string
		events []cloudevents.Event
		name   string
		want   string // The last answer, then title, place and how often it was lent.
		calls  string
	}{
		"New": {"A book is made, with what is reported of it, which wakes its steps", []cloudevents.Event{emma},
			"emma", `created Emma desk 0`, `policy "desk", sync Emma`},
		"Again":    {"Once", []cloudevents.Event{emma, emma}, "emma", `unchanged Emma desk 0`, `policy "desk", sync Emma`},
		"Feedback": {"What is only reported wakes the policy, and not the sync", []cloudevents.Event{told("lent", -30, `{"name":"Dune","lent":1}`)}, "a", `updated Dune  1`, `policy ""`},
		"Repeated": {"A repeated one wakes nobody", []cloudevents.Event{told("lent", -30, `{"name":"Dune","lent":1}`), told("lent", -20, `{"name":"Dune","lent":2}`), told("lent", -30, `{"name":"Dune","lent":1}`)},
			"a", `unchanged Dune  2`, `policy ""`},
		"Late": {"Nor does a late one", []cloudevents.Event{told("lent", -20, `{"name":"Dune","lent":2}`), told("lent", -30, `{"name":"Dune","lent":1}`)}, "a", `unchanged Dune  2`, `policy ""`},
		"Other": {"Events of another registration are not late", []cloudevents.Event{told("lent", -20, `{"name":"Dune","lent":2}`), told("titled", -30, `{"name":"Dune","title":"Messiah"}`)},
			"a", `updated Messiah  2`, `policy "", sync Messiah`},
		"Ignored": {"Nothing is made of an event that the step does not want", []cloudevents.Event{told("lent", -20, `{"name":"Emma","lent":1}`)}, "emma", `unchanged gone`, ``},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newNoticed(t)
			var a steptest.Answer
			for _, event := range tt.events {
				if a = r.Send(event); a.Code != http.StatusOK {
					t.Fatalf("%s: want 200, got %d: %s", tt.reason, a.Code, a.Body)
				}
			}
			var result step.EventResult
			if err := a.Reply.DataAs(&result); err != nil || result.Name != tt.name {
				t.Errorf("%s: want a reply about %s, got %+v, %v", tt.reason, tt.name, result, err)
			}
			r.Settle()
			got := string(result.Operation) + " gone"
			if b, ok := steptest.Get[*book](r.World, tt.name); ok {
				got = fmt.Sprint(result.Operation, " ", b.Spec.Title, " ", b.Status.Observed.Place, " ", b.Status.Observed.Lent)
			}
			if got != tt.want {
				t.Errorf("%s: want %s, got %s", tt.reason, tt.want, got)
			}
			r.wantCalls(tt.calls)
		})
	}
}

// TestOvertakingEvents has an older event that comes while a newer one is handled: between any two of its
// requests to the API.
func TestOvertakingEvents(t *testing.T) {
	t.Parallel()
	older, newer := `{"name":"Dune","title":"Older","place":"older"}`, `{"name":"Dune","title":"Newer","place":"newer"}`
	for i := range 20 {
		r := newNoticed(t)
		requests := 0
		r.before = func(*http.Request) error {
			if requests++; requests != i+1 {
				return nil
			}
			if a := r.Send(told("titled", -30, older)); a.Code != http.StatusOK {
				t.Errorf("want 200, got %d: %s", a.Code, a.Body)
			}
			return nil
		}
		if a := r.Send(told("titled", -20, newer)); a.Code != http.StatusOK {
			t.Errorf("want 200, got %d: %s", a.Code, a.Body)
		}
		r.before = nil
		b, _ := steptest.Get[*book](r.World, "a")
		if got := b.Spec.Title + " " + b.Status.Observed.Place; got != "Newer newer" {
			t.Errorf("the older one comes before request %d of the newer: got %s", i+1, got)
		}
		if requests <= i {
			if i < 3 {
				t.Errorf("want the handling of an event to be interrupted 3 times at least, got %d", i)
			}
			return
		}
	}
	t.Error("the handling of one event makes 20 requests")
}

// TestEventKeys has keys that cannot be.
func TestEventKeys(t *testing.T) {
	t.Parallel()
	r := newNoticed(t)
	for what, tt := range map[string]struct {
		data string
		want string
	}{
		"Field": {`{"name":"Dune","field":"spec.title","title":"T"}`, "spec.title: expected one of the selectableFields in the definition of Book"},
		"Blank": {`{"name":" ","title":"T"}`, "spec.name: "},
		"Spec":  {`{"name":"Blank","title":" "}`, "must not be blank"},
	} {
		if a := r.Send(told("titled", -30, tt.data)); a.Code != http.StatusUnprocessableEntity || !strings.Contains(a.Body, tt.want) {
			t.Errorf("%s: want 422 about %q, got %d: %s", what, tt.want, a.Code, a.Body)
		}
	}
	if all := steptest.List[*book](r.World); len(all) != 1 {
		t.Errorf("want nothing to be made of them, got %d books", len(all))
	}
}

// TestFollow has more events than an object remembers, each sent twice.
func TestFollow(t *testing.T) {
	t.Parallel()
	r := newNoticed(t)
	for i := range 24 {
		event := steptest.Event("lent", fmt.Sprintf(`{"name":"Dune","lent":%d}`, i/2+1))
		event.SetID(fmt.Sprint(i / 2))
		event.Context.(*cloudevents.EventContextV1).Time = nil
		if a := r.Send(event); a.Code != http.StatusOK {
			t.Fatalf("want 200, got %d: %s", a.Code, a.Body)
		}
	}
	b, _ := steptest.Get[*book](r.World, "a")
	if b.Status.Observed.Lent != 12 || b.Status.ObservedRevision != 12 {
		t.Errorf("each event changes the object once: got %+v", b.Status)
	}
	if last := b.Status.LastEvents; len(last) != 1 || last[0].Stream != "lent" || len(last[0].Events) != 8 {
		t.Errorf("the memory has an end: got %+v", last)
	}
}
