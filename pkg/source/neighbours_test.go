package source

import (
	"slices"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/xos-knative/synchronizer/pkg/model"
)

func TestDependencies(t *testing.T) {
	r := newRig(t, owners, items)
	r.start(Options{})

	r.create("Item", "a", fields{"spec.owner": "o"})
	r.create("Item", "b", fields{"spec.owner": "o"})
	r.work(r.expect("due once although the dependency is missing, to record it", "created Item/a sync #1", "created Item/b sync #1")...)
	r.quiet("they wait")
	r.create("Owner", "other", nil)
	r.work(r.expect("new", "created Owner/other sync #1")...)
	r.quiet("another owner is not what they wait for")

	r.create("Owner", "o", nil)
	owner := r.expect("the dependency is there and about to be synced", "created Owner/o sync #1")
	r.quiet("that is no news for those that wait")
	r.settle(owner[0], &model.StepStatus{State: model.StateFailed, Permanent: true})
	r.work(r.expect("but that its sync has failed is news to record", "updated Item/a sync #2", "updated Item/b sync #2")...)
	r.quiet("they wait")
	r.update("Owner", "o", fields{"spec.color": "green"})
	r.work(r.expect("it is changed", "updated Owner/o sync #1")...)
	r.work(r.expect("what they waited for has come", "updated Item/a sync #3", "updated Item/b sync #3")...)
	r.quiet("all is synced")

	r.update("Owner", "o", fields{"spec.color": "red"})
	owner = r.expect("the dependents need not say that they wait for it", "updated Owner/o sync #1")
	r.quiet("they wait")
	r.work(owner...)
	r.work(r.expect("dependents go after what they depend on", "updated Item/a sync #4", "updated Item/b sync #4")...)
	r.quiet("all is synced")

	r.update("Owner", "o", fields{"spec.color": "pink"})
	owner = r.expect("again", "updated Owner/o sync #1")
	r.step(passingMax)
	r.work(r.expect("if it takes long they say that they wait", "updated Item/a sync #5", "updated Item/b sync #5", "updated Owner/o sync #2")...)
	r.work(owner...)
	r.work(r.expect("it has come", "updated Item/a sync #6", "updated Item/b sync #6")...)
	r.quiet("all is synced")

	r.update("Item", "b", fields{"spec.owner": "other"})
	r.work(r.expect("another owner is another spec", "updated Item/b sync #1")...)
	r.update("Owner", "o", fields{"spec.color": "blue"})
	r.work(r.expect("the owner goes first", "updated Owner/o sync #1")...)
	for len(r.events) > 0 || !r.synced("Item", "a") {
		r.work(r.next())
	}
	r.quiet("all is synced")
}

// synced reports whether the status says that the object is synced as it is.
func (r *rig) synced(kind, name string) bool {
	r.Helper()
	o := r.get(r.namespace, kind, name)
	n, err := r.models.Neighbours(r.Context(), model.StepSync, o.Snapshot)
	if err != nil {
		r.Fatal(err)
	}
	return o.Status.Sync != nil && o.Status.Sync.State == model.StateOK && !model.Due(model.StepSync, o.Snapshot, n, r.clock.Now()).Due()
}

func TestOwnerOfNone(t *testing.T) {
	r := newRig(t, owners, loans)
	r.start(Options{})
	waiting := &model.StepStatus{State: model.StateWaiting, WaitingFor: []model.Blocker{{Kind: "Owner", Reason: model.BlockerAmbiguous}}}

	r.create("Loan", "a", nil)
	r.settle(r.expect("new", "created Loan/a policy #1")[0], waiting)
	r.quiet("with no owner it waits")
	r.create("Owner", "one", nil)
	r.work(r.expect("with exactly one owner it has come", "created Owner/one sync #1", "updated Loan/a policy #2")[0])
	r.create("Owner", "two", nil)
	r.work(r.expect("new", "created Owner/two sync #1")...)
	// The policy has found two of them in the end.
	e := r.request("Loan", "a", "updated Loan/a policy #3")
	r.settle(e, waiting)
	r.quiet("with two owners it waits")
	r.create("Owner", "three", nil)
	r.work(r.expect("new", "created Owner/three sync #1")...)
	r.quiet("with three, too")
	r.delete("Owner", "three")
	r.work(r.expect("cleaning up", "deleted Owner/three sync #1")...)
	r.quiet("two are left")
	r.delete("Owner", "one")
	events := r.expect("one is left, as that which is being deleted does not count", "deleted Owner/one sync #1", "updated Loan/a policy #4")
	r.work(events[0])
	r.settle(events[1], &model.StepStatus{State: model.StateOK})
	r.quiet("done")
}

