package step_test

import (
	"context"
	"errors"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// volume is an item of a catalogue. One that was made by a sync has the UID of its book.
type volume struct{ id, uid, title, shelf, place string }

// catalogue is a micro-service that has a volume of each book, and a function that compares them.
type catalogue struct {
	*reporting
	book string // The UID of book a.

	// mu protects following.
	mu      sync.Mutex
	volumes map[string]volume
	// during, if set, is called once while the catalogue lists its volumes, before the first one. If the
	// list is stale, it has the volumes as they were before that.
	during func()
	stale  bool
	// breaks is the number of volumes after which a list breaks off, if not 0.
	breaks int
	// removeErr is what the removal of a volume returns.
	removeErr error
}

// newCatalogue has two books on a shelf, both synced.
func newCatalogue(t *testing.T, change ...func(*step.Comparison[*book, volume])) *catalogue {
	t.Helper()
	c := &catalogue{reporting: &reporting{fixture: newFixture(t)}, volumes: map[string]volume{}}
	c.sync = c.push
	comparison := c.comparison()
	for _, fn := range change {
		fn(&comparison)
	}
	c.start(step.Sync(c.fixture), step.Sync(shelfSyncer{c.fixture}), step.Policies[*book](step.PolicyFuncs[*book]{OnCreate: c.apply, OnUpdate: c.apply}),
		step.Compare(comparison))
	save(c.fixture, c.shelf("fiction"))
	c.book = string(save(c.fixture, c.fixture.book("a")).UID)
	save(c.fixture, c.fixture.book("b"))
	c.Settle()
	c.takeCalls()
	c.Requests()
	return c
}

// push is the sync of books.
func (c *catalogue) push(ctx context.Context, b *book) (string, error) {
	s, err := step.Dependency[*shelf](ctx)
	if err == nil {
		c.put(volume{id: string(b.UID), uid: string(b.UID), title: b.Spec.Title, shelf: s.Spec.Label, place: b.Status.Observed.Place})
	}
	return "", err
}

func (c *catalogue) comparison() step.Comparison[*book, volume] {
	return step.Comparison[*book, volume]{
		Namespace: c.Namespace,
		Items:     c.list,
		Match: func(v volume) step.Match {
			if v.uid == "" {
				return step.Match{Mirror: v.id}
			}
			return step.Match{UID: v.uid, Synced: true}
		},
		Want: func(ctx context.Context, b *book) (any, error) {
			s, err := step.Dependency[*shelf](ctx)
			if err != nil || b.Spec.Title == "unwanted" {
				return nil, err
			}
			if b.Spec.Title == "bad" {
				return nil, errors.New("bad title")
			}
			return map[string]string{"title": b.Spec.Title, "shelf": s.Spec.Label}, nil
		},
		Have: func(v volume) any { return map[string]string{"title": v.title, "shelf": v.shelf} },
		Get: func(_ context.Context, b *book) (*volume, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if v, ok := c.volumes[string(b.UID)]; ok {
				return &v, nil
			}
			return nil, nil
		},
		Report: func(v volume, b *book) {
			if v.place == "nowhere" {
				panic("no place")
			}
			b.Status.Observed.Place = v.place
		},
		Adopt: func(v volume, b *book) error {
			if v.title == "ignored" {
				return step.ErrIgnore
			}
			b.Spec.Title = v.title
			return nil
		},
		Remove: func(_ context.Context, v volume) error {
			c.drop(v.id)
			return c.removeErr
		},
	}
}

func (c *catalogue) list(context.Context) iter.Seq2[volume, error] {
	return func(yield func(volume, error) bool) {
		c.mu.Lock()
		all, during := maps.Clone(c.volumes), c.during
		c.during = nil
		c.mu.Unlock()
		if during != nil {
			during()
		}
		c.mu.Lock()
		if !c.stale {
			all = maps.Clone(c.volumes)
		}
		breaks := c.breaks
		c.mu.Unlock()
		for i, id := range slices.Sorted(maps.Keys(all)) {
			if breaks > 0 && i == breaks {
				yield(volume{}, errors.New("the list breaks off"))
				return
			}
			if !yield(all[id], nil) {
				return
			}
		}
	}
}

func (c *catalogue) put(v volume) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.volumes[v.id] = v
}

