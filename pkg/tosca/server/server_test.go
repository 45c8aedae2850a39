package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/tosca/server"
	. "github.com/xos-knative/synchronizer/pkg/tosca/toscatest"
)

func sample(t testing.TB, name string) string {
	t.Helper()
	raw, err := os.ReadFile("../testdata/recipes/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func sameSet(t testing.TB, reason string, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("%s: -want +got:\n%s", reason, diff)
	}
}

func TestRecipesOfXOS(t *testing.T) {
	w := newWorld(t)
	first, more := sample(t, "library.yml"), sample(t, "library-more.yml")

	created := "Created models: ['constraints', 'shelf', 'volume']"
	w.run(first).want(t, "the recipe is taken, and answered as XOS did", 200, created)
	createdMore := "Created models: ['constraints', 'volume1', 'volume2']"
	w.run(more).want(t, "so is the second one", 200, createdMore)

	all := []string{
		"shelves/fantasy", "books/the-first-book",
		"books/the-first-book-1", "books/the-first-book-2",
		"servicegraphconstraints/constraints",
	}
	sameSet(t, "three books on one shelf; both recipes mean the same constraint", all, w.objects())
	if diff := cmp.Diff(map[string]any{"name": "Fantasy", "label": "Old and new"}, w.spec(shelves, "fantasy")); diff != "" {
		t.Errorf("shelf: -want +got:\n%s", diff)
	}
	shelf := map[string]any{"name": "fantasy"}
	if diff := cmp.Diff(map[string]any{"name": "The First Book", "title": "A Game of Thrones", "shelf": shelf}, w.spec(books, "the-first-book")); diff != "" {
		t.Errorf("a book belongs on the only shelf, here one of its own recipe: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"name": "The First Book 1", "title": "A Clash of Kings", "shelf": shelf}, w.spec(books, "the-first-book-1")); diff != "" {
		t.Errorf("a book belongs on the only shelf, here one of another recipe: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"constraints": `["Library"]`, "priority": int64(0)}, w.spec(constraints, "constraints")); diff != "" {
		t.Errorf("constraint: -want +got:\n%s", diff)
	}

	before, writes := w.state(), len(w.writesSoFar())
	w.run(first).want(t, "a second upload is answered as the first", 200, created)
	w.run(more).want(t, "also of the other recipe", 200, createdMore)
	if diff := cmp.Diff(before, w.state()); diff != "" {
		t.Errorf("a second upload changes nothing: -want +got:\n%s", diff)
	}
	if n := len(w.writesSoFar()) - writes; n != 0 {
		t.Errorf("nor does it try to: %d writes", n)
	}

	w.delete(more).want(t, "deleted in reverse order", 200, "Deleted models: ['volume2', 'volume1', 'constraints']")
	sameSet(t, "only what the recipe lists is gone", all[:2], w.objects())
	w.delete(more).want(t, "what is gone already is no error", 200, "Deleted models: ['volume2', 'volume1', 'constraints']")
	w.delete(first).want(t, "the rest", 200, "Deleted models: ['volume', 'shelf', 'constraints']")
	sameSet(t, "nothing is left", []string{}, w.objects())

	w.wantDeletions(
		"library.xos-knative.dev/v1alpha1/namespaces/%s/books/the-first-book-2",
		"library.xos-knative.dev/v1alpha1/namespaces/%s/books/the-first-book-1",
		"core.xos-knative.dev/v1alpha1/namespaces/%s/servicegraphconstraints/constraints",
		"library.xos-knative.dev/v1alpha1/namespaces/%s/books/the-first-book",
		"library.xos-knative.dev/v1alpha1/namespaces/%s/shelves/fantasy",
	)
}

// wantDeletions checks what was deleted, in which order.
func (w *world) wantDeletions(paths ...string) {
	w.t.Helper()
	want := []string{}
	for _, path := range paths {
		want = append(want, "DELETE /apis/"+fmt.Sprintf(path, w.namespace))
	}
	deletions := slices.DeleteFunc(w.writesSoFar(), func(s string) bool { return !strings.HasPrefix(s, "DELETE") })
	if diff := cmp.Diff(want, deletions); diff != "" {
		w.t.Errorf("deletions: -want +got:\n%s", diff)
	}
}

func TestBadRecipes(t *testing.T) {
	w := newWorld(t)
	w.run(sample(t, "library.yml")).want(t, "something is there that could be harmed", 200, "Created...")
	before := w.state()
	t.Run("All", func(t *testing.T) { badRecipes(t, w) })
	w.run(strings.Repeat("a: 1\n", 2<<20)).want(t, "10 MB", 413, "TooLargeError: ...")
	if diff := cmp.Diff(before, w.state()); diff != "" {
		t.Errorf("a bad recipe changes nothing: -want +got:\n%s", diff)
	}
}

// badRecipes sends them all. Each mostly waits.
func badRecipes(t *testing.T, w *world) {
	for name, tc := range BadRecipes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, path := range []string{"/run", "/delete"} {
				a := w.send("POST", path, tc.Recipe)
				if name == "TooLarge" {
					a.want(t, tc.Reason, 413, "TooLargeError: body: expected at most 1048576 bytes\n")
					continue
				}
				lines := strings.Split(strings.TrimSpace(a.body), "\n")
				if a.code != 400 || len(lines) != len(tc.Want) {
					t.Fatalf("%s: want status 400 and %d errors, got %d:\n%s", tc.Reason, len(tc.Want), a.code, a.body)
				}
				for i, want := range tc.Want {
					if !strings.HasPrefix(lines[i], want) {
						t.Errorf("%s:\nwant %s...\ngot  %s", tc.Reason, want, lines[i])
					}
				}
			}
		})
	}
}

