package source

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

var (
	simSeed      = flag.Uint64("seed", 0, "TestHistories: run the history of this seed only, and print it")
	simHistories = flag.Int("histories", 300, "TestHistories: how many to generate")
)

// TestHistories generates histories of the whole protocol, with everything going wrong that can go wrong, and
// checks in each that it converges and keeps its promises on the way.
func TestHistories(t *testing.T) {
	first, histories := uint64(1), *simHistories
	if *simSeed != 0 {
		first, histories = *simSeed, 1
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // A history makes much garbage, and keeps little.
	var mu sync.Mutex
	total, runs, requests := map[fault]int{}, 0, 0
	began := time.Now()
	seeds := make(chan uint64)
	t.Run("Seeds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for seed := range seeds {
					c := choices{random: rand.New(rand.NewPCG(seed, 0))}
					var lines []string
					s := history(t, &c, func(s *sim) {
						if *simSeed != 0 {
							s.traced = &lines
						}
					})
					if lines != nil {
						t.Logf("the history:\n  %s", strings.Join(lines, "\n  "))
					}
					mu.Lock()
					runs += s.runs
					requests += s.requests
					for f, n := range s.counts {
						total[f] += n
					}
					mu.Unlock()
					if s.wrong != nil {
						t.Errorf("%v\n%s\nAgain: go test ./pkg/source -run TestHistories -seed %d", s.wrong, smallest(t, s.wrong, c.made), seed)
						for range seeds {
						}
					}
				}
			})
		}
		go func() {
			for i := range uint64(histories) {
				seeds <- first + i
			}
			close(seeds)
		}()
	})
	var lines strings.Builder
	for _, f := range slices.Sorted(maps.Keys(total)) {
		fmt.Fprintf(&lines, "\n%8d  %s", total[f], f)
	}
	t.Logf("%d histories in %s, with %d events in functions, %d requests to the API and the backend, and these faults:%s",
		histories, time.Since(began).Round(time.Second), runs, requests, &lines)
	for _, f := range append(faults, eventLate, eventOvertaken, watchLate) {
		if total[f] == 0 && histories >= 300 {
			t.Errorf("expected each kind of fault, got no %q", f)
		}
	}
}

// history plays one in a bubble of time.
func history(t *testing.T, c *choices, options ...func(*sim)) (s *sim) {
	synctest.Test(t, func(*testing.T) {
		s = newSim(*c)
		for _, option := range options {
			option(s)
		}
		s.play()
		*c = s.choices
		s.end()
	})
	return s
}

// smallest finds a short history that goes wrong in the same way, and returns it as text. It takes choices away and
// replaces them by harmless ones as long as it still goes wrong.
func smallest(t *testing.T, wrong error, made []int) string {
	class := func(err error) string {
		if err == nil {
			return ""
		}
		return strings.Join(strings.Fields(err.Error())[:3], " ")
	}
	try := func(made []int) bool {
		s := history(t, &choices{made: made})
		return class(s.wrong) == class(wrong)
	}
	deadline := time.Now().Add(20 * time.Second)
	for size := len(made) / 2; size > 0; size /= 2 {
		for at := 0; at < len(made) && time.Now().Before(deadline); {
			end := min(at+size, len(made))
			without := slices.Delete(slices.Clone(made), at, end)
			zeroed := slices.Clone(made)
			clear(zeroed[at:end])
			switch {
			case try(without):
				made = without
			case !slices.Equal(zeroed, made) && try(zeroed):
				made = zeroed
				at = end
			default:
				at = end
			}
		}
	}
	var lines []string
	s := history(t, &choices{made: made}, func(s *sim) { s.traced = &lines })
	return fmt.Sprintf("the smallest history found (%d choices):\n  %s\n%v", len(made), strings.Join(lines, "\n  "), s.wrong)
}

const (
	// settling is longer than the longest wait for a retry and the longest visibility timeout together.
	settling = 30 * time.Minute
	// silence is how long nothing may happen after that.
	silence = 40 * time.Minute
)

// play is the history: a storm, then everything must settle, stay so, and go when all is deleted.
func (s *sim) play() {
	things := 0
	for ; s.users > 0 || things%50 != 0; things++ { // The last change meets faults, too.
		if !s.next(time.Now().Add(time.Minute)) {
			break
		}
	}
	s.stormy = false
	s.note("the storm is over")
	if !s.until(time.Now().Add(settling)) {
		return
	}
	s.checkSettled()
	s.checkSilence()
	declared := slices.SortedFunc(maps.Keys(s.api.objects), func(a, b simRef) int { return strings.Compare(a.name, b.name) })
	for _, ref := range declared {
		s.edit(ref, "lets go on", annotate(model.AnnotationPaused, ""))
	}
	if !s.until(time.Now().Add(settling)) {
		return
	}
	for _, ref := range declared {
		s.remove(ref)
	}
	if s.until(time.Now().Add(settling)) {
		s.checkGone()
	}
}