func (c *catalogue) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.volumes, id)
}

// ours changes the volume of book a.
func (c *catalogue) ours(change func(*volume)) {
	v := c.volumes[c.book]
	change(&v)
	c.put(v)
}

// tick runs a round, and checks its counts and the requests that write.
func (c *catalogue) tick(reason string, want step.PullCounts, writes ...string) {
	c.Helper()
	c.Requests()
	got, a := c.Tick()
	if a.Code != http.StatusOK {
		c.Fatalf("%s: want a complete round, got %d %s", reason, a.Code, a.Body)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(step.PullCounts{}, "Seconds")); diff != "" {
		c.Errorf("%s: -want +got:\n%s", reason, diff)
	}
	wrote := slices.DeleteFunc(c.Requests(), func(r string) bool { return strings.HasPrefix(r, http.MethodGet) })
	if diff := cmp.Diff(writes, wrote, cmpopts.EquateEmpty()); diff != "" {
		c.Errorf("%s: requests that write: -want +got:\n%s", reason, diff)
	}
}

// TestCompare changes something in the catalogue. A round puts it right, and the next one has nothing to do.
func TestCompare(t *testing.T) {
	emma := volume{id: "emma", title: "Emma"}
	tests := map[string]struct {
		reason string
		harm   func(c *catalogue)
		want   step.PullCounts
		writes []string
		then   step.PullCounts
		calls  string
	}{
		"Nothing": {"Without a difference nothing is written", func(c *catalogue) {},
			step.PullCounts{Unchanged: 2}, nil, step.PullCounts{Unchanged: 2}, ""},
		"Drift": {"Of a volume that differs a sync is asked for, once", func(c *catalogue) { c.ours(func(v *volume) { v.title = "Emma" }) },
			step.PullCounts{Drifted: 1, Unchanged: 1}, []string{"PATCH books/a"}, step.PullCounts{Unchanged: 2}, `policy "", sync Dune`},
		"Dependency": {"Also if it differs in what comes from the dependency", func(c *catalogue) { c.ours(func(v *volume) { v.shelf = "Poems" }) },
			step.PullCounts{Drifted: 1, Unchanged: 1}, []string{"PATCH books/a"}, step.PullCounts{Unchanged: 2}, `policy "", sync Dune`},
		"Missing": {"So it is if there is none", func(c *catalogue) { c.drop(c.book) },
			step.PullCounts{Drifted: 1, Unchanged: 1}, []string{"PATCH books/a"}, step.PullCounts{Unchanged: 1}, `policy "", sync Dune`},
		"Feedback": {"What a volume reports wakes the policy, and nothing else", func(c *catalogue) { c.ours(func(v *volume) { v.place = "desk" }) },
			step.PullCounts{Reported: 1, Unchanged: 1}, []string{"PATCH books/a/status"}, step.PullCounts{Unchanged: 2}, `policy "desk"`},
		"LongFeedback": {"However long it is", func(c *catalogue) { c.ours(func(v *volume) { v.place = strings.Repeat("desk", 100) }) },
			step.PullCounts{Reported: 1, Unchanged: 1}, []string{"PATCH books/a/status"}, step.PullCounts{Unchanged: 2}, `policy "` + strings.Repeat("desk", 100) + `"`},
		"Both": {"A volume that differs also reports", func(c *catalogue) { c.ours(func(v *volume) { v.title, v.place = "Emma", "desk" }) },
			step.PullCounts{Drifted: 1, Unchanged: 1}, []string{"PATCH books/a", "PATCH books/a/status"}, step.PullCounts{Unchanged: 2}, `policy "desk", sync Dune`},
		"Orphan": {"A volume whose book is gone is removed", func(c *catalogue) { c.put(volume{id: "x", uid: "x"}) },
			step.PullCounts{Orphaned: 1, Unchanged: 2}, nil, step.PullCounts{Unchanged: 2}, ""},
		"Mirror": {"A volume that is nobody's gets a mirror, which is not synced", func(c *catalogue) { c.put(emma) },
			step.PullCounts{Created: 1, Unchanged: 2}, []string{"POST books"}, step.PullCounts{Unchanged: 3}, `policy ""`},
		"ReportingMirror": {"It also reports", func(c *catalogue) { c.put(volume{id: "emma", title: "Emma", place: "desk"}) },
			step.PullCounts{Created: 1, Unchanged: 2}, []string{"PATCH books/" + model.MirrorName("emma") + "/status", "POST books"}, step.PullCounts{Unchanged: 3}, `policy "desk"`},
		"Ignored": {"Unless the step does not want one", func(c *catalogue) { c.put(volume{id: "x", title: "ignored"}) },
			step.PullCounts{Unchanged: 3}, nil, step.PullCounts{Unchanged: 3}, ""},
		"Unwanted": {"What a book need not have is not missing", func(c *catalogue) {
			steptest.Change(c.World, "a", func(b *book) { b.Spec.Title = "unwanted" })
			c.Settle()
			c.takeCalls()
			c.drop(c.book)
		}, step.PullCounts{Unchanged: 1}, nil, step.PullCounts{Unchanged: 1}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCatalogue(t)
			tt.harm(c)
			c.tick(tt.reason, tt.want, tt.writes...)
			c.tick(tt.reason+", and the next round has nothing to do", tt.then)
			c.Settle()
			c.wantCalls(tt.calls)
			c.tick("at rest", step.PullCounts{Unchanged: len(c.volumes)})
		})
	}
}