// What only the API server can say of a recipe is told in the recipe's terms, too.
func TestRefusedByTheAPI(t *testing.T) {
	w := newWorld(t)
	w.create(widgets, "Widget", "there", map[string]any{"name": "there", "count": int64(1)})
	before := w.state()
	good := Widget("good")
	cases := map[string]struct{ reason, recipe, want string }{
		"Maximum":   {"A range", "a: {type: tosca.nodes.Widget, properties: {name: a, count: 11}}", `InvalidPropertyValueError: line 4: node "a": property "count": Invalid value: 11: ...`},
		"Enum":      {"A set of values", Widget("a", "    color: blue"), `InvalidPropertyValueError: line 9: node "a": property "color": Unsupported value: "blue": supported values: ...`},
		"Pattern":   {"A pattern", Widget("a", "    item_code: xyz"), `InvalidPropertyValueError: line 9: node "a": property "item_code": Invalid value: "xyz": ...`},
		"Rule":      {"A rule over several properties is the node's", Widget("a", "    enabled: false\n") + "b:\n  type: tosca.nodes.Widget\n  properties:\n    name: b\n    count: 6\n    enabled: false", `InvalidPropertyValueError: line 10: node "b": spec: Invalid value: more than 5 must be enabled...`},
		"Date":      {"A format", Widget("a", "    made_at: yesterday"), `TypeMismatchError: line 9: node "a": property "made_at": Invalid value: "yesterday": ...`},
		"Update":    {"An update is checked as a creation is", "a: {type: tosca.nodes.Widget, properties: {name: there, count: 0}}", `InvalidPropertyValueError: line 4: node "a": property "count": Invalid value: 0: ...`},
		"Blank":     {"A rule of a model's author", "a: {type: tosca.nodes.Book, properties: {name: a, title: ' '}}", `InvalidPropertyValueError: line 4: node "a": property "title": Invalid value: ...`},
		"MustExist": {"A reference to nothing", Widget("a", "    must-exist: true"), "MustExistError: line 4: node \"a\": there is no Widget \"a\", but must-exist is true\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			// A good node after the bad one and one before it in the order of work.
			a := w.run(Recipe(tc.recipe + "\n" + good + "\nz: {type: tosca.nodes.Maker}"))
			a.want(t, tc.reason, 400, tc.want)
		})
	}
	a := w.run(Recipe("a: {type: tosca.nodes.Widget, properties: {name: a, count: 11}}\nb: {type: tosca.nodes.Gadget}\nc: {type: tosca.nodes.Widget, properties: {name: c, count: 12}}"))
	var names []string
	for line := range strings.Lines(a.body) {
		names = append(names, strings.Join(strings.Fields(line)[:3], " "))
	}
	if diff := cmp.Diff([]string{"InvalidPropertyValueError: line 4:", "InvalidTypeError: line 5:", "InvalidPropertyValueError: line 6:"}, names); diff != "" {
		t.Errorf("errors of the recipe and of the API are one list in the order of lines: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(before, w.state()); diff != "" {
		t.Errorf("a bad recipe changes nothing: -want +got:\n%s", diff)
	}
	if n := len(w.writesSoFar()); n != 0 {
		t.Errorf("nothing is written before all of it is agreed: %v", w.writesSoFar())
	}
}

func TestLinksAndNames(t *testing.T) {
	w := newWorld(t)
	w.create(shelves, "Shelf", "by-kubectl", map[string]any{"name": "A Shelf", "label": "x"})
	w.create(shelves, "Shelf", "plain", map[string]any{"label": "x"})
	text := Recipe(`
a: {type: tosca.nodes.Shelf, properties: {name: A Shelf, must-exist: true}}
b: {type: tosca.nodes.Shelf, properties: {name: plain, label: y}}
new shelf: {type: tosca.nodes.Shelf, properties: {name: New One, label: z, no_sync: yes}}
i1:
  type: tosca.nodes.Book
  properties: {name: I 1, title: x}
  requirements: [{shelf: {node: a, relationship: tosca.relationships.BelongsToOne}}]
i2:
  type: tosca.nodes.Book
  properties: {name: I 2, title: x}
  requirements: [shelf: new shelf]`)
	before := w.get(shelves, "by-kubectl").GetResourceVersion()
	created := "Created models: ['a', 'b', 'new shelf', 'i1', 'i2']"
	w.run(text).want(t, "links may go to what is there and to what is new", 200, created)
	for _, c := range []struct {
		book, shelf string
	}{{"i-1", "by-kubectl"}, {"i-2", "new-one"}} {
		if got, _, _ := unstructured.NestedString(w.get(books, c.book).Object, "spec", "shelf", "name"); got != c.shelf {
			t.Errorf("a link is the name of the object, not the one on display: want %q, got %q", c.shelf, got)
		}
	}
	if got := w.get(shelves, "by-kubectl").GetResourceVersion(); got != before {
		t.Error("must-exist: the model is not changed")
	}
	if got := w.spec(shelves, "plain")["label"]; got != "y" {
		t.Errorf("a model without a display name is found by its object's name: %v", got)
	}
	if got := w.get(shelves, "new-one").GetAnnotations()["synchronizer.xos-knative.dev/no-sync"]; got != "true" {
		t.Errorf("no_sync is an annotation: %q", got)
	}
	state := w.state()
	w.run(text).want(t, "again", 200, created)
	if diff := cmp.Diff(state, w.state()); diff != "" {
		t.Errorf("a second upload changes nothing: -want +got:\n%s", diff)
	}

	// What a policy or a human set and the recipe does not mention stays.
	w.change(books, "i-1", func(o map[string]any) {
		_ = unstructured.SetNestedField(o, "kept", "metadata", "annotations", "example.com/note")
	})
	noShelf := Recipe("i1: {type: tosca.nodes.Book, properties: {name: I 1, title: other}}")
	w.run(noShelf).want(t, "a recipe without the link", 200, "Created models: ['i1']")
	o := w.get(books, "i-1")
	if shelf, _, _ := unstructured.NestedString(o.Object, "spec", "shelf", "name"); shelf != "by-kubectl" || o.GetAnnotations()["example.com/note"] != "kept" {
		t.Errorf("an update sets what the recipe lists and leaves the rest: %v", o.Object)
	}
	w.delete(text).want(t, "references are not deleted", 200, "Deleted models: ['i2', 'i1', 'new shelf', 'b']")
	sameSet(t, "references are not deleted", []string{"shelves/by-kubectl"}, w.objects())
}

