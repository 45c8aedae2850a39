package step_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

// policyFunc is a policy that is one function.
type policyFunc func(context.Context, *book) error

func (p policyFunc) Create(ctx context.Context, b *book) error { return p(ctx, b) }
func (p policyFunc) Update(ctx context.Context, b *book) error { return p(ctx, b) }

// newTogether makes a function that has the sync and the policy of books, and a book that both have to handle.
func newTogether(t *testing.T, deadline time.Duration, policy policyFunc) *fixture {
	t.Helper()
	f := newFixture(t)
	f.startWith([]step.Option{step.WithDeadline(deadline)}, step.Sync(f), step.Sync(shelfSyncer{f}),
		step.Policies(step.Policy[*book](policyFunc(func(ctx context.Context, b *book) error {
			f.called("policy " + b.Spec.Title)
			return policy(ctx, b)
		}))))
	f.synced("fiction")
	save(f, f.book("a"))
	f.Requests()
	return f
}

// TestTogether sends one event to a function that has both steps.
func TestTogether(t *testing.T) {
	t.Parallel()
	none := func(context.Context, *book) error { return nil }
	retitled := func(f *fixture) policyFunc {
		return func(ctx context.Context, b *book) error {
			_, _, err := model.For[*book](f.Models).Modify(ctx, b.Namespace, b.Name, func(b *book) error { b.Spec.Title = "Emma"; return nil })
			return err
		}
	}
	tests := map[string]struct {
		reason string
		policy func(f *fixture) policyFunc
		sync   func(ctx context.Context, b *book) (string, error)
		calls  string
		// writes is how often the status is written, and states are those of policy and sync.
		writes int
		states []model.State
	}{
		"Both": {"Both are stored with one write", func(*fixture) policyFunc { return none }, nil,
			"policy Dune, sync Dune", 1, []model.State{model.StateOK, model.StateOK}},
		"PolicyFails": {"A policy that fails does not keep the sync from running", func(*fixture) policyFunc {
			return func(context.Context, *book) error { return errors.New("no ink") }
		}, nil, "policy Dune, sync Dune", 1, []model.State{model.StateFailed, model.StateOK}},
		"SyncFails": {"A sync that fails does not undo the policy", func(*fixture) policyFunc { return none },
			func(context.Context, *book) (string, error) { return "", errors.New("no paper") },
			"policy Dune, sync Dune", 1, []model.State{model.StateOK, model.StateFailed}},
		"SyncPanics": {"Nor does one that panics", func(*fixture) policyFunc { return none },
			func(context.Context, *book) (string, error) { panic("no paper") },
			"policy Dune, sync Dune", 1, []model.State{model.StateOK, model.StateFailed}},
		"Saves": {"What a policy saves is synced", retitled, nil,
			"policy Dune, sync Emma", 1, []model.State{model.StateOK, model.StateOK}},
		"Reports": {"What a policy reports the sync sees", func(*fixture) policyFunc {
			return func(_ context.Context, b *book) error { b.Status.Observed.Place = "desk"; return nil }
		}, func(_ context.Context, b *book) (string, error) { return b.Status.Observed.Place, nil },
			"policy Dune, sync Dune", 1, []model.State{model.StateOK, model.StateOK}},
		"BothReport": {"Two reports are two writes, and a third one of the conditions", func(*fixture) policyFunc {
			return func(_ context.Context, b *book) error { b.Status.Observed.Place = "desk"; return nil }
		}, func(_ context.Context, b *book) (string, error) { b.Status.Observed.Lent = 1; return "desk", nil },
			"policy Dune, sync Dune", 3, []model.State{model.StateOK, model.StateOK}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var policy policyFunc
			f := newTogether(t, time.Hour, func(ctx context.Context, b *book) error { return policy(ctx, b) })
			policy, f.sync = tt.policy(f), tt.sync
			f.wants(steptest.Wake[*book](f.World, model.StepSync, "a"), 200, map[model.State]string{model.StateOK: typeSynced, model.StateFailed: typeFailed}[tt.states[1]])
			f.wantCalls(tt.calls)
			if got := writes(f); got != tt.writes {
				t.Errorf("%s: want %d writes of the status, got %d", tt.reason, tt.writes, got)
			}
			got := steptest.Snapshot[*book](f.World, "a").Status
			if states := []model.State{got.Policy.State, got.Sync.State}; !slices.Equal(states, tt.states) {
				t.Errorf("%s: want policy and sync %v, got %v", tt.reason, tt.states, states)
			}
			if tt.sync != nil && tt.states[1] == model.StateOK && got.Sync.Handle != "desk" {
				t.Errorf("%s: the sync has seen %q", tt.reason, got.Sync.Handle)
			}
		})
	}
}