// TestCompareSaysWhy looks at what people see of a difference.
func TestCompareSaysWhy(t *testing.T) {
	t.Parallel()
	c := newCatalogue(t)
	c.ours(func(v *volume) { v.title = "<Emma & Co>" })
	c.tick("a difference", step.PullCounts{Drifted: 1, Unchanged: 1}, "PATCH books/a")
	reason := `title is "<Emma & Co>", expected "Dune"`
	c.After(time.Second)
	c.Settle()
	wantStatus(c.fixture, c.fixture.book("a"), model.StateOK, "OK, requested: pull: "+reason)

	c.drop(c.book)
	c.tick("none", step.PullCounts{Drifted: 1, Unchanged: 1}, "PATCH books/a")
	c.Settle()
	wantStatus(c.fixture, c.fixture.book("a"), model.StateOK, "OK, requested: pull: the micro-service does not have it")
	events := slices.DeleteFunc(c.Events(), func(e string) bool { return !strings.Contains(e, "Drifted") })
	want := []string{"Normal Drifted Book/a: " + reason + ": it is synced again", "Normal Drifted Book/a: the micro-service does not have it: it is synced again"}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("events: -want +got:\n%s", diff)
	}
}

// TestCompareReadsLittle: what others report does not make a round read each object.
func TestCompareReadsLittle(t *testing.T) {
	t.Parallel()
	c := newCatalogue(t)
	c.put(volume{id: "emma", title: "Emma", place: "attic"})
	c.ours(func(v *volume) { v.place = "desk" })
	c.Tick()
	c.observe(func(b *book) { b.Status.Observed.Lent = 3 })
	steptest.Change(c.World, model.MirrorName("emma"), func(b *book) { b.Spec.Shelf = &v1alpha1.ShelfReference{Name: "fiction"} })
	c.Settle()
	c.Requests()
	c.Tick()
	got := slices.DeleteFunc(c.Requests(), func(r string) bool { return r == "GET shelves/fiction" })
	if diff := cmp.Diff([]string{"GET books"}, got); diff != "" {
		t.Errorf("at rest the objects are listed, and none is read: -want +got:\n%s", diff)
	}
	if b, _ := steptest.Get[*book](c.World, "a"); b.Status.Observed != (v1alpha1.BookObserved{Place: "desk", Lent: 3}) {
		t.Errorf("the feedback of others stays: got %+v", b.Status.Observed)
	}
}