// request asks for an attempt and lets the timeout of what may be in flight pass.
func (r *rig) request(kind, name, want string) cloudevents.Event {
	r.Helper()
	r.update(kind, name, fields{"@" + model.AnnotationRequestedAt: want})
	r.step(30 * time.Second)
	return r.expect("asked for", want)[0]
}

func TestDeletion(t *testing.T) {
	r := newRig(t, owners, items)
	r.start(Options{})
	r.create("Owner", "o", nil)
	r.work(r.expect("new", "created Owner/o sync #1")...)
	for _, name := range []string{"a", "b", "c"} {
		r.create("Item", name, fields{"spec.owner": "o"})
		r.work(r.expect("new", "created Item/"+name+" sync #1")...)
	}
	r.quiet("all is synced")

	r.delete("Owner", "o")
	r.work(r.expect("each is due once, to record what it waits for", "deleted Owner/o sync #1",
		"updated Item/a sync #2", "updated Item/b sync #2", "updated Item/c sync #2")...)
	r.quiet("the owner waits for those that depend on it")
	for _, name := range []string{"a", "b"} {
		r.delete("Item", name)
		r.work(r.expect("a dependent goes first", "deleted Item/"+name+" sync #1")...)
		r.quiet("which of the dependents is left is no news")
	}
	r.update("Item", "c", fields{"spec.owner": "elsewhere"})
	events := r.expect("the last one depends on another now", "deleted Owner/o sync #2", "updated Item/c sync #1")
	r.work(events...)
	r.quiet("the owner is gone")

	r.create("Owner", "p", nil)
	r.work(r.expect("new", "created Owner/p sync #1")...)
	r.create("Item", "d", fields{"spec.owner": "p"})
	r.work(r.expect("new", "created Item/d sync #1")...)
	r.delete("Owner", "p")
	events = r.expect("each is due once", "deleted Owner/p sync #1", "updated Item/d sync #2")
	r.delete("Item", "d")
	r.quiet("both are in flight")
	r.work(events[1], events[0])
	r.quiet("the dependent went first, and then nothing was in the way")
	if left := r.list("Owner"); len(left) > 0 {
		t.Errorf("expected no owner to be left, got %s", left[0].GetName())
	}
}

func TestNoModels(t *testing.T) {
	r := newOwnRig(t)
	r.start(Options{})
	r.await("the source to be ready", r.source.Ready)
	r.define(owners)
	r.create("Owner", "a", nil)
	r.work(r.expect("the first model is picked up while the source runs", "created Owner/a sync #1")...)
	r.quiet("done")
	if n := r.logs.FilterMessageSnippet("No synchronizer is installed").Len(); n != 1 {
		t.Errorf("expected the source to say once that there was none, got %d times", n)
	}
}

func TestDefinitions(t *testing.T) {
	r := newOwnRig(t, owners)
	r.start(Options{})
	r.quiet("nothing to do")
	later := definition{kind: "Later", steps: "sync"}
	r.labelled(later)
	r.stepsChanged(later)
	r.wrong(later)
	r.definedAgain(later)
}

// labelled makes a definition a model, none, and one again.
func (r *rig) labelled(later definition) {
	r.Helper()
	later.labelled = "false"
	r.define(later)
	r.create("Later", "a", nil)
	r.quiet("what is not labelled is no model")
	later.labelled = "true"
	r.define(later)
	r.work(r.expect("a model is picked up while the source runs", "created Later/a sync #1")...)
	r.quiet("done")

	r.update("Later", "a", fields{"spec.color": "red"})
	r.expect("changed", "updated Later/a sync #1")
	later.labelled = "false"
	r.define(later)
	r.await("the source to know it", func() bool { return r.watched("Later").Retired })
	r.step(30 * time.Second)
	r.work(r.expect("what the step has left is taken away", "updated Later/a sync #2")...)
	if o := r.get(r.namespace, "Later", "a"); o.Carries(model.StepSync) || len(o.Status.Conditions) > 0 {
		r.Errorf("expected neither finalizer nor conditions of what is no model, got %v, %v", o.Finalizers, o.Status.Conditions)
	}
	r.update("Later", "a", fields{"spec.color": "blue"})
	r.update("Later", "a", fields{"status.conditions": []any{map[string]any{"type": "Ready", "status": "False"}}})
	r.quiet("no model any more: somebody else may have the kind")
	later.labelled = "true"
	r.define(later)
	r.work(r.expect("a model again", "updated Later/a sync #1")...)
}

