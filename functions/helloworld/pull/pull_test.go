package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/greetertest"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

func TestAdopt(t *testing.T) {
	w := newWorld(t)
	w.put("foreign", api.PutRequest{Name: "Pulled Record", HelloTo: "Dude"})
	w.put("blank", api.PutRequest{Name: "  ", HelloTo: "Arya"})
	if _, _, err := w.greeter.Store.Accept(api.Request{Name: "Requested", HelloTo: "Bran"}); err != nil {
		t.Fatal(err)
	}
	w.pull("greetings of the greeter's own are adopted, but not those that its users requested", step.PullCounts{Created: 2})

	name := model.MirrorName("foreign")
	got := w.get(name)
	if diff := cmp.Diff(v1alpha1.HelloWorldServiceInstanceSpec{Name: "Pulled Record", HelloTo: "Dude"}, got.Spec); diff != "" {
		t.Errorf("the mirror has the texts of the greeting: -want +got:\n%s", diff)
	}
	if want := map[string]string{model.AnnotationNoSync: "true", model.AnnotationMirrors: "foreign"}; !cmp.Equal(want, got.Annotations) {
		t.Errorf("the mirror is never synced: want %v, got %v", want, got.Annotations)
	}
	if diff := cmp.Diff(v1alpha1.HelloWorldServiceInstanceSpec{HelloTo: "Arya"}, w.get(model.MirrorName("blank")).Spec); diff != "" {
		t.Errorf("a blank name is left out: -want +got:\n%s", diff)
	}
	w.sync(name)
	if status := w.get(name).Status.Sync; status != nil || len(w.greetings()) != 3 {
		t.Errorf("a mirror is not pushed: got %+v, greetings %v", status, w.greetings())
	}

	told := w.Events()
	slices.Sort(told)
	want := []string{"Normal Adopted HelloWorldServiceInstance/" + model.MirrorName("blank") + ": made of what the micro-service calls blank",
		"Normal Adopted HelloWorldServiceInstance/" + name + ": made of what the micro-service calls foreign"}
	slices.Sort(want)
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("each has an event: -want +got:\n%s", diff)
	}

	before := w.all()
	w.pull("the next round has nothing to do", step.PullCounts{Unchanged: 2})
	if diff := cmp.Diff(before, w.all()); diff != "" {
		t.Errorf("and writes nothing: -want +got:\n%s", diff)
	}

	w.change(name, func(i *instance) { i.Spec.Owner = &v1alpha1.OwnerReference{Name: "hello"} })
	w.put("foreign", api.PutRequest{Name: "Pulled Record", HelloTo: "Nobody"})
	w.pull("the mirror follows its greeting", step.PullCounts{Updated: 1, Unchanged: 1})
	if got := w.get(name).Spec; got.HelloTo != "Nobody" || got.Owner == nil {
		t.Errorf("and keeps what others have set: got %+v", got)
	}

	w.change(name, func(i *instance) { delete(i.Annotations, model.AnnotationNoSync) })
	w.service("hello", "Jon")
	w.put("foreign", api.PutRequest{Name: "Pulled Record", HelloTo: "Somebody"})
	w.pull("a mirror without no-sync no longer follows", step.PullCounts{Unchanged: 2})
	w.sync(name)
	if got := w.greetings()[string(w.get(name).UID)]; got != "Pulled Record: Jon is saying hello to Nobody" {
		t.Errorf("and is pushed: got %q", got)
	}
}

// writes counts the requests of the function that write a model.
func (w *world) writes() (n int) {
	for _, r := range w.Requests() {
		if !strings.HasPrefix(r, http.MethodGet) {
			n++
		}
	}
	return n
}

