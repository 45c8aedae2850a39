package steptest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// Chaos is a test of a synchronizer under faults: events are lost, doubled, late and out of order, the function
// crashes between any two of its requests to the Kubernetes API, and the micro-service fails, before or after
// it has done what it was asked for. Then the faults end, and everything must be as declared.
type Chaos struct {
	// Change does what users do: it creates, changes and deletes a few models. It is called once a round, and
	// must take all that is random from r.
	Change func(r *rand.Rand)
	// Check says what is wrong after the faults have ended, when all models are Ready: what the micro-service
	// lacks, has twice, or has in another way. It is called again when all models are deleted.
	Check func() error
	// Backend, if set, fails now and then.
	Backend *Backend
	// Slow has the Backend also answer later than the step's deadline. The world needs a short one:
	// [NewWith] and [step.WithDeadline].
	Slow bool
	// Rounds, 50 by default.
	Rounds int
	// Seed makes the same faults again; any by default. A failure prints it.
	Seed uint64
}

// Probabilities of faults.
const (
	lost, doubled, late = 0.15, 0.15, 0.15
	crash               = 0.05
	backendFault        = 0.1
)

// calm is how many times Chaos moves the clock past all retries, at most, until everything has converged.
const calm = 30

// longest is more than a step waits for its next attempt after an error.
const longest = 15 * time.Minute

// chaos is one run.
type chaos struct {
	Chaos
	*World
	// delayed are events that come later.
	delayed []cloudevents.Event

	// mu protects following.
	mu      sync.Mutex
	random  *rand.Rand
	history []string
}

// Chaos runs a [Chaos]. The test fails if not everything converges, if Check returns an error, or if the function
// answers an event in any other way than 200 or 503.
func (w *World) Chaos(c Chaos) {
	w.Helper()
	c.Rounds, c.Seed = cmp.Or(c.Rounds, 50), cmp.Or(c.Seed, rand.Uint64()|1)
	run := &chaos{Chaos: c, World: w, random: rand.New(rand.NewPCG(c.Seed, 0))}
	run.faults(true)
	for range c.Rounds {
		run.Change(run.random)
		run.round()
	}
	run.faults(false)
	run.converge("all models to be Ready", func(s *model.Snapshot) bool { return s.Status.GetCondition(model.ConditionReady).IsTrue() })
	run.check("after the faults")
	run.deleteAll()
	run.converge("all models to be gone", func(*model.Snapshot) bool { return false })
	run.check("after all models were deleted")
}

// faults begins or ends those of the API and of the backend.
func (c *chaos) faults(on bool) {
	var api func(*http.Request) error
	var backend func() fault
	if on {
		api = func(r *http.Request) error {
			if c.happens(crash) {
				c.note("crash before %s %s", r.Method, r.URL.Path)
				return errors.New("the function has crashed")
			}
			return nil
		}
		backend = func() fault {
			switch {
			case c.happens(backendFault):
				return failsBefore
			case c.happens(backendFault):
				return failsAfter
			case c.Slow && c.happens(backendFault):
				return answersLate
			}
			return none
		}
	}
	c.Intercept(api)
	if c.Backend != nil {
		c.Backend.setFaults(backend)
	}
}

func (c *chaos) happens(p float64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.Float64() < p
}

// round delivers what is due, and some of what was delayed.
func (c *chaos) round() {
	c.Helper()
	var events []cloudevents.Event
	for _, d := range c.due() {
		event := d.object.WakeEvent(d.step, 1, c.Clock.Now(), d.dependencies...)
		switch {
		case c.happens(lost):
			c.note("lost: %s of %s %s", d.step, d.object.Kind.GVK.Kind, d.object.Name)
		case c.happens(late):
			c.delayed = append(c.delayed, event)
		case c.happens(doubled):
			events = append(events, event, event)
		default:
			events = append(events, event)
		}
	}
	for len(c.delayed) > 0 && c.happens(0.5) {
		events, c.delayed = append(events, c.delayed[0]), c.delayed[1:]
	}
	c.random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for _, event := range events {
		a := c.Send(event)
		c.note("%s: %d %s", event.Subject(), a.Code, a.Body)
		if a.Code != http.StatusOK && a.Code != http.StatusServiceUnavailable {
			c.fail("the function answered %d: %s; expected 200 or 503", a.Code, a.Body)
		}
	}
	c.After(time.Duration(c.random.Int64N(int64(10 * time.Second))))
}

// converge does what is due until all objects are as they must be, and moves the clock past all retries.
func (c *chaos) converge(what string, is func(*model.Snapshot) bool) {
	c.Helper()
	var left []string
	for range calm {
		c.Settle()
		left = nil
		for _, s := range c.declared() {
			if !is(s) {
				left = append(left, fmt.Sprintf("%s %s: %s", s.Kind.GVK.Kind, s.Name, s.Status.GetCondition(model.ConditionReady).GetMessage()))
			}
		}
		if len(left) == 0 {
			return
		}
		c.After(longest)
	}
	c.fail("expected %s, left are:\n  %s", what, strings.Join(left, "\n  "))
}

func (c *chaos) check(when string) {
	c.Helper()
	if err := c.Check(); err != nil {
		c.fail("%s: %v", when, err)
	}
}

// declared are all objects of the kinds that the function handles.
func (c *chaos) declared() (all []*model.Snapshot) {
	c.Helper()
	kinds := sets.New[schema.GroupKind]()
	for _, work := range c.Function.Work() {
		kinds.Insert(work.GroupKind)
	}
	for gk := range kinds.Delete(schema.GroupKind{}) {
		all = append(all, c.snapshots(c.Context(), gk)...)
	}
	return all
}

func (c *chaos) deleteAll() {
	c.Helper()
	for _, s := range c.declared() {
		err := c.objects.Resource(s.Kind.GVR()).Namespace(s.Namespace).Delete(c.Context(), s.Name, metav1.DeleteOptions{})
		if err != nil && !model.IsGone(err) {
			c.Fatal(err)
		}
	}
}

// kept is how much of the history a failure prints.
const kept = 40

func (c *chaos) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history = append(c.history, fmt.Sprintf(format, args...))
	c.history = c.history[max(0, len(c.history)-kept):]
}

func (c *chaos) fail(format string, args ...any) {
	c.Helper()
	c.Fatalf("%s\nChaos with Seed: %d. What happened last:\n  %s", fmt.Sprintf(format, args...), c.Seed, strings.Join(c.history, "\n  "))
}