// TestHalfAList: after a list that breaks off nothing is missing, and nothing is removed.
func TestHalfAList(t *testing.T) {
	t.Parallel()
	c := newCatalogue(t)
	c.drop(c.book)
	c.put(volume{id: "!", uid: "gone"}) // The first one.
	c.breaks = 1
	if _, a := c.Tick(); a.Code != http.StatusServiceUnavailable || !strings.Contains(a.Body, "the list breaks off") {
		t.Errorf("want 503 with the reason, got %d %s", a.Code, a.Body)
	}
	if n := c.Settle(); n > 0 || len(c.volumes) != 2 {
		t.Errorf("nothing is asked for, nothing is removed: got %d events, %v", n, c.volumes)
	}
	c.breaks = 0
	c.tick("the next round does it", step.PullCounts{Drifted: 1, Orphaned: 1, Unchanged: 1}, "PATCH books/a")
}

// TestCompareMeanwhile changes models after a round has read them and before the volumes are listed.
func TestCompareMeanwhile(t *testing.T) {
	retitle := func(c *catalogue) {
		steptest.Change(c.World, "a", func(b *book) { b.Spec.Title = "Emma" })
		c.Settle()
	}
	again := func(c *catalogue) {
		steptest.Delete[*book](c.World, "a")
		c.Settle() // The volume stays: the catalogue has not noticed.
		save(c.fixture, c.fixture.book("a"))
		c.ours(func(v *volume) { v.place = "desk" })
	}
	harm := func(c *catalogue) { c.ours(func(v *volume) { v.title = "Persuasion" }); c.stale = true }
	repair := func(c *catalogue) { c.put(volume{id: c.book, uid: c.book, title: "Dune", shelf: "Fiction"}) }
	mirror := func(c *catalogue) {
		c.put(volume{id: "emma", title: "Emma"})
		c.Tick()
		c.put(volume{id: "emma", title: "Persuasion"})
	}
	keep := func(c *catalogue) {
		steptest.Change(c.World, model.MirrorName("emma"), func(b *book) { delete(b.Annotations, model.AnnotationNoSync) })
	}
	none := func(*catalogue) {}
	withoutGet := func(c *step.Comparison[*book, volume]) { c.Get = nil }
	withGet := func(*step.Comparison[*book, volume]) {}
	tests := map[string]struct {
		reason         string
		change         func(*step.Comparison[*book, volume])
		before, during func(c *catalogue)
		want           step.PullCounts
	}{
		"Created":           {"The volume of a new book is no orphan", withGet, none, func(c *catalogue) { save(c.fixture, c.fixture.book("c")); c.Settle() }, step.PullCounts{Unchanged: 3}},
		"Changed":           {"A book that was changed and synced has not drifted", withGet, none, retitle, step.PullCounts{Unchanged: 2}},
		"ChangedWithoutGet": {"Nor has it if the volume cannot be read again", withoutGet, harm, retitle, step.PullCounts{Unchanged: 2}},
		"Repaired":          {"Nor has one whose volume was put right", withGet, harm, repair, step.PullCounts{Unchanged: 2}},
		"Replaced":          {"A book that was created again does not get the feedback of the one before", withGet, none, again, step.PullCounts{Unchanged: 2}},
		"NoMirror":          {"A mirror that is declared now does not follow", withGet, mirror, keep, step.PullCounts{Unchanged: 3}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCatalogue(t, tt.change)
			tt.before(c)
			c.during = func() { tt.during(c); c.Requests() }
			c.tick(tt.reason, tt.want)
			if b, _ := steptest.Get[*book](c.World, "a"); b.Annotations[model.AnnotationRequestedAt] != "" || b.Status.Observed.Place != "" {
				t.Errorf("%s: nothing is written, got %+v", tt.reason, b)
			}
		})
	}
}