// TestAtRest has all kinds of greetings. After a round that has done what is to be done, and after the policy has
// done its part, no round writes anything.
func TestAtRest(t *testing.T) {
	w := newWorld(t)
	w.service("hello", "Jon")
	w.synced("a", "Arya")
	w.put("foreign", api.PutRequest{Name: "Pulled Record", HelloTo: "Dude"})
	w.put("changed", api.PutRequest{Name: "Changed", HelloTo: "Bran"})
	w.put("tyrion", api.PutRequest{Name: "Tyrion", HelloTo: hello.Later})
	w.put("joffrey", api.PutRequest{Name: "Joffrey", HelloTo: hello.Never})
	w.pull("unwelcome guests are not adopted: the policy would delete the mirrors", step.PullCounts{Created: 2, Unchanged: 3})

	w.put("changed", api.PutRequest{Name: "Changed", HelloTo: hello.Later})
	w.pull("a mirror whose guest becomes unwelcome follows", step.PullCounts{Updated: 1, Unchanged: 4})
	steptest.Delete[*instance](w.World, model.MirrorName("changed")) // As the policy does.
	w.writes()
	for range 2 {
		w.pull("at rest", step.PullCounts{Unchanged: 5})
		if n := w.writes(); n > 0 {
			t.Errorf("at rest nothing is written: got %d requests that write", n)
		}
	}
}

func TestAdoptFailures(t *testing.T) {
	w := newWorld(t)
	steptest.Given(w.World, &instance{ObjectMeta: steptest.Meta(model.MirrorName("taken")), Spec: v1alpha1.HelloWorldServiceInstanceSpec{HelloTo: "Sansa"}})
	w.put("taken", api.PutRequest{Name: "Taken", HelloTo: "Arya"})
	w.put("invalid", api.PutRequest{Name: "Invalid", HelloTo: "  "})
	w.put("good", api.PutRequest{Name: "Good", HelloTo: "Bran"})
	w.pull("records that cannot be adopted do not stop the others", step.PullCounts{Created: 1, Failed: 2})
	if got := w.get(model.MirrorName("taken")); got.Spec.HelloTo != "Sansa" {
		t.Errorf("an instance that is no mirror stays as it is: got %+v", got.Spec)
	}
}

func TestDrift(t *testing.T) {
	cases := map[string]struct {
		reason string
		harm   func(w *world, i *instance)
		want   string // The reason of the sync.
	}{
		"Missing": {"A greeting that somebody has deleted", func(w *world, i *instance) { w.remove(string(i.UID)) }, "pull: the micro-service does not have it"},
		"HelloTo": {"A changed hello_to", func(w *world, i *instance) {
			w.put(string(i.UID), api.PutRequest{Name: "a", HelloFrom: "Jon", HelloTo: "X"})
		}, `pull: hello_to is "X", expected "Arya"`},
		"HelloFrom": {"A changed hello_from", func(w *world, i *instance) { w.put(string(i.UID), api.PutRequest{Name: "a", HelloTo: "Arya"}) }, `pull: hello_from is not set, expected "Jon"`},
		"Name": {"A changed name", func(w *world, i *instance) {
			w.put(string(i.UID), api.PutRequest{Name: "b", HelloFrom: "Jon", HelloTo: "Arya"})
		}, `pull: name is "b", expected "a"`},
		"Replaced": {"A greeting that somebody has created again as the greeter's own", func(w *world, i *instance) {
			w.remove(string(i.UID))
			w.put(string(i.UID), api.PutRequest{Name: "a", HelloFrom: "Jon", HelloTo: "Arya"})
		}, "pull: generation is not set, expected 1"},
		"Older": {"A greeting from an old copy of the greeter's disk", func(w *world, i *instance) {
			w.change("a", func(i *instance) { i.Spec.Name = "b" })
			w.change("a", func(i *instance) { i.Spec.Name = "" })
			w.sync("a")
			w.remove(string(i.UID))
			w.put(string(i.UID), api.PutRequest{Name: "a", HelloFrom: "Jon", HelloTo: "Arya", Generation: 1,
				Model: &api.ModelRef{Namespace: w.Namespace, Name: "a", UID: string(i.UID)}})
		}, "pull: generation is 1, expected 3"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.service("hello", "Jon")
			a := w.synced("a", "Arya")
			w.synced("other", "Bran")
			w.pull("nothing has happened yet", step.PullCounts{Unchanged: 2})
			greetings := w.greetings()

			tc.harm(w, a)
			other := w.get("other").ResourceVersion
			want := step.PullCounts{Drifted: 1, Unchanged: 1}
			w.pull(tc.reason+" is counted as drift", want)
			if got := w.get("a").Annotations; got[model.AnnotationRequestReason] != tc.want || got[model.AnnotationRequestedAt] == "" {
				t.Errorf("%s: a sync is requested with reason %q, got %v", tc.reason, tc.want, got)
			}
			w.pull("it is requested once", step.PullCounts{Unchanged: len(w.greetings())})
			event := "Normal Drifted HelloWorldServiceInstance/a: " + strings.TrimPrefix(tc.want, "pull: ") + ": it is synced again"
			if diff := cmp.Diff([]string{event}, w.Events()); diff != "" {
				t.Errorf("%s has an event: -want +got:\n%s", tc.reason, diff)
			}

			w.sync("a")
			if diff := cmp.Diff(greetings, w.greetings()); diff != "" {
				t.Errorf("%s is repaired: -want +got:\n%s", tc.reason, diff)
			}
			if got, want := w.get("a").Status.Sync.Message, "OK, requested: "+tc.want; got != want {
				t.Errorf("%s: the status says why: want %q, got %q", tc.reason, want, got)
			}
			w.pull("after that nothing differs", step.PullCounts{Unchanged: 2})
			if got := w.get("other").ResourceVersion; got != other {
				t.Errorf("other instances stay as they are")
			}
		})
	}
}