func TestOpenLinks(t *testing.T) {
	w := newWorld(t)
	book := func(name string) string {
		return Recipe("i: {type: tosca.nodes.Book, properties: {name: " + name + ", title: x}}")
	}
	shelf := func(name string) string {
		shelf, _, _ := unstructured.NestedString(w.get(books, name).Object, "spec", "shelf", "name")
		return shelf
	}
	w.run(book("none")).want(t, "without any shelf the link stays open", 200, "Created models: ['i']")
	w.create(shelves, "Shelf", "only", map[string]any{"label": "x"})
	w.run(book("one")).want(t, "with one there is no choice", 200, "Created models: ['i']")
	w.run(book("none")).want(t, "a model that exists is left as it is", 200, "Created models: ['i']")
	w.create(shelves, "Shelf", "second", map[string]any{"label": "x"})
	w.run(book("two")).want(t, "with several nothing is chosen", 200, "Created models: ['i']")
	for name, want := range map[string]string{"none": "", "one": "only", "two": ""} {
		if got := shelf(name); got != want {
			t.Errorf("%s: expected shelf %q, got %q", name, want, got)
		}
	}
}

func TestDefaultsAreNoChange(t *testing.T) {
	w := newWorld(t)
	text := Recipe(Widget("a", "    ports: [{port_number: 80}]\n    ratio: 2.0\n    labels: {a: b}\n"))
	w.run(text).want(t, "new", 200, "Created models: ['a']")
	state := w.state()
	w.run(text).want(t, "the API server's defaults inside of a list are not a difference", 200, "Created models: ['a']")
	if diff := cmp.Diff(state, w.state()); diff != "" {
		t.Errorf("a second upload changes nothing: -want +got:\n%s", diff)
	}
	w.run(strings.Replace(text, "{a: b}", "{c: d}", 1)).want(t, "a map is a value: it is replaced", 200, "Created models: ['a']")
	if diff := cmp.Diff(map[string]any{"c": "d"}, w.spec(widgets, "a")["labels"]); diff != "" {
		t.Errorf("a map is a value: -want +got:\n%s", diff)
	}
}