// TestItemErrors: an error of one item is counted and named, and the others go on.
func TestItemErrors(t *testing.T) {
	tests := map[string]struct {
		reason string
		harm   func(c *catalogue)
		want   step.PullCounts
		record string // Its name in the log.
		says   string
	}{
		"Twice": {"Two volumes of one book", func(c *catalogue) { c.put(volume{id: "~", uid: c.book}) },
			step.PullCounts{Unchanged: 2, Failed: 1}, "a", "two items of it, expected one"},
		"Taken": {"The name of a mirror that another book has", func(c *catalogue) {
			steptest.Given(c.World, &book{ObjectMeta: steptest.Meta(model.MirrorName("x")), Spec: v1alpha1.BookSpec{Title: "X"}})
			c.put(volume{id: "x", title: "Emma"})
		}, step.PullCounts{Unchanged: 2, Failed: 1}, model.MirrorName("x"), `has the name of the mirror of item "x"`},
		"Refused": {"A mirror that the API refuses", func(c *catalogue) { c.put(volume{id: "x"}) },
			step.PullCounts{Unchanged: 2, Failed: 1}, model.MirrorName("x"), "spec.title"},
		"Panic": {"A panic of the step", func(c *catalogue) { c.ours(func(v *volume) { v.place = "nowhere" }) },
			step.PullCounts{Unchanged: 1, Failed: 1}, "a", "panic: no place"},
		"Remove": {"A volume that cannot be removed", func(c *catalogue) { c.removeErr = errors.New("read only"); c.put(volume{id: "x", uid: "gone"}) },
			step.PullCounts{Unchanged: 2, Failed: 1}, "gone", "read only"},
		"Unreadable": {"A book that cannot be read is left alone", func(c *catalogue) {
			steptest.Change(c.World, "a", func(b *book) { b.Spec.Title = "bad" })
			c.Settle()
			c.ours(func(v *volume) { v.title, v.place = "Emma", "desk" })
		}, step.PullCounts{Unchanged: 1, Failed: 1}, "a", "bad title"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCatalogue(t)
			tt.harm(c)
			core, logs := observer.New(zapcore.WarnLevel)
			reply, result := c.Function.Handle(logging.WithLogger(c.Context(), zap.New(core).Sugar()), steptest.Event(step.EventPing, nil))
			var got step.PullCounts
			if result != nil || reply.DataAs(&got) != nil {
				t.Fatalf("%s: want a complete round, got %v", tt.reason, result)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(step.PullCounts{}, "Seconds")); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tt.reason, diff)
			}
			logged := logs.FilterMessage("A record could not be pulled").All()
			if len(logged) != 1 || logged[0].ContextMap()["record"] != tt.record || !strings.Contains(logged[0].ContextMap()["error"].(string), tt.says) {
				t.Errorf("%s: want one warning about %s that says %q, got %+v", tt.reason, tt.record, tt.says, logged)
			}
			if b, _ := steptest.Get[*book](c.World, "a"); b.Annotations[model.AnnotationRequestedAt] != "" || b.Status.Observed.Place != "" {
				t.Errorf("%s: nothing is written about it, got %+v", tt.reason, b)
			}
		})
	}
}

// TestMirrorFollows: a mirror is like its item as long as it is one.
func TestMirrorFollows(t *testing.T) {
	t.Parallel()
	c := newCatalogue(t)
	name := model.MirrorName("emma")
	c.put(volume{id: "emma", title: "Emma"})
	c.tick("it is made", step.PullCounts{Created: 1, Unchanged: 2}, "POST books")
	b, _ := steptest.Get[*book](c.World, name)
	if diff := cmp.Diff(map[string]string{model.AnnotationNoSync: "true", model.AnnotationMirrors: "emma"}, b.Annotations); diff != "" {
		t.Errorf("its annotations: -want +got:\n%s", diff)
	}
	steptest.Change(c.World, name, func(b *book) { b.Spec.Name = "favourite" })
	c.put(volume{id: "emma", title: "Persuasion"})
	c.tick("it follows", step.PullCounts{Updated: 1, Unchanged: 2}, "PATCH books/"+name)
	if b, _ = steptest.Get[*book](c.World, name); b.Spec.Title != "Persuasion" || b.Spec.Name != "favourite" {
		t.Errorf("what others have set stays: got %+v", b.Spec)
	}
	c.put(volume{id: "emma", title: "ignored"})
	c.tick("unless the step ignores the change", step.PullCounts{Unchanged: 3})

	steptest.Change(c.World, name, func(b *book) { delete(b.Annotations, model.AnnotationNoSync) })
	c.put(volume{id: "emma", title: "Emma", place: "desk"})
	c.tick("without no-sync the model decides", step.PullCounts{Unchanged: 3})
	c.put(volume{id: "emma", title: "Emma"})
	steptest.Change(c.World, name, func(b *book) { annotate(model.AnnotationNoSync, "", model.AnnotationMirrors, "emma")(b) })
	c.tick("with it the item does", step.PullCounts{Updated: 1, Unchanged: 2}, "PATCH books/"+name)
}