// until lets everything happen that can until a time.
func (s *sim) until(end time.Time) bool {
	for things := 0; s.next(end); things++ {
		if things > tooLong {
			s.fail("no end: %d things have happened and it goes on", things)
		}
	}
	return s.wrong == nil
}

// end takes the pods away.
func (s *sim) end() {
	for _, p := range slices.Clone(s.pods) {
		s.mu.Lock()
		p.dead = true
		s.mu.Unlock()
	}
	for {
		s.mu.Lock()
		for _, op := range s.parked {
			if !op.abandoned {
				op.answer <- errDead
			}
		}
		s.parked = nil
		s.mu.Unlock()
		synctest.Wait()
		s.settleRuns()
		if s.active == 0 {
			break
		}
		time.Sleep(time.Second)
	}
	for _, p := range s.pods {
		p.function.Drain(simQuiet)
	}
	time.Sleep(time.Hour)
}

// checkSettled checks that all that can settle has, that the backend has what the models say, and that the
// conditions say what is the case.
func (s *sim) checkSettled() {
	truth := s.newSource()
	for _, k := range s.api.kinds {
		for _, o := range s.api.snapshots(k) {
			for _, of := range k.Steps {
				_, n, _ := truth.seen.look(keyOf(o, of))
				if v := model.Due(of, o, n, time.Now().Add(-time.Minute)); v.Due() {
					s.fail("not settled: %s of %s is due: %s", of, o.Name, v.Reason)
				}
			}
			if o.Unreported {
				s.fail("conditions wrong: those of %s do not say what is the case: %v", o.Name, o.Status.Conditions)
			}
		}
	}
	for _, u := range s.api.all("shelves") {
		shelf, _ := model.Typed[*v1alpha1.Shelf](u)
		s.checkObject(shelf, &shelf.Status.Status, model.StateOK, shelf.Spec.Label)
	}
	for _, u := range s.api.all("books") {
		book, _ := model.Typed[*v1alpha1.Book](u)
		state, text := model.StateOK, book.Spec.Title
		if owner := s.api.objects[simRef{"shelves", simNamespace, book.Spec.Shelf.Name}]; owner != nil {
			shelf, _ := model.Typed[*v1alpha1.Shelf](owner)
			text = textOf(shelf, book.Spec.Title)
			if synced := shelf.Status.Sync; shelf.DeletionTimestamp != nil || !optedOut(shelf) && (synced == nil || synced.Generation != shelf.Generation || synced.State != model.StateOK) {
				state = model.StateWaiting
				if shelf.Annotations[model.AnnotationPaused] == "true" && book.Status.Sync != nil && book.Status.Sync.State == model.StateOK {
					continue // It was synced when the shelf had opted out, and waits for nothing.
				}
			}
		} else {
			state = model.StateWaiting
		}
		if state == model.StateOK && (book.Spec.Title == titleFails || book.Spec.Title == titlePermanent) {
			state = model.StateFailed
		}
		s.checkObject(book, &book.Status.Status, state, text)
	}
	s.checkZombies()
}

func (s *sim) checkObject(obj model.Object, status *model.Status, state model.State, text string) {
	if obj.GetAnnotations()[model.AnnotationPaused] == "true" || optedOut(obj) || obj.GetDeletionTimestamp() != nil {
		return
	}
	if status.Sync == nil || status.Sync.State != state {
		s.fail("not settled: expected %s to be %s, got %+v", obj.GetName(), state, status.Sync)
		return
	}
	if got := s.backend.records[obj.GetUID()].text; state == model.StateOK && got != text {
		s.fail("backend wrong: expected %q for %s, got %q", text, obj.GetName(), got)
	}
	ready := status.GetCondition(model.ConditionReady)
	if want := state == model.StateOK; ready == nil || ready.IsTrue() != want && obj.GetAnnotations()[model.AnnotationNoPolicy] == "" {
		s.fail("conditions wrong: expected Ready of %s to be %v, got %+v", obj.GetName(), want, ready)
	}
	if ready.Status == corev1.ConditionTrue && status.ObservedGeneration != obj.GetGeneration() {
		s.fail("conditions wrong: %s is Ready at generation %d, but its own is %d", obj.GetName(), status.ObservedGeneration, obj.GetGeneration())
	}
}