func TestConflicts(t *testing.T) {
	w := newWorld(t)
	spec := func(name string) map[string]any {
		s := map[string]any{"count": int64(1)}
		if name != "" {
			s["name"] = name
		}
		return s
	}
	w.create(widgets, "Widget", "a-b", spec("A/B"))
	w.create(widgets, "Widget", "x", spec("twin"))
	w.create(widgets, "Widget", "y", spec("twin"))
	dying := w.create(widgets, "Widget", "dying", spec(""))
	w.change(widgets, "dying", func(o map[string]any) {
		_ = unstructured.SetNestedStringSlice(o, []string{"example.com/hold"}, "metadata", "finalizers")
	})
	if err := w.admin.Resource(widgets).Namespace(w.namespace).Delete(t.Context(), "dying", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	before := w.state()
	node := func(name string) string {
		return Recipe("n: {type: tosca.nodes.Widget, properties: {name: " + name + ", count: 2}}")
	}
	for _, c := range []struct{ reason, recipe, want string }{
		{"another model has the object's name", node("A B"), `ConflictError: line 4: node "n": "A B" would become the object a-b, which exists already and is "A/B"; change one of the names` + "\n"},
		{"two models have the display name", node("twin"), `ConflictError: line 4: node "n": "twin" is the name of 2 objects: x, y; it is not clear which is meant` + "\n"},
		{"a model that is going away would take the change with it", node(dying.GetName()), `ConflictError: line 4: node "n": Widget dying is being deleted; try again when it is gone` + "\n"},
	} {
		w.run(c.recipe).want(t, c.reason, 409, c.want)
	}
	w.delete(node("A B")).want(t, "nor is a stranger deleted", 409, "ConflictError: ...")
	if diff := cmp.Diff(before, w.state()); diff != "" {
		t.Errorf("a conflict changes nothing: -want +got:\n%s", diff)
	}
	w.delete(node("dying")).want(t, "deleting what is being deleted is done", 200, "Deleted models: ['n']")
}

func TestSomebodyElseWrites(t *testing.T) {
	w := newWorld(t)
	two := Recipe(Widget("a", "    color: green\n") + "\n" + Widget("b", "    color: green\n"))
	w.create(widgets, "Widget", "b", map[string]any{"name": "b", "count": int64(1)})

	// before calls f once, before the API gets the first PATCH, of the dry run or for real.
	before := func(dryRun bool, f func()) {
		done := false
		w.disturbBy(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPatch && isDryRun(r) == dryRun && !done {
				done = true
				f()
			}
			return false
		})
	}
	before(false, func() {
		w.change(widgets, "b", func(o map[string]any) { o["status"] = ready(1, "False", "Failed", "x") })
	})
	w.run(two).want(t, "a step that writes its status is no conflict", 200, "Created models: ['a', 'b']")
	if got := w.spec(widgets, "b")["color"]; got != "green" {
		t.Errorf("the change is on the newest object: %v", got)
	}
	if w.get(widgets, "b").Object["status"] == nil {
		t.Error("and the status is still there")
	}

	before(false, func() {
		w.change(widgets, "b", func(o map[string]any) {
			_ = unstructured.SetNestedField(o, int64(3), "spec", "count")
		})
	})
	third := Recipe(Widget("a2") + "\n" + Widget("b", "    color: red\n"))
	w.run(third).want(t, "a user who changes the spec is one; what was done is told", 409,
		`ConflictError: stopped at node "b": ConflictError: line 10: node "b": Widget b was changed by somebody else at the same time; try again
done: create Widget a2
not done: update Widget b
Upload the recipe again to have the rest done.
`)
	before(true, func() {
		w.change(widgets, "b", func(o map[string]any) { o["status"] = ready(2, "False", "Failed", "y") })
	})
	w.send("POST", "/run?dry-run=true", third).want(t, "a status is none for the dry run either", 200, strings.ReplaceAll(`unchanged: node "a2", Widget NS/a2
would update node "b", Widget NS/b: spec.color "green" -> "red", spec.count 3 -> 1
`, "NS", w.namespace))
	before(true, func() {
		if err := w.admin.Resource(widgets).Namespace(w.namespace).Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	w.run(third).want(t, "but its being deleted is", 409, "ConflictError: line 10: node \"b\": Widget b was changed by somebody else at the same time; try again\n")
	w.disturbBy(nil)
	w.run(third).want(t, "the second try is planned on what is there now", 200, "Created models: ['a2', 'b']")
}

// A caller who hangs up while the recipe is checked has nothing written; one who does so later has
// all of it.
func TestCallerHangsUp(t *testing.T) {
	cases := map[string]struct {
		reason string
		// at says during which request to the API.
		at   func(r *http.Request) bool
		want []string
	}{
		"Types": {"Before the recipe is read", func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/customresourcedefinitions") }, []string{"widgets/b"}},
		"Plan": {"While objects are looked for", func(r *http.Request) bool {
			return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/widgets")
		}, []string{"widgets/b"}},
		"Create": {"While a new object is checked", func(r *http.Request) bool { return r.Method == http.MethodPost && isDryRun(r) }, []string{"widgets/b"}},
		"Update": {"While a change is checked", func(r *http.Request) bool { return r.Method == http.MethodPatch && isDryRun(r) }, []string{"widgets/b"}},
		"Write": {"When it is too late", func(r *http.Request) bool {
			return r.Method == http.MethodPost && r.URL.Path != reviews && !isDryRun(r)
		}, []string{"widgets/a", "widgets/b"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.create(widgets, "Widget", "b", map[string]any{"name": "b", "count": int64(3)})
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			w.disturbBy(func(_ http.ResponseWriter, r *http.Request) bool {
				first := ctx.Err() == nil
				if first && !tc.at(r) {
					return false
				}
				hangUp()
				switch name {
				case "Types":
					// Before the body is read, nobody can tell that the caller is gone. The next request
					// to the API is too late.
					if first {
						return false
					}
				case "Write":
					<-w.hungUp()
					return false
				default:
					if !first {
						return false
					}
				}
				// Net/http tells of a client that is gone when the body is read.
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
				return true
			})
			r, err := http.NewRequestWithContext(ctx, "POST", w.url+"/run", strings.NewReader(Recipe(Widget("a")+"\n"+Widget("b"))))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+alice)
			if resp, err := http.DefaultClient.Do(r); err == nil {
				_ = resp.Body.Close()
				t.Errorf("the caller has hung up, and still has an answer: %d", resp.StatusCode)
			}
			w.requests.Wait()
			w.disturbBy(nil)
			sameSet(t, tc.reason, tc.want, w.objects())
			if changed := w.spec(widgets, "b")["count"] == int64(1); changed != (name == "Write") {
				t.Errorf("%s: the other model of the recipe changed: %t", tc.reason, changed)
			}
		})
	}
}

// A write that never gets through is not done.
func TestNeverGetsThrough(t *testing.T) {
	w := newWorld(t)
	w.create(widgets, "Widget", "b", map[string]any{"name": "b", "count": int64(3)})
	w.disturbBy(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch && !isDryRun(r) {
			w.change(widgets, "b", func(o map[string]any) { o["status"] = map[string]any{"observedGeneration": time.Now().UnixNano()} })
		}
		return false
	})
	w.run(Recipe(Widget("b"))).want(t, "somebody always writes first", 409, `ConflictError: stopped at node "b": ConflictError: line 4: node "b": Widget b was changed by somebody else...`)
	if got := w.spec(widgets, "b")["count"]; got != int64(3) {
		t.Errorf("and the answer is true: %v", got)
	}
}

// A deletion is of the object that was found, and not of another one that has its name by then.
func TestReplacedMeanwhile(t *testing.T) {
	w := newWorld(t)
	made := w.create(widgets, "Widget", "b", map[string]any{"name": "b", "count": int64(1)})
	done := false
	w.disturbBy(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete && !isDryRun(r) && !done {
			done = true
			if err := w.admin.Resource(widgets).Namespace(w.namespace).Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
			w.create(widgets, "Widget", "b", map[string]any{"name": "b", "count": int64(2)})
		}
		return false
	})
	w.delete(Recipe(Widget("b"))).want(t, "somebody has replaced it", 409, `ConflictError: stopped at node "b": ConflictError: line 4: node "b": Widget b was changed by somebody else...`)
	if now := w.get(widgets, "b"); now.GetUID() == made.GetUID() || now.GetDeletionTimestamp() != nil {
		t.Errorf("the new one stays: %v", now)
	}
	w.delete(Recipe(Widget("b"))).want(t, "who is asked again means the new one", 200, "Deleted models: ['b']")
}