// stepsChanged gives a model another step, and takes the first away.
func (r *rig) stepsChanged(later definition) {
	r.Helper()
	later.steps, later.labelled = "sync,policy", "true"
	r.define(later)
	r.work(r.expect("a model gets another step, whose function may come later: the first one reports that it is due", "updated Later/a sync #2")...)
	r.work(r.expect("then it is its turn", "created Later/a policy #1")...)
	r.quiet("done")
	later.steps = "policy"
	r.define(later)
	r.await("the source to know it", func() bool {
		w := r.watched("Later")
		return w != nil && slices.Equal(w.Steps, []model.Step{model.StepPolicy})
	})
	r.work(r.expect("a model loses a step: nothing of it stays", "updated Later/a policy #2")...)
	if o := r.get(r.namespace, "Later", "a"); o.Carries(model.StepSync) || o.Status.GetCondition(model.ConditionSynced) != nil {
		r.Errorf("expected neither finalizer nor condition of the lost step, got %v, %v", o.Finalizers, o.Status.Conditions)
	}
	r.quiet("that is all")
	r.update("Later", "a", fields{"spec.color": "green"})
	r.work(r.expect("its other step goes on", "updated Later/a policy #1")...)
}

// wrong makes a definition wrong, and right again.
func (r *rig) wrong(later definition) {
	r.Helper()
	later.steps, later.labelled = "policy,wrong", "true"
	r.define(later)
	r.await("the log", func() bool { return r.logs.FilterMessageSnippet("A model definition is wrong").Len() > 0 })
	later.labelled = "false" // So that quiet does not wait for it.
	r.defined[len(r.defined)-1] = later
	r.update("Later", "a", fields{"spec.color": "black"})
	r.create("Owner", "o", nil)
	events := r.expect("what was known of the model still holds", "created Owner/o sync #1", "updated Later/a policy #1")
	r.work(events[0])
	r.quiet("all is sent")
	later.steps, later.labelled = "policy", "true"
	r.define(later)
	r.work(events[1])
	r.quiet("right again")
}

// definedAgain deletes a definition and makes it again.
func (r *rig) definedAgain(later definition) {
	r.Helper()
	later.steps, later.labelled = "policy", "true"
	r.deleteDefinition(later)
	r.await("the model to be let go", func() bool { return r.watched("Later") == nil })
	r.update("Owner", "o", fields{"spec.color": "red"})
	r.work(r.expect("other models go on", "updated Owner/o sync #1")...)
	r.define(later)
	r.create("Later", "a", nil)
	r.work(r.expect("a model that was deleted comes again", "created Later/a policy #1")...)
}

// watched is the kind as the source watches it, nil if it does not.
func (r *rig) watched(kind string) *watchedKind {
	r.source.mu.Lock()
	defer r.source.mu.Unlock()
	return r.source.kinds[r.groupKind(kind)]
}