// checkZombies checks that the backend has nothing whose object is gone.
func (s *sim) checkZombies() {
	declared := map[types.UID]bool{}
	for _, u := range s.api.objects {
		declared[u.GetUID()] = true
	}
	for uid, r := range s.backend.records {
		if !declared[uid] && !s.backend.unprotected[uid] {
			s.fail("zombie left: the backend has %s (%q), whose object is gone", uid, r.text)
		}
	}
}

// checkSilence checks that nothing happens any more, except the attempts that the table of outcomes says.
func (s *sim) checkSilence() {
	clear(s.calls)
	sent := s.runs
	if !s.until(time.Now().Add(silence)) {
		return
	}
	allowed := 0
	for _, u := range s.api.objects {
		bound := 0
		if book, err := model.Typed[*v1alpha1.Book](u); err == nil && u.GetKind() == "Book" {
			switch book.Spec.Title {
			case titleFails:
				bound = int(silence/(10*time.Minute)) + 1
			case titleWarns:
				bound = 9 // 1 min + 2 min + ... + 8 min is 36 min.
			}
		}
		// Two sources, and clocks that differ, make two events of one.
		if allowed += 2 * bound * len(s.sources); s.calls[u.GetUID()] > 2*bound*len(s.sources) {
			s.fail("too many attempts: expected at most %d for %s in %s, got %d", bound, u.GetName(), silence, s.calls[u.GetUID()])
		}
	}
	if runs := s.runs - sent; runs > allowed {
		s.fail("no silence: expected at most %d events in %s, got %d", allowed, silence, runs)
	}
}

func (s *sim) checkGone() {
	for ref, u := range s.api.objects {
		s.fail("not gone: %s has finalizers %v, status %v", ref.name, u.GetFinalizers(), u.Object["status"])
	}
	s.checkZombies()
}

// checkLate checks that no event takes a place in its lane for longer than a visibility timeout.
func (o *simSource) checkLate() {
	for k, task := range o.tasks {
		if d := task.inFlight; d != nil && !d.accepted.IsZero() && !d.freed && !o.now().Before(d.accepted.Add(o.Visibility)) {
			o.fail("late: the event for %v was accepted %s ago and still takes a place", k, o.now().Sub(d.accepted))
		}
	}
}

// verifyAlways checks a tracker after each call.
func verifyAlways(t *tracker, fail func(format string, args ...any)) {
	t.verify = func() {
		if err := checkTracker(t); err != nil {
			fail("the tracker is wrong: %v", err)
		}
	}
}

// checkTracker checks what holds for a tracker after each call.
func checkTracker(t *tracker) error {
	type counts struct{ inFlight, unacknowledged, waiting int }
	got := map[key]counts{}
	for k, task := range t.tasks {
		l := t.lane(k)
		c := got[l.key]
		if task.waiting {
			c.waiting++
			if task.inFlight != nil {
				return fmt.Errorf("%v waits and is in flight", k)
			}
			if !slices.Contains(l.waiting, k) {
				return fmt.Errorf("%v waits, but not in its lane", k)
			}
		}
		if d := task.inFlight; d != nil {
			c.unacknowledged++
			if !d.freed {
				c.inFlight++
			}
			if d.task != task || d.key != k {
				return fmt.Errorf("%v has the event of another task in flight", k)
			}
			if d.freed && d.accepted.IsZero() {
				return fmt.Errorf("%v is freed before the sink has accepted it", k)
			}
		}
		got[l.key] = c
	}
	for k, l := range t.lanes {
		if c := got[k]; c.inFlight != l.inFlight || c.unacknowledged != l.unacknowledged {
			return fmt.Errorf("lane %v counts %d and %d in flight, its tasks are %d and %d", k, l.inFlight, l.unacknowledged, c.inFlight, c.unacknowledged)
		}
		if l.inFlight > t.Window || l.sending > t.Window || l.sending < 0 {
			return fmt.Errorf("lane %v: %d in flight, %d being sent, with a window of %d", k, l.inFlight, l.sending, t.Window)
		}
		if got[k].waiting > 0 && l.rejected == 0 && max(l.inFlight, l.sending) < t.Window && l.gathered.IsZero() {
			return fmt.Errorf("lane %v: %d wait although there is a place", k, got[k].waiting)
		}
	}
	return nil
}

// TestHistoriesRepeat plays histories twice. The same choices must make the same history, or no seed brings one back.
func TestHistoriesRepeat(t *testing.T) {
	for seed := range uint64(30) {
		var first, second []string
		c := choices{random: rand.New(rand.NewPCG(seed, 0))}
		history(t, &c, func(s *sim) { s.traced = &first })
		history(t, &choices{made: c.made}, func(s *sim) { s.traced = &second })
		if diff := cmp.Diff(first, second); diff != "" {
			t.Fatalf("seed %d: -first, +second:\n%s", seed, diff)
		}
	}
}
