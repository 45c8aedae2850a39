package step_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

// reporting is a fixture whose policy can be told what to do, too.
type reporting struct {
	*fixture
	policy func(ctx context.Context, obj *book) error
}

func (r *reporting) apply(ctx context.Context, obj *book) error {
	r.called(fmt.Sprintf("policy %q", obj.Status.Observed.Place))
	if r.policy == nil {
		return nil
	}
	return r.policy(ctx, obj)
}

// newReporting has a book on a shelf, both Ready.
func newReporting(t *testing.T) *reporting {
	t.Helper()
	r := &reporting{fixture: newFixture(t)}
	r.start(step.Sync(r.fixture), step.Sync(shelfSyncer{r.fixture}), step.Policies[*book](step.PolicyFuncs[*book]{OnCreate: r.apply, OnUpdate: r.apply}))
	save(r.fixture, r.shelf("fiction"))
	save(r.fixture, r.book("a"))
	r.Settle()
	r.takeCalls()
	r.Requests()
	return r
}

// observe reports about the book, as a pull or event step does.
func (r *reporting) observe(change func(*book)) model.Operation {
	r.Helper()
	_, op, err := model.For[*book](r.Models).Observe(r.Context(), r.Namespace, "a", func(b *book) error { change(b); return nil })
	if err != nil {
		r.Fatal(err)
	}
	return op
}

// retitle changes the spec in a step.
func (r *reporting) retitle(ctx context.Context, title string) error {
	_, _, err := model.For[*book](r.Models).Modify(ctx, r.Namespace, "a", func(b *book) error { b.Spec.Title = title; return nil })
	return err
}

func place(p string) func(*book) { return func(b *book) { b.Status.Observed.Place = p } }

// TestFeedback reports about a book in all ways, and counts whom that wakes.
func TestFeedback(t *testing.T) {
	desk := place("desk")
	tests := map[string]struct {
		reason string
		do     func(r *reporting)
		calls  string
		want   string // place, lent, revision
	}{
		"Outside": {"A pull or event step wakes the policy", func(r *reporting) { r.observe(desk) }, `policy "desk"`, "desk 0 1"},
		"Same": {"A report that says nothing new wakes nobody", func(r *reporting) {
			if op := r.observe(place("")); op != model.Unchanged {
				r.Errorf("nothing is written, got %s", op)
			}
		}, "", " 0 0"},
		"BySync": {"A sync wakes the policy, and not itself", func(r *reporting) {
			r.policy = func(_ context.Context, b *book) error { r.sync = nil; return nil }
			r.sync = func(_ context.Context, b *book) (string, error) { desk(b); return "", nil }
			steptest.Change(r.World, "a", func(b *book) { annotate(model.AnnotationRequestedAt, "now", model.AnnotationNoPolicy, "")(b) })
			r.Settle()
			steptest.Change(r.World, "a", func(b *book) { annotate(model.AnnotationRequestedAt, "now")(b) })
		}, `sync Dune, policy "desk"`, "desk 0 1"},
		"ByPolicy": {"A policy does not wake itself, and never the sync", func(r *reporting) {
			r.policy = func(_ context.Context, b *book) error { b.Status.Observed.Place += "!"; return nil }
			r.observe(desk)
		}, `policy "desk"`, "desk! 0 2"},
		"ByPolicyThroughTheClient": {"Also if it writes itself", func(r *reporting) {
			r.policy = func(ctx context.Context, b *book) error {
				_, _, err := model.For[*book](r.Models).Observe(ctx, b.Namespace, b.Name, func(b *book) error { b.Status.Observed.Place += "!"; return nil })
				return err
			}
			r.observe(desk)
		}, `policy "desk"`, "desk! 0 2"},
		"Failed": {"A report counts whatever the outcome is", func(r *reporting) {
			r.policy = func(_ context.Context, b *book) error { desk(b); panic("oops") }
			r.observe(func(b *book) { b.Status.Observed.Lent = 1 })
		}, `policy ""`, "desk 1 2"},
		"Meanwhile": {"Another report meanwhile is kept, and the policy is called for it", func(r *reporting) {
			r.policy = func(_ context.Context, b *book) error {
				r.policy = nil
				r.observe(func(b *book) { b.Status.Observed.Lent = 7 })
				desk(b)
				return nil
			}
			r.observe(func(b *book) { b.Status.Observed.Lent = 1 })
		}, `policy "", policy "desk"`, "desk 7 3"},
		"OfTheDependency": {"The kind's definition says that its sync uses what shelves report", func(r *reporting) {
			_, _, err := model.For[*shelf](r.Models).Observe(r.Context(), r.Namespace, "fiction", func(s *shelf) error { s.Status.Observed.Room = "cellar"; return nil })
			if err != nil {
				r.Fatal(err)
			}
		}, "sync Dune", " 0 0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReporting(t)
			tt.do(r)
			r.Settle()
			r.wantCalls(tt.calls)
			b, _ := steptest.Get[*book](r.World, "a")
			if o := b.Status.Observed; fmt.Sprint(o.Place, " ", o.Lent, " ", b.Status.ObservedRevision) != tt.want {
				t.Errorf("%s: want %q, got %+v, revision %d", tt.reason, tt.want, o, b.Status.ObservedRevision)
			}
			if r.Requests(); r.Settle() != 0 || len(r.Requests()) != 0 {
				t.Error("at rest there is nothing to do")
			}
		})
	}
}