func TestStopsInTheMiddle(t *testing.T) {
	w := newWorld(t)
	posts := 0
	w.disturbBy(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || isDryRun(r) {
			return false
		}
		if posts++; posts != 2 {
			return false
		}
		panic(http.ErrAbortHandler) // the connection breaks
	})
	three := Recipe(Widget("a") + "\n" + Widget("b") + "\n" + Widget("c"))
	a := w.send("POST", "/run", three, "Accept", "application/json")
	var got struct {
		Errors  []map[string]any
		Done    []string
		NotDone []string
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	if a.code != 503 || !slices.Equal(got.Done, []string{"a"}) || !slices.Equal(got.NotDone, []string{"b", "c"}) || got.Errors[0]["error"] != "UnavailableError" {
		t.Errorf("the answer says what was done: %d %s", a.code, a.body)
	}
	sameSet(t, "and it is true", []string{"widgets/a"}, w.objects())
	w.run(three).want(t, "once more, and all of it is there", 200, "Created models: ['a', 'b', 'c']")
	sameSet(t, "once more, and all of it is there", []string{"widgets/a", "widgets/b", "widgets/c"}, w.objects())
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	write := func(key, content string) {
		if err := os.WriteFile(filepath.Join(dir, key), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("admin", `{"username": "admin@opencord.org", "password": "letmein", "token": "`+alice+`"}`)
	write("looker", `{"password": "secret", "token": "`+reader+`"}`)
	write("unfinished", `{"password": "", "token": "`+alice+`"}`)
	if err := os.Mkdir(filepath.Join(dir, "..data"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *server.Options) { o.UsersDir = dir })
	off := newWorld(t, func(o *server.Options) { o.UsersDir = filepath.Join(dir, "not-there") })
	cases := map[string]struct {
		reason  string
		w       *world
		headers []string
		code    int
		want    string
	}{
		"None":         {"Nobody has no rights", w, []string{"Authorization", ""}, 401, "UnauthorizedError: expected `Authorization: Bearer..."},
		"Basic":        {"Only bearer tokens are credentials for the API", w, []string{"Authorization", "Basic eDp5"}, 401, "UnauthorizedError: expected `Authorization: Bearer..."},
		"Empty":        {"A token has to be there", w, []string{"Authorization", "Bearer "}, 401, "UnauthorizedError: expected..."},
		"Wrong":        {"The API says who is known", w, []string{"Authorization", "Bearer nobody"}, 401, "UnauthorizedError: cannot list the models' CustomResourceDefinitions: Unauthorized\n"},
		"Reader":       {"The API says what is allowed, before anything is written", w, []string{"Authorization", "Bearer " + reader}, 403, `ForbiddenError: cannot create Widget reader: widgets.example.com is forbidden: User "reader" cannot create resource "widgets"...`},
		"NoCRDs":       {"Types are read with the caller's rights, too", w, []string{"Authorization", "Bearer " + resident}, 403, `ForbiddenError: cannot list the models' CustomResourceDefinitions: customresourcedefinitions.apiextensions.k8s.io is forbidden: User "resident"...`},
		"XOSWrong":     {"A wrong password", w, []string{"Authorization", "", "xos-username", "admin@opencord.org", "xos-password", "letmeout"}, 401, "UnauthorizedError: xos-username or xos-password is wrong\n"},
		"XOSUnknown":   {"A user that is not there", w, []string{"Authorization", "", "xos-username", "eve", "xos-password", "letmein"}, 401, "UnauthorizedError: xos-username or xos-password is wrong\n"},
		"XOSEmpty":     {"A user whose password is not set yet", w, []string{"Authorization", "", "xos-username", "unfinished", "xos-password", ""}, 401, "UnauthorizedError: xos-username or xos-password is wrong\n"},
		"XOSFileOfAll": {"The name of the key is no user when the file says another", w, []string{"Authorization", "", "xos-username", "admin", "xos-password", "letmein"}, 401, "UnauthorizedError: xos-..."},
		"XOSReader":    {"A user of XOS has the rights of its token", w, []string{"Authorization", "", "xos-username", "looker", "xos-password", "secret"}, 403, "ForbiddenError: ..."},
		"XOSOff":       {"Without the Secret the headers are no identity", off, []string{"Authorization", "", "xos-username", "admin@opencord.org", "xos-password", "letmein"}, 401, "UnauthorizedError: xos-username and xos-password are not taken..."},
		"XOS":          {"An old script goes on working", w, []string{"Authorization", "", "xos-username", "admin@opencord.org", "xos-password", "letmein"}, 200, "Created models: ['xos']"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			// Each with a model of its own: one that is there as wanted needs no right to write.
			a := tc.w.send("POST", "/run", Recipe(Widget(strings.ToLower(name))), tc.headers...)
			a.want(t, tc.reason, tc.code, tc.want)
			if got := a.header.Get("WWW-Authenticate"); (tc.code == 401) != (got != "") {
				t.Errorf("%s: WWW-Authenticate is %q", tc.reason, got)
			}
		})
	}
	for token := range w.tokens {
		if !slices.Contains([]string{"Bearer " + alice, "Bearer " + reader, "Bearer " + resident, "Bearer nobody"}, token) {
			t.Errorf("the API saw somebody else's token: %q", token)
		}
	}
	write("broken", "{")
	w.send("GET", "/", "", "Authorization", "", "xos-username", "x", "xos-password", "y").
		want(t, "a Secret that cannot be read is not the caller's fault", 500, "InternalError: the Secret with the users of XOS cannot be read: key broken: expected JSON...")
}

// Passwords cannot be guessed unseen, nor for long. Nobody else is held up.
func TestGuessing(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"admin", "other"} {
		content := `{"password": "` + name + `-secret", "token": "` + alice + `"}`
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, func(o *server.Options) { o.UsersDir = dir })
	login := func(name, password string) answer {
		return w.send("GET", "/", "", "Authorization", "", "xos-username", name, "xos-password", password)
	}
	login("admin", "admin-secret").want(t, "the right one", 200, "...")
	for i := range 10 {
		login("admin", fmt.Sprint("guess ", i)).want(t, "a wrong one", 401, "UnauthorizedError: xos-username or xos-password is wrong\n")
	}
	warnings := w.logs.FilterMessage("A password is wrong").All()
	if len(warnings) != 10 || warnings[0].ContextMap()["username"] != "admin" || strings.Contains(fmt.Sprint(warnings), "guess") {
		t.Errorf("each is logged with the user and without the password, got %v", warnings)
	}
	tooMany := login("admin", "guess 11")
	tooMany.want(t, "one too many", 429, "TooManyAttemptsError: wrong passwords were tried too often; ...")
	if tooMany.header.Get("Retry-After") != "10" {
		t.Errorf("the answer says when to try again: %v", tooMany.header)
	}
	login("admin", "admin-secret").want(t, "the right one is not told from others then", 429, "TooManyAttemptsError...")
	login("other", "other-secret").want(t, "another user", 200, "...")
	w.send("GET", "/", "").want(t, "a token", 200, "...")

	w.send("GET", "/", "", "Authorization", "Bearer guessed").want(t, "a wrong token", 401, "UnauthorizedError: ...")
	if n := w.logs.FilterMessage("A token is wrong").Len(); n != 1 || strings.Contains(fmt.Sprint(w.logs.All()), "guessed") {
		t.Errorf("is logged without the token, got %v", w.logs.All())
	}
}