func TestNotSettled(t *testing.T) {
	cases := map[string]struct {
		reason string
		busy   func(w *world)
	}{
		"Changed":   {"A change that is not synced yet", func(w *world) { w.change("a", func(i *instance) { i.Spec.HelloTo = "B" }) }},
		"Service":   {"A changed service that is not synced yet", func(w *world) { steptest.Change(w.World, "hello", func(s *service) { s.Spec.HelloFrom = "J" }) }},
		"Service2":  {"An instance that is not synced after a change of its service", func(w *world) { w.service("hello", "J") }},
		"Requested": {"A sync that was requested", func(w *world) { w.change("a", annotate(model.AnnotationRequestedAt, "now")) }},
		"NoSync":    {"An instance that opted out", func(w *world) { w.change("a", annotate(model.AnnotationNoSync, "true")) }},
		"Paused":    {"A paused instance", func(w *world) { w.change("a", annotate(model.AnnotationPaused, "")) }},
		"Deleting":  {"An instance that is being deleted", func(w *world) { steptest.Delete[*instance](w.World, "a") }},
		"NoService": {"A service that is being deleted", func(w *world) { steptest.Delete[*service](w.World, "hello") }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.service("hello", "Jon")
			a := w.synced("a", "Arya")
			tc.busy(w)
			before := w.all()

			w.put(string(a.UID), api.PutRequest{Name: "x", HelloTo: "x"})
			w.pull(tc.reason+" is no drift", step.PullCounts{Unchanged: 1})
			w.remove(string(a.UID))
			w.pull(tc.reason+" is no drift, also without a greeting", step.PullCounts{})
			if diff := cmp.Diff(before, w.all()); diff != "" {
				t.Errorf("%s: nothing is written: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func annotate(key, value string) func(*instance) {
	return func(i *instance) { i.Annotations = map[string]string{key: value} }
}

func TestOrphans(t *testing.T) {
	w := newWorld(t)
	w.service("hello", "Jon")
	w.synced("kept", "Arya")
	orphan := func(id, namespace, name, uid string) {
		w.put(id, api.PutRequest{Name: id, HelloFrom: "Jon", HelloTo: "Bran", Generation: 2, Model: &api.ModelRef{Namespace: namespace, Name: name, UID: uid}})
	}
	orphan("gone", w.Namespace, "gone", "gone")
	orphan("replaced", w.Namespace, "kept", "replaced")
	orphan("elsewhere", "elsewhere", "gone", "elsewhere")
	orphan("foreign", w.Namespace, "gone", "somebody")
	orphan("bad", w.Namespace, "../kept", "bad")
	w.pull("greetings of models that are gone are removed, whatever the name of the model was", step.PullCounts{Orphaned: 3, Unchanged: 1})

	greetings := w.greetings()
	for _, id := range []string{"elsewhere", "foreign"} {
		if _, ok := greetings[id]; !ok {
			t.Errorf("a greeting that belongs to no model of this namespace stays: %s is gone", id)
		}
	}
	if len(greetings) != 3 {
		t.Errorf("want 3 greetings, got %v", greetings)
	}
	_, err := w.greeter.Client.Put(t.Context(), "gone", api.PutRequest{Name: "gone", HelloFrom: "Jon", HelloTo: "Bran", Generation: 2, Model: &api.ModelRef{Namespace: w.Namespace, Name: "gone", UID: "gone"}})
	if err == nil {
		t.Error("a late sync cannot bring an orphan back")
	}
}

// TestRaces changes instances after pull has read them and before it reads the greetings.
func TestRaces(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(w *world)
		want   step.PullCounts
	}{
		"Created": {"The greeting of a new instance is no orphan", func(w *world) { w.synced("b", "Bran") }, step.PullCounts{Unchanged: 2}},
		"Changed": {"An instance that was changed and synced is no drift", func(w *world) {
			w.change("a", func(i *instance) { i.Spec.HelloTo = "B" })
			w.sync("a")
		}, step.PullCounts{Unchanged: 1}},
		"Deleted": {"A deleted instance is no drift", func(w *world) {
			steptest.Delete[*instance](w.World, "a")
			w.sync("a")
		}, step.PullCounts{Unchanged: 1}},
		"Replaced": {"An instance that was created again is no drift", func(w *world) {
			steptest.Delete[*instance](w.World, "a")
			w.sync("a")
			w.synced("a", "Arya")
		}, step.PullCounts{Unchanged: 2}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.service("hello", "Jon")
			w.synced("a", "Arya")
			var once sync.Once
			w.greeter.Misbehave(func(greeter http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/greetings" {
						once.Do(func() { tc.change(w) })
					}
					greeter.ServeHTTP(rw, r)
				})
			})
			w.pull(tc.reason, tc.want)
			greetings := w.greetings()
			for name := range w.all() {
				i := w.get(name)
				if _, ok := greetings[string(i.UID)]; !ok || i.Annotations[model.AnnotationRequestedAt] != "" {
					t.Errorf("%s: want a greeting of %s and no requested sync, got %v, greetings %v", tc.reason, name, i.Annotations, greetings)
				}
			}
		})
	}
}