// TestRefusedReport has a step report what the definition does not allow.
func TestRefusedReport(t *testing.T) {
	t.Parallel()
	r := newReporting(t)
	r.sync = func(_ context.Context, b *book) (string, error) {
		b.Status.Observed.Condition = "eaten"
		return "", nil
	}
	retitle(r.fixture)
	r.Settle()
	r.wantReady("False", "Failed", "status.observed.condition: Unsupported value: \"eaten\"")
	r.sync = nil
	r.After(time.Minute)
	r.Settle()
	r.wantReady("True", "OK", "OK")
}

// TestOwnChanges has steps change the spec of their own object.
func TestOwnChanges(t *testing.T) {
	tests := map[string]struct {
		reason string
		do     func(r *reporting)
		calls  string
	}{
		"BySync": {"A save by a sync wakes the policy, and not the sync", func(r *reporting) {
			r.sync = func(ctx context.Context, b *book) (string, error) { return "", r.retitle(ctx, "Emma") }
			steptest.Change(r.World, "a", func(b *book) { annotate(model.AnnotationRequestedAt, "now", model.AnnotationNoPolicy, "")(b) })
			r.Settle()
			steptest.Change(r.World, "a", func(b *book) { annotate(model.AnnotationRequestedAt, "now")(b) })
		}, `sync Dune, policy ""`},
		"ByPolicy": {"A save by a policy wakes the sync, and not the policy", func(r *reporting) {
			r.policy = func(ctx context.Context, b *book) error { return r.retitle(ctx, "Emma") }
			r.observe(place("desk"))
		}, `policy "desk", sync Emma`},
		"Twice": {"However often", func(r *reporting) {
			r.policy = func(ctx context.Context, b *book) error {
				return errors.Join(r.retitle(ctx, "Emma"), r.retitle(ctx, "Persuasion"))
			}
			r.observe(place("desk"))
		}, `policy "desk", sync Persuasion`},
		"Others": {"What others save meanwhile wakes it", func(r *reporting) {
			r.policy = func(ctx context.Context, b *book) error {
				r.policy = nil
				return errors.Join(r.retitle(context.WithoutCancel(r.Context()), "Ulysses"), r.retitle(ctx, "Emma"))
			}
			r.observe(place("desk"))
		}, `policy "desk", sync Emma, policy "desk"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReporting(t)
			tt.do(r)
			r.Settle()
			if got := r.takeCalls(); got != tt.calls {
				t.Errorf("%s: want calls %q, got %q", tt.reason, tt.calls, got)
			}
			r.wantReady("True", "OK", "OK")
		})
	}
}

// TestUnsettled has steps that wake each other without end.
func TestUnsettled(t *testing.T) {
	tests := map[string]func(r *reporting){
		"WithTheSync": func(r *reporting) {
			r.policy = func(ctx context.Context, b *book) error {
				return r.retitle(ctx, fmt.Sprint("Dune ", b.Status.Observed.Lent))
			}
			r.sync = func(_ context.Context, b *book) (string, error) { b.Status.Observed.Lent++; return "", nil }
		},
		"WithItself": func(r *reporting) {
			r.policy = func(_ context.Context, b *book) error {
				r.observe(func(b *book) { b.Status.Observed.Lent++ })
				b.Status.Observed.Place += "."
				return nil
			}
		},
	}
	for name, do := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReporting(t)
			do(r)
			r.observe(place("desk"))
			r.Settle()
			if n := strings.Count(r.takeCalls(), "policy"); n < 50 || n > 110 {
				t.Errorf("want about 100 calls, got %d", n)
			}
			r.wantReady("False", "Failed", "the step does not settle: each of its last 100 runs changed models")
			calls := 0
			for range 10 {
				r.After(10 * time.Second)
				r.Settle()
				calls += strings.Count(r.takeCalls(), "policy")
			}
			if calls == 0 || calls > 10 {
				t.Errorf("then the waits grow: want a few calls in 100 s, got %d", calls)
			}
			r.policy = nil
			steptest.Change(r.World, "a", func(b *book) { annotate(model.AnnotationRequestedAt, "fixed")(b) })
			r.Settle()
			r.After(10 * time.Minute) // The sync still reports something new each time, but that wakes nobody who wakes it.
			r.Settle()
			r.wantReady("True", "OK", "OK")
		})
	}
}

// wantReady checks the condition Ready of the book, at its current generation.
func (r *reporting) wantReady(status, reason, says string) {
	r.Helper()
	s := steptest.Snapshot[*book](r.World, "a")
	c := s.Status.GetCondition(model.ConditionReady)
	if c == nil || string(c.Status) != status || c.Reason != reason || !strings.Contains(c.Message, says) || s.Status.ObservedGeneration != s.Generation {
		r.Errorf("want Ready %s, %s: %s; got %+v, generation %d of %d", status, reason, says, c, s.Status.ObservedGeneration, s.Generation)
	}
}

// TestReportComesBeforeTheSync: a pull step finds that a book is not as it must be. The sync that it asks for sees what
// is reported of the book.
func TestReportComesBeforeTheSync(t *testing.T) {
	r := newReporting(t)
	r.start(step.Sync(r.fixture), step.Compare(step.Comparison[*book, string]{
		Namespace: r.Namespace,
		Items:     func(context.Context) iter.Seq2[string, error] { return maps.All(map[string]error{"floor": nil}) },
		Match:     func(string) step.Match { return step.Match{Name: "a"} },
		Want:      func(context.Context, *book) (any, error) { return "shelf", nil },
		Have:      func(place string) any { return place },
		Report:    func(place string, b *book) { b.Status.Observed.Place = place },
	}))
	asked := false
	r.Intercept(func(req *http.Request) error {
		if req.Method != http.MethodPatch || !strings.HasSuffix(req.URL.Path, "/books/a") {
			return nil
		}
		asked = true
		if b, _ := steptest.Get[*book](r.World, "a"); b.Status.Observed.Place != "floor" {
			t.Errorf("the report is there when a sync is asked for: got %+v", b.Status.Observed)
		}
		return nil
	})
	if counts, a := r.Tick(); a.Code != http.StatusOK || counts.Drifted != 1 || counts.Reported != 0 || !asked {
		t.Errorf("expected one that has drifted, got %d %+v, asked %t", a.Code, counts, asked)
	}
}