func TestArguments(t *testing.T) {
	w := newWorld(t)
	text := Recipe(Widget("a"))
	for _, c := range []struct{ reason, query, want string }{
		{"who mistypes dry-run must not change anything", "dryrun=true", `InvalidArgumentError: parameter "dryrun" is not known; known are: dry-run, namespace, wait` + "\n"},
		{"a truth value", "dry-run=perhaps", `InvalidArgumentError: dry-run is "perhaps"; expected true or false` + "\n"},
		{"a time", "wait=soon", `InvalidArgumentError: wait is "soon"; expected a time such as 30s, at most 4m0s` + "\n"},
		{"at most 4 minutes", "wait=1h", `InvalidArgumentError: wait is "1h"...`},
		{"time goes forward", "wait=-1s", `InvalidArgumentError: wait is "-1s"...`},
		{"a namespace, not a path", "namespace=../x", `InvalidArgumentError: namespace is "../x": ...`},
	} {
		w.send("POST", "/run?"+c.query, text).want(t, c.reason, 400, c.want)
	}
	w.send("POST", "/run", text, "Content-Encoding", "gzip").want(t, "no bombs in archives", 415, "InvalidArgumentError: ...")
	w.send("POST", "/run", strings.ReplaceAll(text, "\n", ""), "Content-Type", "application/x-www-form-urlencoded").want(t, "the usual mistake with curl", 400,
		"SyntaxError: the recipe has no line breaks: send it with `curl --data-binary @file`, since -d drops them\n")
	w.send("GET", "/run", "").want(t, "a recipe is posted", 405, "Method Not Allowed\n")
	w.send("GET", "/etc/passwd", "").want(t, "no such path", 404, "404 page not found\n")
	sameSet(t, "nothing was written", []string{}, w.objects())
}

// Models go where the request says, and otherwise to the namespace of the caller's service account.
func TestNamespaces(t *testing.T) {
	w := newWorld(t)
	other := w.namespace + "-2"
	account := "system:serviceaccount:" + other + ":uploader"
	event := []string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/test", "ce-type", server.EventRecipe}
	attribute := append(slices.Clone(event), "ce-namespace", other)
	const asksFor = "InvalidArgumentError: namespace: expected ?namespace=NAME, since "
	cases := map[string]struct {
		reason, user, path string
		headers            []string
		code               int
		want               string
	}{
		"Query":        {"The query says where", "alice", "/run?namespace=" + other, nil, 200, "Created..."},
		"Account":      {"A service account has a namespace", account, "/run", nil, 200, "Created..."},
		"Person":       {"A person has none", "alice", "/run", nil, 400, asksFor + `your token has no namespace: user "alice": not a service account` + "\n"},
		"NoAnswer":     {"Nor is there one where the API does not say who it is", "", "/run", nil, 400, asksFor + "this Kubernetes API does not say whose token yours is\n"},
		"Delete":       {"So it is for deletions", "alice", "/delete", nil, 400, asksFor + "..."},
		"EventQuery":   {"The query of an event says where, too", "alice", "/?namespace=" + other, event, 200, ""},
		"Attribute":    {"So does its attribute", "alice", "/", attribute, 200, ""},
		"Both":         {"They may agree", "alice", "/?namespace=" + other, attribute, 200, ""},
		"Disagree":     {"But not differ", "alice", "/?namespace=else", attribute, 422, "InvalidArgumentError: namespace: the query says else and the event says " + other + "; expected one of them\n"},
		"BadAttribute": {"An attribute is no path", "alice", "/", append(slices.Clone(event), "ce-namespace", "../x"), 422, `InvalidArgumentError: namespace is "../x": ...`},
		"EventAccount": {"An event's sender may be a service account", account, "/", event, 200, ""},
		"EventPerson":  {"Or a person, whose event can never be handled", "alice", "/", event, 422, asksFor + "..."},
		"EventWait":    {"Nobody waits for the answer to an event", "alice", "/?wait=5s", attribute, 400, "InvalidArgumentError: dry-run and wait are not for events; use POST /run\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w.calledBy(tc.user)
			object := strings.ToLower(name)
			w.send("POST", tc.path, Recipe(Widget(object)), tc.headers...).want(t, tc.reason, tc.code, tc.want)
			_, err := w.admin.Resource(widgets).Namespace(other).Get(t.Context(), object, metav1.GetOptions{})
			if (err == nil) != (tc.code == 200) {
				t.Errorf("%s: looking for the model in the other namespace: %v", tc.reason, err)
			}
		})
	}
	sameSet(t, "nothing went anywhere else", []string{}, w.objects())
}

// The API is asked who sends a request before the body is read: a body that never ends must not
// matter to a stranger's answer.
func TestStrangersAreNotListenedTo(t *testing.T) {
	w := newWorld(t)
	w.calledBy("alice")
	for name, tc := range map[string]struct {
		reason, path, token string
		code                int
	}{
		"NoToken":      {"Who has no token is nobody", "/run", "", 401},
		"NoPath":       {"There is nothing here", "/nowhere", "nobody", 404},
		"NoMethod":     {"Or nothing to post", "/custom_type/x", "nobody", 405},
		"Arguments":    {"Or the query is wrong", "/run?x=y", "nobody", 400},
		"Unknown":      {"The API does not know the token", "/run", "nobody", 401},
		"NoRight":      {"Or its owner may not read types", "/run", resident, 403},
		"NoNamespace":  {"Or it is not clear where to", "/delete", alice, 400},
		"UnknownEvent": {"An event is no different", "/", "nobody", 401},
	} {
		t.Run(name, func(t *testing.T) {
			body, never := io.Pipe()
			defer never.Close()
			r, err := http.NewRequestWithContext(t.Context(), "POST", w.url+tc.path, body)
			if err != nil {
				t.Fatal(err)
			}
			if tc.token != "" {
				r.Header.Set("Authorization", "Bearer "+tc.token)
			}
			began := time.Now()
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != tc.code {
				t.Errorf("%s: want status %d, got %d", tc.reason, tc.code, resp.StatusCode)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%s: the answer took %s", tc.reason, took)
			}
		})
	}
}

