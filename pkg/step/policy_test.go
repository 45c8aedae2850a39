package step_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// record makes a policy that records its calls and returns err.
func record(f **fixture, name string, err *error) deleting {
	note := func(what string) func(context.Context, *book) error {
		return func(_ context.Context, obj *book) error {
			(*f).called(name + " " + what + " " + obj.Spec.Title)
			obj.Spec.Title = "changed by " + name // Each policy has a copy of its own.
			return *err
		}
	}
	return deleting{step.PolicyFuncs[*book]{OnCreate: note("create"), OnUpdate: note("update")}, note("delete")}
}

func TestPolicyLife(t *testing.T) {
	t.Parallel()
	var f *fixture
	var one, two error
	f = newPolicy(t, record(&f, "one", &one), record(&f, "two", &two))
	i := save(f, f.book("a"))

	one = errors.New("not yet")
	f.wants(wake(f, i), 200, typePolicyFailed)
	f.wantCalls("one create Dune, two create Dune")
	wantStatus(f, i, model.StateFailed, "not yet")

	// Create is called until the first success, also after a change of the spec.
	save(f, changed(f, i, func(o *book) { o.Spec.Title = "Emma" }))
	one = nil
	f.wants(wake(f, i), 200, typePoliced)
	f.wantCalls("one create Emma, two create Emma")

	save(f, changed(f, i, func(o *book) { o.Spec.Title = "Odyssey" }))
	two = step.Warning(errors.New("hm"))
	f.wants(wake(f, i), 200, "")
	f.wantCalls("one update Odyssey, two update Odyssey")
	wantStatus(f, i, model.StateOK, "hm")

	two = nil
	remove(f, i)
	f.wants(wake(f, i), 200, typeReaped)
	f.wantCalls("one delete Odyssey, two delete Odyssey")
}

func TestPolicyPanicsAndOthersRun(t *testing.T) {
	t.Parallel()
	var f *fixture
	var none error
	f = newPolicy(t, step.PolicyFuncs[*book]{OnCreate: func(context.Context, *book) error { panic("oops") }}, record(&f, "two", &none))
	i := save(f, f.book("a"))
	f.wants(wake(f, i), 200, typePolicyFailed)
	f.wantCalls("two create Dune")
	wantStatus(f, i, model.StateFailed, "panic: oops")
}

func TestPolicyWaitForOne(t *testing.T) {
	t.Parallel()
	var f *fixture
	f = newPolicy(t, step.PolicyFuncs[*book]{OnCreate: func(_ context.Context, obj *book) error {
		f.called("create")
		if list, err := model.For[*shelf](f.Models).List(f.Context(), obj.Namespace, model.Filter{}); err != nil || len(list) != 1 {
			return errors.Join(err, step.WaitForOne("Shelf", fmt.Sprintf("found %d", len(list))))
		}
		return nil
	}})
	i := f.book("a")
	i.Spec.Shelf = nil
	i = save(f, i)
	f.wants(wake(f, i), 200, "")
	wantStatus(f, i, model.StateWaiting, "found 0")
	f.wants(wake(f, i), 200, "")
	f.wantCalls("create")
	save(f, f.shelf("fiction"))
	f.wants(wake(f, i), 200, typePoliced)
	f.wantCalls("create")
}

func TestPolicySavesItsOwnObject(t *testing.T) {
	t.Parallel()
	var f *fixture
	f = newPolicy(t, step.PolicyFuncs[*book]{OnCreate: func(ctx context.Context, obj *book) error {
		obj.Spec.Title = "Emma"
		_, _, err := model.For[*book](f.Models).Update(ctx, obj)
		return err
	}})
	i := save(f, f.book("a"))
	f.wants(wake(f, i), 200, typePoliced)
	got := changed(f, i, func(*book) {})
	if got.Spec.Title != "Emma" || got.Generation != 2 || got.Status.Policy.Generation != 2 {
		t.Errorf("got %+v", got)
	}
	f.wants(wake(f, i), 200, "") // Its own change does not wake it.
	if got := wantStatus(f, i, model.StateOK); got.Generation != 2 {
		t.Errorf("got %+v", got)
	}
}

// TestPolicySeesWhatOthersHaveSaved: nobody would tell a policy of what one before it has saved.
func TestPolicySeesWhatOthersHaveSaved(t *testing.T) {
	t.Parallel()
	var f *fixture
	saves := func(change func(*book)) func(context.Context, *book) error {
		return func(ctx context.Context, obj *book) error {
			f.called(obj.Spec.Title + " at " + obj.Status.Observed.Place)
			obj.Status.Observed.Place += "+"
			change(obj)
			_, _, err := model.For[*book](f.Models).Update(ctx, obj)
			return err
		}
	}
	one := step.PolicyFuncs[*book]{OnCreate: saves(func(b *book) { b.Spec.Title = "Emma" })}
	two := step.PolicyFuncs[*book]{OnCreate: saves(func(b *book) { b.Spec.Title += " again" })}
	three := step.PolicyFuncs[*book]{OnCreate: saves(func(*book) {})}
	f = newPolicy(t, one, two, three)
	i := save(f, f.book("a"))
	f.wants(wake(f, i), 200, typePoliced)
	f.wantCalls("Dune at , Emma at +, Emma again at ++")
	got := changed(f, i, func(*book) {})
	if got.Spec.Title != "Emma again" || got.Generation != 3 || got.Status.Policy.Generation != 3 || got.Status.Observed.Place != "+++" {
		t.Errorf("got %+v", got)
	}
	f.wants(wake(f, i), 200, "")
	f.wantCalls("")
}

func TestPolicyDeletesItsOwnObject(t *testing.T) {
	t.Parallel()
	var f *fixture
	f = newPolicy(t, deleting{
		step.PolicyFuncs[*book]{OnCreate: func(ctx context.Context, obj *book) error {
			return model.For[*book](f.Models).Delete(ctx, obj)
		}},
		func(context.Context, *book) error { f.called("delete"); return nil },
	})
	i := save(f, f.book("a"))
	f.wants(wake(f, i), 200, typePoliced)
	f.wants(wake(f, i), 200, typeReaped)
	f.wantCalls("delete")
}
