package source

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/model"
)

func TestObjectThatCannotBeRead(t *testing.T) {
	r := newRig(t, owners, items)
	r.start(Options{})
	r.create("Owner", "o", nil)
	r.work(r.expect("new", "created Owner/o sync #1")...)
	r.stop()
	r.create("Item", "a", fields{"spec.owner": "o"})
	r.create("Item", "b", fields{"spec.owner": "o"})
	r.create("Item", "c", fields{"spec.owner": map[string]any{"name": "o"}})
	r.update("Item", "a", fields{"status": map[string]any{"sync": "a text"}})
	r.start(Options{})
	r.work(r.expect("each is sent, whatever it looks like", "created Item/a sync #1", "created Item/b sync #1", "created Item/c sync #1")...)
	r.quiet("one with a status of another type is synced, one whose owner cannot be read has failed")
	if got := r.get(r.namespace, "Item", "c").Status.Sync; got.State != model.StateFailed || !strings.Contains(got.Message, "spec.owner") {
		t.Errorf("expected the status to name the field that cannot be read, got %+v", got)
	}

	r.delete("Owner", "o")
	r.work(r.expect("each that depends on it is due once", "deleted Owner/o sync #1", "updated Item/a sync #2", "updated Item/b sync #2")...)
	for _, name := range []string{"a", "b"} {
		r.delete("Item", name)
		r.work(r.next())
	}
	r.work(r.expect("one that cannot be read depends on nothing", "deleted Owner/o sync #2")...)
	r.update("Item", "c", fields{"spec.owner": "o"})
	r.work(r.expect("fixed", "updated Item/c sync #1")...)
	r.quiet("it waits for an owner")
}

// brokenAPI refuses requests whose path contains what broken points to.
type brokenAPI struct {
	http.RoundTripper
	broken *atomic.Pointer[string]
}

func (b brokenAPI) RoundTrip(q *http.Request) (*http.Response, error) {
	if path := b.broken.Load(); path != nil && strings.Contains(q.URL.Path, *path) {
		return &http.Response{StatusCode: http.StatusForbidden, Status: "403 Forbidden", Body: http.NoBody, Request: q,
			Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}, nil
	}
	return b.RoundTripper.RoundTrip(q)
}

func TestKindThatCannotBeListed(t *testing.T) {
	// A kind of this test's own: the metric is that of all sources of the process.
	hidden := definition{kind: "Hidden", steps: "sync", labelled: "true"}
	dependent := definition{kind: "Item", steps: "sync", dependsOn: "Hidden=spec.owner", labelled: "true"}
	r := newOwnRig(t, hidden, dependent, things)
	r.create("Item", "a", fields{"spec.owner": "o"})
	r.create("Thing", "a", nil)
	var broken atomic.Pointer[string]
	path := r.group + "/v1/hiddens"
	broken.Store(&path)
	r.config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return brokenAPI{rt, &broken} })
	r.start(Options{})
	r.work(r.expect("what depends on it goes on, and reads it itself", "created Item/a sync #1", "created Thing/a policy #1", "created Thing/a sync #1")...)
	if r.source.Ready() {
		t.Error("expected the source not to be ready while it does not know all objects")
	}
	if n := r.logs.FilterMessageSnippet("may not be listed").Len(); n != 1 {
		t.Errorf("expected the log to say once that they may not be listed, got %d times", n)
	}
	if n := testutil.ToFloat64(unlistedModels.WithLabelValues("Hidden")); n != 1 {
		t.Errorf("expected the metric to say that the kind may not be listed, got %v", n)
	}
	r.create("Hidden", "o", nil)
	r.delete("Item", "a")
	r.create("Item", "a", fields{"spec.owner": "o"})
	r.work(r.expect("new: its owner is not synced", "created Item/a sync #1")...)

	broken.Store(nil)
	r.await("all to be synced", func() bool {
		for len(r.events) > 0 {
			r.work(<-r.events)
		}
		r.step(time.Second) // What was sent in vain is sent again.
		return r.synced("Item", "a")
	})
	r.quiet("all is synced")
	r.await("the source to be ready", func() bool { return r.source.Ready() })
	if n := testutil.ToFloat64(unlistedModels.WithLabelValues("Hidden")); n != 0 {
		t.Errorf("expected the metric not to have the kind any more, got %v", n)
	}
}