func TestDryRun(t *testing.T) {
	w := newWorld(t)
	w.create(widgets, "Widget", "old", map[string]any{"name": "Old", "count": int64(1), "tags": []any{"x"}})
	w.create(widgets, "Widget", "same", map[string]any{"count": int64(1)})
	w.create(makers, "Maker", "m", map[string]any{})
	before := w.state()
	text := Recipe(Widget("new") + "\n" + Widget("same") + `
m: {type: tosca.nodes.Maker, properties: {must-exist: true}}
old:
  type: tosca.nodes.Widget
  properties: {name: Old, count: 2, tags: [x, y], no_sync: true}
  requirements: [maker: m]`)
	want := strings.ReplaceAll(`exists, as it must: node "m", Maker NS/m
would create node "new", Widget NS/new
would update node "same", Widget NS/same: spec.name (not set) -> "same"
would update node "old", Widget NS/old: spec.count 1 -> 2, spec.maker.name (not set) -> "m", spec.tags ["x"] -> ["x","y"], metadata.annotations.synchronizer.xos-knative.dev/no-sync (not set) -> "true"
`, "NS", w.namespace)
	w.send("POST", "/run?dry-run=true", text).want(t, "what would change", 200, want)
	w.send("POST", "/run?dry-run", text, "Accept", "text/html, application/json;q=0.9").want(t, "for programs", 200, `{"dryRun":true,"models":[{"node":"m","kind":"Maker","namespace":"`+w.namespace+`","name":"m","action":"reference"},{"node":"new",...`)
	w.send("POST", "/delete?dry-run=true", text).want(t, "what would go", 200, strings.ReplaceAll(`would delete node "old", Widget NS/old
would delete node "same", Widget NS/same
nothing to delete: node "new", Widget NS/new
`, "NS", w.namespace))
	if diff := cmp.Diff(before, w.state()); diff != "" {
		t.Errorf("a dry run changes nothing: -want +got:\n%s", diff)
	}
	w.send("POST", "/run?dry-run=false", text).want(t, "for real", 200, "Created models: ['m', 'new', 'same', 'old']")
	w.send("POST", "/run?dry-run=true", text).want(t, "and now", 200, strings.ReplaceAll(`exists, as it must: node "m", Maker NS/m
unchanged: node "new", Widget NS/new
unchanged: node "same", Widget NS/same
unchanged: node "old", Widget NS/old
`, "NS", w.namespace))
}

// onSecondLook calls f, the synchronizer of a test, while somebody waits: the first look at the
// widgets is the plan's, the second one is Wait's.
func (w *world) onSecondLook(f func()) {
	looks := 0
	w.disturbBy(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/widgets") {
			if looks++; looks == 2 {
				f()
			}
		}
		return false
	})
}

// setStatus writes a status as a step does.
func (w *world) setStatus(name string, status map[string]any) {
	w.change(widgets, name, func(o map[string]any) { o["status"] = status })
}

// waited is a recipe of two models with a step, and one without.
var waited = Recipe(Widget("a") + "\n" + Widget("b") + "\nm: {type: tosca.nodes.Maker}")