// secondPage applies a fault to all pages but the first, which has one greeting.
func secondPage(f greetertest.Fault) greetertest.Fault {
	return func(greeter http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("continue") {
				f(greeter).ServeHTTP(rw, r)
				return
			}
			r.URL.RawQuery = "limit=1"
			greeter.ServeHTTP(rw, r)
		})
	}
}

func TestTrouble(t *testing.T) {
	cases := map[string]struct {
		reason string
		fault  greetertest.Fault
		want   string
	}{
		"Status":     {"A greeter that answers 500", greetertest.Failing(500), "answered 500"},
		"Broken":     {"A greeter that answers half a page", greetertest.BrokenJSON(), "cannot be decoded"},
		"Slow":       {"A greeter that does not answer in time", greetertest.Slow(time.Minute), "deadline exceeded"},
		"Gone":       {"A greeter that breaks the connection", greetertest.AnswerLost(), "EOF"},
		"Other":      {"Something that is not the greeter", func(http.Handler) http.Handler { return http.NotFoundHandler() }, "something that is not the greeter answered 404"},
		"Empty":      {"An answer without a list", answering(`{}`), "items: expected a list"},
		"SecondPage": {"A greeter that fails at the second page", secondPage(greetertest.Failing(503)), "answered 503"},
		"SameAgain":  {"A greeter that sends the same page again", secondPage(answering(`{"items":[{"id":"0"}]}`)), "in the order of ids"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.service("hello", "Jon")
			w.synced("a", "Arya")
			missing := w.synced("missing", "Bran")
			w.remove(string(missing.UID))
			w.put("~last", api.PutRequest{Name: "Pulled Record", HelloTo: "Dude"})
			models, greetings := w.all(), w.greetings()

			w.greeter.Misbehave(tc.fault)
			if name == "Slow" {
				w.start(t, time.Second)
			}
			_, answer := w.Tick()
			if answer.Code != 503 || !strings.Contains(answer.Body, tc.want) || strings.Contains(answer.Body, "\n") {
				t.Errorf("%s: want 503 with one line about %q, got %d %s", tc.reason, tc.want, answer.Code, answer.Body)
			}
			w.greeter.Misbehave(nil)
			if diff := cmp.Diff(models, w.all()); diff != "" {
				t.Errorf("%s: no model is written: -want +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(greetings, w.greetings()); diff != "" {
				t.Errorf("%s: no greeting is written: -want +got:\n%s", tc.reason, diff)
			}
			w.pull("the next round does the work when the greeter is back", step.PullCounts{Created: 1, Drifted: 1, Unchanged: 1})
		})
	}
}