// writes counts the writes of the status.
func writes(f *fixture) (n int) {
	for _, r := range f.Requests() {
		if r == http.MethodPatch+" books/a/status" {
			n++
		}
	}
	return n
}

// TestTogetherDeletes has a policy that deletes its object: there is nothing to sync any more.
func TestTogetherDeletes(t *testing.T) {
	t.Parallel()
	var f *fixture
	f = newTogether(t, time.Hour, func(ctx context.Context, b *book) error { return model.For[*book](f.Models).Delete(ctx, b) })
	f.wants(steptest.Wake[*book](f.World, model.StepSync, "a"), 200, "")
	f.wantCalls("policy Dune")
	if _, ok := steptest.Get[*book](f.World, "a"); ok {
		t.Error("the book has no finalizer, and is gone")
	}
}

// TestTogetherHangs has a sync that takes long: what the policy has come to is shown meanwhile.
func TestTogetherHangs(t *testing.T) {
	t.Parallel()
	f := newTogether(t, 5*time.Second, func(context.Context, *book) error { return nil })
	f.sync = func(ctx context.Context, _ *book) (string, error) {
		return "", wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			b, err := model.For[*book](f.Models).Get(ctx, f.Namespace, "a")
			return err == nil && b.Status.Policy != nil && b.Status.Policy.State == model.StateOK, err
		})
	}
	f.wants(steptest.Wake[*book](f.World, model.StepSync, "a"), 200, typeSynced)
	b, _ := steptest.Get[*book](f.World, "a")
	if !b.Status.GetCondition(model.ConditionReady).IsTrue() {
		t.Errorf("both are done: got %+v", b.Status)
	}
}

// TestTogetherTakesLong has a policy that leaves no time for the sync: the event comes again.
func TestTogetherTakesLong(t *testing.T) {
	t.Parallel()
	f := newTogether(t, 5*time.Second, func(ctx context.Context, _ *book) error {
		deadline, _ := ctx.Deadline()
		soon, cancel := context.WithDeadline(ctx, deadline.Add(-4*time.Second))
		defer cancel()
		<-soon.Done()
		return nil
	})
	f.wants(steptest.Wake[*book](f.World, model.StepSync, "a"), 503, "", "step policy took")
	f.wantCalls("policy Dune")
	f.wants(steptest.Wake[*book](f.World, model.StepSync, "a"), 200, typeSynced)
	f.wantCalls("sync Dune")
}

// TestTogetherOvertaken has another run that stores the policy's outcome meanwhile: both steps are called again.
func TestTogetherOvertaken(t *testing.T) {
	t.Parallel()
	f := newTogether(t, time.Hour, func(context.Context, *book) error { return nil })
	f.sync = func(ctx context.Context, b *book) (string, error) {
		s := steptest.Snapshot[*book](f.World, "a")
		f.sync = nil
		return "", f.Models.SetStep(f.Context(), s.Kind, liveObject(f, b), model.StepPolicy, &model.StepStatus{State: model.StateFailed})
	}
	f.wants(steptest.Wake[*book](f.World, model.StepSync, "a"), 200, typeSynced)
	f.wantCalls("policy Dune, sync Dune, policy Dune, sync Dune")
	if f.Settle() != 0 {
		t.Error("nothing is due after that")
	}
}