// TestPullSteps has several pull steps in one function. Shelves are matched by their names.
func TestPullSteps(t *testing.T) {
	failing := func(context.Context) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) { yield("", errors.New("no list of shelves")) }
	}
	two := func(context.Context) iter.Seq2[string, error] {
		return maps.All(map[string]error{"gone": nil, "fiction": nil})
	}
	tests := map[string]struct {
		reason string
		items  func(context.Context) iter.Seq2[string, error]
		code   int
		says   string
	}{
		"Both":  {"Both count", two, 200, ""},
		"Fails": {"One that fails does not stop the other", failing, 503, "no list of shelves"},
		"Hangs": {"Nor does one that hangs", func(ctx context.Context) iter.Seq2[string, error] { <-ctx.Done(); return two(ctx) }, 503, "deadline exceeded"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCatalogue(t)
			var removed []string
			options := []step.Option(nil)
			if name == "Hangs" {
				options = append(options, step.WithDeadline(2*time.Second))
			}
			c.startWith(options, step.Compare(step.Comparison[*shelf, string]{
				Namespace: c.Namespace, Items: tt.items,
				Match:  func(s string) step.Match { return step.Match{Name: s, Synced: true} },
				Remove: func(_ context.Context, s string) error { removed = append(removed, s); return nil },
			}), step.Compare(c.comparison()))
			c.drop(c.book)
			counts, a := c.Tick()
			if a.Code != tt.code || !strings.Contains(a.Body, tt.says) {
				t.Errorf("%s: want %d %q, got %d %s", tt.reason, tt.code, tt.says, a.Code, a.Body)
			}
			if b, _ := steptest.Get[*book](c.World, "a"); b.Annotations[model.AnnotationRequestedAt] == "" {
				t.Errorf("%s: books are compared", tt.reason)
			}
			want := step.PullCounts{Drifted: 1, Orphaned: 1, Unchanged: 2, Seconds: counts.Seconds}
			if tt.code == 200 && (counts != want || !slices.Equal(removed, []string{"gone"})) {
				t.Errorf("%s: want %+v, got %+v, removed %v", tt.reason, want, counts, removed)
			}
		})
	}
}

// TestCompareRefused registers comparisons that are not complete.
func TestCompareRefused(t *testing.T) {
	f := newFixture(t)
	c := &catalogue{reporting: &reporting{fixture: f}}
	for field, harm := range map[string]func(*step.Comparison[*book, volume]){
		"Namespace": func(d *step.Comparison[*book, volume]) { d.Namespace = "" },
		"Items":     func(d *step.Comparison[*book, volume]) { d.Items = nil },
		"Match":     func(d *step.Comparison[*book, volume]) { d.Match = nil },
		"Have":      func(d *step.Comparison[*book, volume]) { d.Have = nil },
		"Want":      func(d *step.Comparison[*book, volume]) { d.Want = nil },
	} {
		comparison := c.comparison()
		harm(&comparison)
		_, err := step.New(t.Context(), f.Models, []step.Registration{step.Compare(comparison)})
		if err == nil || !strings.Contains(err.Error(), "pull: comparison of Book: "+field+": ") {
			t.Errorf("want an error that names %s, got %v", field, err)
		}
	}
}
