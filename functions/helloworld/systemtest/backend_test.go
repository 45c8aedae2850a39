package systemtest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/fields"

	helloworld "github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/localtest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// letters reaches the dead letters.
func (w *world) letters() model.Models[*v1alpha1.DeadLetter] {
	w.Helper()
	models, err := model.NewClient(w.System.Config(), v1alpha1.AddToScheme)
	if err != nil {
		w.Fatal(err)
	}
	return model.For[*v1alpha1.DeadLetter](models)
}

func (w *world) listLetters() []*v1alpha1.DeadLetter {
	w.Helper()
	all, err := w.letters().List(w.Context(), namespace, model.Filter{})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// request is what a user of the greeter does.
func (w *world) request(name, to string) error {
	body, err := json.Marshal(api.Request{Name: name, HelloTo: to})
	if err != nil {
		return err
	}
	resp, err := w.System.Client().Post("http://greeter.helloworld.svc.cluster.local/greetings", "application/json", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("the greeter answered %s", resp.Status)
	}
	return nil
}

// tick wakes pull as its PingSource does, and returns what it counted.
func (w *world) tick() step.PullCounts {
	w.Helper()
	code, body := w.post("pull", "", localtest.Event(step.EventPing))
	var counts step.PullCounts
	if err := json.Unmarshal([]byte(body), &counts); err != nil || code != 200 {
		w.Fatalf("expected a complete round, got %d %s", code, body)
	}
	counts.Seconds = 0
	return counts
}

// called is the name of the object that humans call so.
func (w *world) called(name string) string {
	w.Helper()
	all, err := w.instances.List(w.Context(), namespace, model.Filter{Fields: fields.OneTermEqualSelector("spec.name", name)})
	if err != nil || len(all) != 1 {
		w.Fatalf("expected one instance called %s, got %d (%v)", name, len(all), err)
	}
	return all[0].Name
}

// TestPulled: what only the greeter has becomes a model that is never synced,
// and what somebody did to our greetings is put right.
func TestPulled(t *testing.T) {
	w := start(t, local.Options{})
	w.service("helloworld", "Jhon Snow")
	w.instance("arya", "Arya Stark", "helloworld")
	w.untilReady("arya")
	if _, err := w.greeter.Put(t.Context(), "foreign", api.PutRequest{Name: "Pulled Record", HelloTo: "Dude"}); err != nil {
		t.Fatal(err)
	}
	if got, want := w.tick(), (step.PullCounts{Created: 1, Unchanged: 1}); got != want {
		t.Errorf("expected %+v, got %+v", want, got)
	}
	mirror := w.called("Pulled Record")
	w.Until("the policy has given the mirror an owner", func() bool { return w.get(mirror).OwnerName() == "helloworld" })
	w.untilReady(mirror)
	if got := w.get(mirror); got.Spec.Name != "Pulled Record" || got.Spec.HelloTo != "Dude" || got.Status.Sync != nil {
		t.Errorf("expected Pulled Record for Dude, never synced, got %+v", got)
	}
	w.greets("The greeter is saying hello to Dude", message("Jhon Snow", "Arya Stark"))

	id := string(w.get("arya").UID)
	if err := w.greeter.Delete(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	if got, want := w.tick(), (step.PullCounts{Drifted: 1, Unchanged: 1}); got != want {
		t.Errorf("expected %+v, got %+v", want, got)
	}
	w.greets("The greeter is saying hello to Dude", message("Jhon Snow", "Arya Stark"))
	w.Until("the status says why", func() bool {
		return w.sync("arya").Message == "OK, requested: pull: the micro-service does not have it"
	})

	if _, err := w.greeter.Put(t.Context(), "orphan", api.PutRequest{Name: "x", HelloFrom: "x", HelloTo: "x", Generation: 1,
		Model: &api.ModelRef{Namespace: namespace, Name: "gone", UID: "orphan"}}); err != nil {
		t.Fatal(err)
	}
	if got, want := w.tick(), (step.PullCounts{Orphaned: 1, Unchanged: 2}); got != want {
		t.Errorf("expected %+v, got %+v", want, got)
	}

	i := w.get(mirror)
	delete(i.Annotations, model.AnnotationNoSync)
	if _, _, err := w.instances.Update(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	w.greets("The greeter is saying hello to Dude", message("Jhon Snow", "Arya Stark"), message("Jhon Snow", "Dude"))

	if _, err := w.greeter.Put(t.Context(), "unwelcome", api.PutRequest{Name: "Unwelcome", HelloTo: "Tyrion Lannister"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, want := w.tick(), (step.PullCounts{Unchanged: 4}); got != want {
			t.Errorf("no mirror that the policy would delete: expected %+v, got %+v", want, got)
		}
	}
}

// publish sends a request for a greeting to the Broker, as the greeter does, and expects that it is dealt with.
func (w *world) publish(data string) {
	w.Helper()
	if code, body := w.Post(w.System.BrokerURL(namespace, "events"), data, localtest.Event(api.TypeRequested)); code != http.StatusAccepted {
		w.Fatalf("the Broker answered %d %s", code, body)
	}
}

// TestEvented: an event makes an instance; the same event again changes nothing.
func TestEvented(t *testing.T) {
	w := start(t, local.Options{})
	w.service("helloworld", "Jhon Snow")
	w.publish(`{"name":"Event Record","hello_to":"Bran Stark"}`)
	w.greets(message("Jhon Snow", "Bran Stark"))
	w.untilReady("event-record")
	version := w.get("event-record").ResourceVersion
	w.publish(`{"name":"Event Record","hello_to":"Bran Stark"}`)
	if got := w.get("event-record").ResourceVersion; got != version {
		t.Error("the same event again changed the instance")
	}
	if code, body := w.post("event", `{"name":"Event Record","hello_to":"Bran Stark"}`, localtest.Event("dev.knative.kafka.event")); code != 200 || !strings.Contains(body, `"operation":"unchanged"`) {
		t.Errorf("a record says that there is nothing new: got %d %s", code, body)
	}
	t.Run("Broken", func(t *testing.T) { w.with(t).broken() })
	w.greets(message("Jhon Snow", "Bran Stark"), message("Jhon Snow", "Sansa Stark"))
}

// TestBeforeTheTrigger shows what becomes of a request while the Broker has no Trigger for it.
func TestBeforeTheTrigger(t *testing.T) {
	w := start(t, local.Options{Without: []string{"trigger/event"}})
	w.service("helloworld", "Jhon Snow")
	if err := w.request("Early", "Bran Stark"); err != nil {
		t.Fatal(err)
	}
	w.untilPublished()
	if got := w.tick(); got != (step.PullCounts{}) {
		t.Errorf("pull leaves the greeting to function event: got %+v", got)
	}
	if have := w.accounts(t); len(have.instances)+len(have.letters) > 0 {
		t.Errorf("the Broker has dropped the event: got %+v", have)
	}
	w.greets("The greeter is saying hello to Bran Stark")
}

// broken: an event that cannot be handled is a dead letter, which is corrected and replayed.
func (w *world) broken() {
	w.publish(`{"name":"Broken","hello":"Sansa Stark"}`)
	all := w.listLetters()
	if len(all) != 1 {
		w.Fatalf("a broken event is a dead letter when the Broker answers: got %d", len(all))
	}
	letter := all[0]
	if s := letter.Spec; s.Code != 422 || s.Reason != `data: unknown field "hello"` || s.Destination != "http://event.helloworld.svc.cluster.local" {
		w.Errorf("it says what was wrong: got %+v", s)
	}
	replay := func(data string) {
		w.Helper()
		_, _, err := w.letters().Modify(w.Context(), namespace, letter.Name, func(l *v1alpha1.DeadLetter) error {
			l.Spec.Event.Data.Raw, l.Spec.Replay = []byte(data), true
			return nil
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	replay(`{"name":"","hello_to":"Sansa Stark"}`)
	w.Until("the letter is kept with the new reason", func() bool {
		live, err := w.letters().Get(w.Context(), namespace, letter.Name)
		return err == nil && !live.Spec.Replay && strings.HasPrefix(live.Spec.Reason, "data.name: required")
	})
	replay(`{"name":"Corrected","hello_to":"Sansa Stark"}`)
	w.Until("the letter is gone", func() bool { return len(w.listLetters()) == 0 })
}

// requests are the greetings that TestNothingLost asks for.
type requests struct {
	names   []string
	want    map[string]bool // the names of instances
	refused map[string]bool // every tenth: function event refuses it, so that it ends as a dead letter
}

func newRequests(n int) requests {
	r := requests{want: map[string]bool{}, refused: map[string]bool{}}
	for i := range n {
		name := fmt.Sprintf("Request %d", i)
		r.names = append(r.names, name)
		if i%10 == 3 {
			r.refused[name] = true
		} else {
			r.want[objectName(name)] = true
		}
	}
	return r
}

// objectName is the name of the instance that a request makes.
func objectName(request string) string {
	return strings.ToLower(strings.ReplaceAll(request, " ", "-"))
}

// accept has the greeter accept some requests, with as many users at once as it may have.
func (w *world) accept(r requests, names []string) {
	w.Helper()
	var users errgroup.Group
	users.SetLimit(16)
	for _, name := range names {
		users.Go(func() error {
			to := "guest"
			if r.refused[name] {
				to = "  " // The greeter accepts it, the model does not.
			}
			return w.request(name, to)
		})
	}
	if err := users.Wait(); err != nil {
		w.Fatal(err)
	}
}

func (w *world) untilGreeterIsBack() {
	w.Helper()
	w.Until("the greeter is back", func() bool {
		_, err := w.greeter.List(w.Context(), client.ListOptions{Limit: 1})
		return err == nil
	})
}

func (w *world) untilPublished() {
	w.Helper()
	w.Until("the outbox is empty", func() bool { return w.pending() == 0 })
}

// TestNothingLost counts: each greeting that the greeter has accepted from its users ends as exactly one instance or one
// dead letter, also if programs die meanwhile.
func TestNothingLost(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 100
	}
	failing := failEvents(t)
	w := start(t, local.Options{
		// A model source would have thousands of syncs to do, which are not what is counted.
		Without: []string{"containersource/modelsource"},
		Bin:     failing.bin,
	})
	r := newRequests(n)

	// 1. All goes well.
	w.accept(r, r.names[:n/4])
	// 2. The broker is down: what is accepted waits on the greeter's disk, also when the greeter dies before it can publish.
	w.System.SetBrokerDown(true)
	w.accept(r, r.names[n/4:n/2])
	if !w.System.Kill(namespace, "greeter") {
		t.Fatal("no greeter runs")
	}
	w.untilGreeterIsBack()
	w.System.SetBrokerDown(false)
	// 3. Function event does not start for longer than the Broker tries. First it finishes its work: an event whose process
	// ends before it can answer becomes a dead letter too.
	w.untilPublished()
	failing.set(true)
	w.System.Kill(namespace, "event")
	w.accept(r, r.names[n/2:n*3/4])
	if !testing.Short() {
		w.Until("the Broker gives up", func() bool {
			return slices.ContainsFunc(w.listLetters(), func(l *v1alpha1.DeadLetter) bool { return l.Spec.Code >= 500 })
		})
	}
	failing.set(false)
	// 4. All of them die in the middle of their work.
	w.accept(r, r.names[n*3/4:])
	w.System.Kill(namespace, "greeter")
	w.System.Kill(namespace, "event")
	w.System.Kill(core, "deadletter")
	w.untilGreeterIsBack()
	w.untilPublished()
	w.check(r)
}

// check compares what has become of the requests with what should have.
func (w *world) check(r requests) {
	have := w.accounts(w.T)
	for _, name := range r.names {
		letters := have.letters[name]
		to, instance := have.instances[objectName(name)]
		switch {
		case r.refused[name] && letters != 1:
			w.Errorf("%s: expected one dead letter, got %d", name, letters)
		// What failed for too long is a dead letter, as it should be.
		case letters > 1, letters == 1 && instance, letters == 0 && to != "guest":
			w.Errorf("%s: expected one instance or one dead letter, got %d letters, and an instance: %t", name, letters, instance)
		}
	}
	for name := range have.instances {
		if !r.want[name] {
			w.Errorf("instance %s was not asked for", name)
		}
	}
	if got := len(have.instances) + len(have.letters); got != len(r.names) {
		w.Errorf("expected %d in all, got %d instances and %d dead letters", len(r.names), len(have.instances), len(have.letters))
	}
	w.Logf("%d greetings: %d instances, %d dead letters", len(r.names), len(have.instances), len(have.letters))
}

// pending is how many events wait in the greeter's outbox, -1 if it cannot say.
func (w *world) pending() int {
	resp, err := w.System.Client().Get("http://greeter.helloworld.svc.cluster.local/outbox")
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	var status api.OutboxStatus
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil || resp.StatusCode != http.StatusOK {
		return -1
	}
	return status.Pending
}

// accounts is what the events have come to.
type accounts struct {
	instances map[string]string // Object name to helloTo.
	letters   map[string]int    // Name in the event's data to the number of letters.
}

func (w *world) accounts(t *testing.T) accounts {
	t.Helper()
	a := accounts{map[string]string{}, map[string]int{}}
	err := w.instances.Each(t.Context(), namespace, model.Filter{}, func(i *helloworld.HelloWorldServiceInstance) error {
		a.instances[i.Name] = i.Spec.HelloTo
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, letter := range w.listLetters() {
		var data api.Request
		if err := json.Unmarshal(letter.Spec.Event.Data.Raw, &data); err != nil {
			t.Fatal(err)
		}
		a.letters[data.Name]++
	}
	return a
}

// failing makes function event fail for a while: its program is replaced by one
// that looks at a file.
type failing struct{ bin, file string }

func (f failing) set(on bool) {
	if on {
		_ = os.WriteFile(f.file, nil, 0o600)
		return
	}
	_ = os.Remove(f.file)
}

// failEvents makes a directory of all programs in which function event does not
// start while it is to fail.
func failEvents(t *testing.T) failing {
	t.Helper()
	f := failing{bin: t.TempDir(), file: filepath.Join(t.TempDir(), "failing")}
	event := filepath.Join("functions", "helloworld", "event")
	err := filepath.WalkDir(localtest.Bin(), func(path string, d fs.DirEntry, err error) error {
		at := filepath.Join(f.bin, strings.TrimPrefix(path, localtest.Bin()))
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(at, 0o700)
		case strings.HasSuffix(path, event):
			script := fmt.Sprintf("#!/bin/sh\n[ -e %q ] && exit 1\nexec %q \"$@\"\n", f.file, path)
			return os.WriteFile(at, []byte(script), 0o700)
		default:
			return os.Symlink(path, at)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("no shell")
	}
	return f
}