// TestRetiredNeighbours: what is no model any more is nobody's dependency and nobody's dependent.
func TestRetiredNeighbours(t *testing.T) {
	r := newOwnRig(t, owners, items)
	r.start(Options{})
	r.create("Owner", "o", nil)
	r.work(r.expect("new", "created Owner/o sync #1")...)
	r.create("Item", "a", fields{"spec.owner": "o"})
	r.work(r.expect("new", "created Item/a sync #1")...)
	r.quiet("done")

	retired := owners
	retired.labelled = "false"
	r.define(retired)
	r.work(r.expect("the owner is tidied up, its item waits", "updated Owner/o sync #2", "updated Item/a sync #2")...)
	r.quiet("nothing more")
	if s := r.get(r.namespace, "Item", "a").Status.Sync; s.State != model.StateWaiting || s.WaitingFor[0].Reason != model.BlockerMissing {
		t.Errorf("expected the item to wait for an owner that is missing, got %+v", s)
	}
	r.define(owners)
	r.work(r.expect("a model again, and its item goes on", "updated Owner/o sync #3", "updated Item/a sync #3")...)
	r.quiet("done")

	r.create("Owner", "p", nil)
	r.work(r.expect("new", "created Owner/p sync #1")...)
	r.create("Item", "b", fields{"spec.owner": "p"})
	r.work(r.expect("new", "created Item/b sync #1")...)
	r.delete("Owner", "p")
	r.work(r.expect("the owner waits for its item", "deleted Owner/p sync #1", "updated Item/b sync #2")...)
	retired = items
	retired.labelled = "false"
	r.define(retired)
	events := r.expect("items are nobody's dependents any more", "deleted Owner/p sync #2", "updated Item/a sync #4", "updated Item/b sync #3")
	r.work(events...)
	r.quiet("done")
}

func TestDependsOnChanged(t *testing.T) {
	r := newOwnRig(t, owners, items)
	r.start(Options{})
	r.create("Owner", "o", nil)
	r.work(r.expect("new", "created Owner/o sync #1")...)
	r.create("Item", "a", fields{"spec.owner": "o", "spec.host": "nobody"})
	r.work(r.expect("new", "created Item/a sync #1")...)
	r.create("Item", "b", fields{"spec.owner": "nobody", "spec.host": "o"})
	r.work(r.expect("new", "created Item/b sync #1")...)
	r.quiet("b waits")

	changed := items
	changed.dependsOn = "Owner=spec.host"
	r.define(changed)
	r.work(r.expect("what b waits for by the new definition is there", "updated Item/b sync #2")...)
	r.quiet("a is synced as it is")

	r.delete("Owner", "o")
	events := r.expect("each once, to record what it waits for", "deleted Owner/o sync #1", "updated Item/b sync #3")
	r.work(events...)
	r.quiet("the owner waits for b")
	changed.dependsOn = ""
	r.define(changed)
	events = r.expect("nothing depends on the owner any more", "deleted Owner/o sync #2", "updated Item/b sync #4")
	r.work(events...)
	r.quiet("done")
}

// TestFeedbackWakes reports about objects. That wakes their policies, and the syncs of those whose kind says that
// they use it.
func TestFeedbackWakes(t *testing.T) {
	r := newOwnRig(t, owners, items, things)
	r.start(Options{})
	r.create("Owner", "o", nil)
	r.work(r.expect("new", "created Owner/o sync #1")...)
	r.create("Item", "a", fields{"spec.owner": "o"})
	r.work(r.expect("new", "created Item/a sync #1")...)
	r.create("Thing", "t", nil)
	r.work(r.expect("new", "created Thing/t policy #1", "created Thing/t sync #1")...)
	r.quiet("all is done")

	report := func(kind, name string, revision int64) {
		r.update(kind, name, fields{"status.observed": map[string]any{"at": revision}, "status.observedRevision": revision})
	}
	report("Thing", "t", 1)
	r.work(r.expect("its policy, and not its sync", "updated Thing/t policy #2")...)
	report("Owner", "o", 1)
	r.quiet("a kind that does not use it is not woken")

	using := items
	using.usesObserved = "spec.owner"
	r.define(using)
	r.work(r.expect("it uses now what it has not seen", "updated Item/a sync #2")...)
	report("Owner", "o", 2)
	r.work(r.expect("its dependent, and not itself", "updated Item/a sync #3")...)
	r.quiet("each once")
}

// TestInFlightWhileRedefined checks that a change of the definition neither
// makes the step run twice at once nor loses the place of what is gone.
func TestInFlightWhileRedefined(t *testing.T) {
	r := newOwnRig(t, owners)
	r.start(Options{Window: 3})
	r.create("Owner", "a", nil)
	e := r.expect("new", "created Owner/a sync #1")
	changed := owners
	changed.steps = "sync,policy"
	r.define(changed)
	policy := r.expect("a step more", "created Owner/a policy #1")
	r.quiet("what is in flight stays so")
	r.work(e[0], policy[0])
	r.quiet("done")
}