// TestAPIRestarts ends the API server under the source and starts it again in
// the same place.
func TestAPIRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func() *kubeapi.Server {
		t.Helper()
		server, err := kubeapi.Start(t.Context(), kubeapi.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return server
	}
	server := start()
	defer func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	}()
	r := newRigOn(t, server, "")
	r.define(owners, items)
	defer func() { r.stop() }() // Before its API.
	r.start(Options{})
	r.create("Owner", "o", nil)
	r.work(r.expect("new", "created Owner/o sync #1")...)
	for name, outcome := range map[string]*model.StepStatus{
		"failed": {State: model.StateFailed, Failures: 1, Permanent: true},
		"waits":  nil,
	} {
		r.create("Item", name, fields{"spec.owner": "nobody"})
		e := r.expect("new", "created Item/"+name+" sync #1")
		if outcome != nil {
			r.settle(e[0], outcome)
		}
		r.work(e...)
	}
	r.create("Item", "flying", fields{"spec.owner": "o"})
	flying := r.expect("new", "created Item/flying sync #1")
	r.quiet("nothing is due")

	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	server = start()
	r.server = server
	r.quiet("the source has found the API again, and nothing to do; what is in flight stays so")
	r.work(flying...)
	r.update("Owner", "o", fields{"spec.color": "red"})
	r.work(r.expect("it goes on", "updated Owner/o sync #1")...)
	for len(r.events) > 0 || !r.synced("Item", "flying") {
		r.work(r.next())
	}
	r.quiet("all is synced")
}

// redefine changes the definition of Owner, whose list the API refuses, and
// waits until the source knows the new definition, and no object.
func (r *rig) redefine() {
	r.Helper()
	changed := owners
	changed.dependsOn = "Elsewhere=spec.elsewhere"
	r.define(changed)
	r.await("the model to be watched again", func() bool {
		w := r.watched("Owner")
		r.source.mu.Lock()
		defer r.source.mu.Unlock()
		return len(w.DependsOn) == 1 && !w.synced
	})
}

// TestGoneWhileRedefined has an object go while nobody watches, because the
// definition changes at that moment.
func TestGoneWhileRedefined(t *testing.T) {
	r := newOwnRig(t, owners)
	var broken atomic.Pointer[string]
	r.config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return brokenAPI{rt, &broken} })
	r.start(Options{Window: 1})
	r.create("Owner", "a", nil)
	r.expect("new", "created Owner/a sync #1")

	path := r.group + "/v1/owners"
	broken.Store(&path)
	r.redefine()
	r.delete("Owner", "a")
	r.create("Owner", "b", nil)
	broken.Store(nil)
	r.work(r.expect("what is gone does not keep its place", "created Owner/b sync #1")...)
}

// TestWaitingWhileRedefined has a lane go on while it knows no objects.
func TestWaitingWhileRedefined(t *testing.T) {
	r := newOwnRig(t, owners)
	var broken atomic.Pointer[string]
	r.config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return brokenAPI{rt, &broken} })
	r.answerWith(func(context.Context, cloudevents.Event) error { return errDown })
	r.create("Owner", "a", nil)
	r.create("Owner", "b", nil)
	r.start(Options{Window: 1})
	waiting := func(n int) func() bool {
		return func() bool {
			return r.lane("Owner", model.StepSync, func(l *lane) bool { return l.rejected == 1 && l.sending == 0 && len(l.waiting) == n })
		}
	}
	r.await("both to wait for the sink", waiting(2))

	path := r.group + "/v1/owners"
	broken.Store(&path)
	r.redefine()
	r.answer.Store(nil)
	r.step(time.Second)
	r.await("the lane to have found nothing", waiting(0))

	broken.Store(nil)
	got := map[string]bool{}
	for len(got) < 2 {
		e := r.next()
		got[e.Subject()] = true
		r.work(e)
	}
	r.quiet("both are synced")
}