// answering answers every request with the body.
func answering(body string) greetertest.Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(body))
		})
	}
}

// TestSingleGreetingInTrouble has a greeter that answers lists, but fails for a single greeting.
func TestSingleGreetingInTrouble(t *testing.T) {
	w := newWorld(t)
	w.service("hello", "Jon")
	missing := w.synced("missing", "Bran")
	w.remove(string(missing.UID))
	w.greeter.Misbehave(func(greeter http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/greetings" {
				http.Error(rw, "out of order", http.StatusInternalServerError)
				return
			}
			greeter.ServeHTTP(rw, r)
		})
	})
	w.pull("without the greeting it is a failed record and no drift", step.PullCounts{Failed: 1})
	if got := w.get("missing").Annotations; got != nil {
		t.Errorf("no sync is requested: got %v", got)
	}
}

// TestMany pulls more than one page of greetings and of instances.
func TestMany(t *testing.T) {
	n := 520
	w := newWorld(t)
	items := []api.Greeting{}
	for i := range n {
		id := string(rune('a'+i/100)) + strings.Repeat("0", i%100)
		items = append(items, api.Greeting{ID: id, Name: "Pulled Record", HelloTo: "Dude"})
	}
	page := func(from, to int, next string) string {
		raw, err := json.Marshal(api.GreetingList{Items: items[from:to], Continue: next})
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	w.greeter.Misbehave(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body := page(0, n/2, "more")
			if r.URL.Query().Get("continue") == "more" {
				body = page(n/2, n, "")
			}
			answering(body)(nil).ServeHTTP(rw, r)
		})
	})
	w.pull("all pages are pulled", step.PullCounts{Created: n})
	before := time.Now()
	w.pull("and found again", step.PullCounts{Unchanged: n})
	if got := len(w.all()); got != n {
		t.Errorf("want %d instances, got %d", n, got)
	}
	t.Logf("a round over %d that are unchanged took %s", n, time.Since(before))
}

func TestSettings(t *testing.T) {
	for name, tc := range map[string]struct {
		env  map[string]string
		want string
	}{
		"NoNamespace": {map[string]string{"GREETER_URL": "http://greeter"}, "NAMESPACE"},
		"NoGreeter":   {map[string]string{"NAMESPACE": "helloworld"}, "GREETER_URL"},
		"BadGreeter":  {map[string]string{"NAMESPACE": "helloworld", "GREETER_URL": "greeter"}, "GREETER_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range tc.env {
				t.Setenv(key, value)
			}
			if _, err := steps(t.Context(), nil); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want an error that names %s, got %v", tc.want, err)
			}
		})
	}
}

func TestWires(t *testing.T) {
	steptest.Namespace(t)
	t.Setenv("GREETER_URL", "http://greeter")
	w := steptest.New(t, steps, v1alpha1.AddToScheme)
	w.CheckWires("helloworld", "pull", "../../../config", "../../../eventing")
}