func TestWait(t *testing.T) {
	w := newWorld(t)
	w.send("POST", "/run?wait=30s", Recipe(Widget("unsynced", "    no_sync: true\n"))).want(t, "what no step will touch is ready when it is there", 200, "Created models: ['unsynced']")
	w.send("POST", "/delete?wait=30s", Recipe(Widget("unsynced"))).want(t, "and gone when it is gone", 200, "Deleted models: ['unsynced']")

	w.onSecondLook(func() {
		w.setStatus("a", ready(1, "True", "", ""))
		w.setStatus("b", ready(1, "True", "", ""))
	})
	w.send("POST", "/run?wait=30s", waited).want(t, "ready in time; what has no steps is ready when it is there", 200, "Created models: ['a', 'b', 'm']")

	w.onSecondLook(func() {
		w.setStatus("a", ready(1, "False", "Failed", "Maybe not"))
		if err := w.admin.Resource(widgets).Namespace(w.namespace).Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	w.send("POST", "/run?wait=3s", waited).want(t, "what is not, and why", 504, strings.ReplaceAll(`Created models: ['a', 'b', 'm']
Not ready after at most 3s:
  node "a", Widget NS/a: Ready is False: Failed: Maybe not
  node "b", Widget NS/b: it was deleted in the meantime
`, "NS", w.namespace))
}

func TestWaitForGeneration(t *testing.T) {
	w := newWorld(t)
	w.run(waited)
	w.setStatus("a", ready(1, "True", "", ""))
	changed := strings.Replace(waited, "count: 1", "count: 2", 1)
	w.send("POST", "/run?wait=300ms", changed, "Accept", "application/json").want(t, "Ready of an older generation is not ready, nor is a model without a status", 504,
		`{"created":["a","b","m"],"models":[...`)
	w.send("POST", "/run?wait=2s", changed).want(t, "the same as text", 504, strings.ReplaceAll(`Created models: ['a', 'b', 'm']
Not ready after at most 2s:
  node "a", Widget NS/a: its generation 2 is not handled yet
  node "b", Widget NS/b: no step has handled it yet (generation 1)
`, "NS", w.namespace))
}

func TestWaitForDeletion(t *testing.T) {
	w := newWorld(t)
	w.run(waited)
	w.change(widgets, "a", func(o map[string]any) {
		_ = unstructured.SetNestedStringSlice(o, []string{"example.com/hold"}, "metadata", "finalizers")
	})
	w.send("POST", "/delete?wait=2s", waited).want(t, "a deletion waits for finalizers", 504, strings.ReplaceAll(`Deleted models: ['m', 'b', 'a']
Not gone after at most 2s:
  node "a", Widget NS/a: it is still there, held by: example.com/hold
`, "NS", w.namespace))
	w.onSecondLook(func() {
		w.change(widgets, "a", func(o map[string]any) { delete(o["metadata"].(map[string]any), "finalizers") })
	})
	w.send("POST", "/delete?wait=30s", waited).want(t, "gone in time", 200, "Deleted models: ['m', 'b', 'a']")
	sameSet(t, "gone in time", []string{}, w.objects())
}

func TestAPIAway(t *testing.T) {
	w := newWorld(t)
	w.disturbBy(func(rw http.ResponseWriter, _ *http.Request) bool {
		http.Error(rw, "etcd is not well", http.StatusInternalServerError)
		return true
	})
	a := w.run(Recipe(Widget("a")))
	a.want(t, "the API has trouble", 503, "UnavailableError: ...")
	if a.header.Get("Retry-After") == "" {
		t.Error("the caller is told when to come again")
	}
	w.proxy.Close()
	w.run(Recipe(Widget("a"))).want(t, "the API is away", 503, "UnavailableError: the Kubernetes API cannot be reached; try again\n")
	w.send("GET", "/", "").want(t, "for types as well", 503, "UnavailableError: ...")
}

func TestTypes(t *testing.T) {
	w := newWorld(t)
	var paths map[string]string
	if err := json.Unmarshal([]byte(w.send("GET", "/", "").body), &paths); err != nil {
		t.Fatal(err)
	}
	if paths["shelf"] != "/custom_type/shelf" || paths["widget"] != "/custom_type/widget" {
		t.Errorf("types as XOS listed them: %v", paths)
	}
	w.send("GET", paths["widget"], "").want(t, "a type", 200, "tosca_definitions_version: tosca_simple_yaml_1_0\nnode_types:\n  tosca.nodes.Widget:\n...")
	w.send("GET", "/custom_type/gadget", "").want(t, "no such type", 404, "InvalidTypeError: there is no such type; GET / lists them\n")
	w.send("GET", "/", "", "Authorization", "").want(t, "types are for those who may read them", 401, "UnauthorizedError: ...")
}

// A model that is labelled while the function runs is a type of the next recipe.
func TestNewModel(t *testing.T) {
	w := newWorld(t)
	text := Recipe("g: {type: tosca.nodes.Gadget, properties: {name: G, max_speed: 5}}")
	w.run(text).want(t, "not yet", 400, `InvalidTypeError: line 4: node "g": type "tosca.nodes.Gadget" is not known; ...`)
	crd := `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.new.example.com, labels: {synchronizer.xos-knative.dev/model: "true"}}
spec:
  group: new.example.com
  scope: Namespaced
  names: {kind: Gadget, listKind: GadgetList, plural: gadgets, singular: gadget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {name: {type: string}, maxSpeed: {type: integer}}}}}}}
`
	if err := kubeapitest.Shared(t).ApplyCRDDocuments(t.Context(), []byte(crd)); err != nil {
		t.Fatal(err)
	}
	w.run(text).want(t, "now", 200, "Created models: ['g']")
	gadgets := schema.GroupVersionResource{Group: "new.example.com", Version: "v1", Resource: "gadgets"}
	if diff := cmp.Diff(map[string]any{"name": "G", "maxSpeed": int64(5)}, w.spec(gadgets, "g")); diff != "" {
		t.Errorf("now: -want +got:\n%s", diff)
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	text := Recipe(Widget("a"))
	ce := []string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/test", "ce-type", server.EventRecipe, "Content-Type", "application/yaml"}
	structured := func(data any) string {
		raw, err := json.Marshal(map[string]any{"specversion": "1.0", "id": "1", "source": "/test", "type": server.EventRecipe, "data": data})
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	w.send("POST", "/", text, ce...).want(t, "a recipe is done, and the answer has no body, which a broker would take for a failure", 200, "")
	sameSet(t, "a recipe is done", []string{"widgets/a"}, w.objects())
	w.send("POST", "/", structured(Recipe(Widget("b"))), "Content-Type", "application/cloudevents+json").want(t, "structured mode", 200, "")
	sameSet(t, "structured mode", []string{"widgets/a", "widgets/b"}, w.objects())
	w.send("POST", "/", Recipe("a: {type: x}\nb: {type: y}"), ce...).want(t, "a bad recipe is never delivered again, and the reason has all errors", 422, "InvalidTypeError: line 4: node \"a\": ...")
	w.send("POST", "/", "a: \t", append(ce, "ce-type", "dev.example.other")...).want(t, "another event", 422, "type is \"dev.example.other\"; expected \"dev.xos-knative.tosca.recipe\"\n")
	w.send("POST", "/", text, append(ce, "Authorization", "")...).want(t, "an event needs a token, too", 401, "UnauthorizedError: ...")
	w.send("POST", "/", text).want(t, "no event", 400, "not a CloudEvent: ...")
	w.proxy.Close()
	w.send("POST", "/", text, ce...).want(t, "later", 503, "UnavailableError: ...")
}

// nodes is a recipe of n nodes, two thirds of which link to another.
func nodes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "n%d:\n  type: tosca.nodes.Widget\n  properties: {name: Widget No. %d, count: 1}\n", i, i)
		if i%3 != 0 {
			fmt.Fprintf(&b, "  requirements: [parent: {node: n%d, relationship: tosca.relationships.BelongsToOne}]\n", i-1)
		}
	}
	return Recipe(b.String())
}

func TestThousandNodes(t *testing.T) {
	w := newWorld(t)
	text := nodes(1000)
	start := time.Now()
	w.run(text).want(t, "a long recipe", 200, "Created models: ['n0', 'n102', ...")
	created := time.Since(start)
	if n := len(w.objects()); n != 1000 {
		t.Errorf("want 1000 objects, got %d", n)
	}
	start = time.Now()
	w.run(text).want(t, "again", 200, "Created...")
	t.Logf("1000 nodes: %s, again: %s", created.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
}

// BenchmarkUpload prints what a node costs at 10, 100 and 1,000 nodes, the first upload and one
// that changes nothing. Each must not be more at a greater length, save for the machine's noise:
// x-of-shorter is the cost next to that of the tenth of the nodes. (At 10 nodes, what is done once
// for each recipe shows.)
func BenchmarkUpload(b *testing.B) {
	for _, again := range []bool{false, true} {
		shorter := 0.0
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("again=%t/nodes=%d", again, n), func(b *testing.B) {
				w := newWorld(b)
				text := nodes(n)
				// The first write to a namespace makes the API server set things up that are not
				// the upload's.
				w.run(text)
				if !again {
					w.delete(text)
				}
				b.ResetTimer()
				for b.Loop() {
					w.run(text).want(b, "upload", 200, "Created...")
					if !again {
						b.StopTimer()
						w.delete(text).want(b, "clean up", 200, "Deleted...")
						b.StartTimer()
					}
				}
				cost := float64(b.Elapsed().Microseconds()) / float64(b.N) / float64(n)
				b.ReportMetric(cost, "µs/node")
				if shorter > 0 {
					b.ReportMetric(cost/shorter, "x-of-shorter")
				}
				shorter = cost
			})
		}
	}
}
