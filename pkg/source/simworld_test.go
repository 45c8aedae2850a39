package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/clock"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// choices are all that is random in a history. A history is its choices: with the same ones it takes the same
// course. Zero is always the choice without a fault, so that a history with zeros in it is a simpler one.
type choices struct {
	random *rand.Rand // Nil to make no more choices but zeros.
	made   []int
	at     int
}

func (c *choices) pick(n int) (chosen int) {
	switch {
	case c.at < len(c.made):
		chosen = c.made[c.at] % n
	case c.random != nil:
		chosen = c.random.IntN(n)
		c.made = append(c.made, chosen)
	}
	c.at++
	return chosen
}

// fault is a kind of fault.
type fault string

const (
	eventLost, eventDoubled      fault = "event lost", "event doubled"
	eventLate, eventOvertaken    fault = "event late", "event overtaken by a later one"
	sinkRejects, sinkForgets     fault = "sink rejects", "sink accepts, its answer is lost"
	crashBefore, crashAfter      fault = "pod dies before a request", "pod dies after a request"
	podHangs, stepPanics         fault = "backend hangs", "step panics"
	backendFails, backendForgets fault = "backend fails", "backend does it, its answer is lost"
	api409, api429, api500       fault = "API 409", "API 429", "API 500"
	apiTimeout, apiForgets       fault = "API times out", "API does it, its answer is lost"
	apiBehind                    fault = "API answers from a memory that is behind"
	watchLate, watchExpires      fault = "watch late", "watch expires"
	sourceRestarts, twoSources   fault = "source restarts", "two sources"
	clockSkew, manyPods          fault = "clock skew", "several pods"
	userReplaces                 fault = "user removes finalizers"
	coarseBackend                fault = "backend knows only generations"
	oneFunction                  fault = "both steps in one function"
	severalObjects               fault = "several objects by one event"
)

var faults = []fault{eventLost, eventDoubled, sinkRejects, sinkForgets, crashBefore, crashAfter, podHangs, stepPanics, backendFails, backendForgets,
	api409, api429, api500, apiTimeout, apiForgets, apiBehind, watchExpires, sourceRestarts, twoSources, clockSkew, manyPods, userReplaces, coarseBackend, oneFunction, severalObjects}

const simNamespace = "sim"

// sim is one history: the model of the API, the real engines in pods, real trackers, a broker and a backend. It
// does one thing at a time and waits until all that follows from it has come to rest.
type sim struct {
	choices
	api     *simAPI
	backend *simBackend
	enabled map[fault]bool
	stormy  bool // Faults happen.
	users   int  // How many changes of users are left.
	books   int  // How many there can be.

	pods     []*simPod
	sources  []*simSource
	sends    []simSend
	messages []simMessage
	runs     int // How many there were.
	active   int
	busy     map[string]int // The active ones, by step and object.
	requests int
	counts   map[fault]int
	calls    map[types.UID]int // Of Sync, since they were counted last.
	traced   *[]string         // Takes the history, if somebody wants to read it.

	// mu protects following.
	mu     sync.Mutex
	parked []*simOp
	ended  []*simRun
	wrong  error
}

// fail remembers the first thing that is wrong.
func (s *sim) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = cmp.Or(s.wrong, fmt.Errorf(format, args...))
}

func (s *sim) note(format string, args ...any) {
	if s.traced != nil {
		*s.traced = append(*s.traced, time.Since(simStart).Round(time.Millisecond).String()+" "+fmt.Sprintf(format, args...))
	}
}

// simStart is when a bubble begins.
var simStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// happens decides about a fault, which happens once in a number of times.
func (s *sim) happens(f fault, once int) bool {
	if !s.stormy || !s.enabled[f] || s.pick(once) != 1 {
		return false
	}
	s.count(f)
	return true
}

func (s *sim) count(f fault) {
	s.counts[f]++
	s.note("! %s", f)
}

// simPod is a process of a function.
type simPod struct {
	*sim
	name     string
	step     model.Step
	function *step.Function
	dead     bool
}

// simRun is an event in a pod.
type simRun struct {
	*simPod
	message simMessage
	number  int
	err     error
	// observed is the version of the API when the run has read an object, by name.
	observed map[string]int64
	// worked are the objects to which it has done more than to read them.
	worked map[string]bool
}

func (r *simRun) String() string { return fmt.Sprintf("%s#%d", r.name, r.number) }

type simMessage struct {
	event cloudevents.Event
	// version of the API when the source sent it, zero if the source had not seen all of that.
	version int64
	tries   int
	at      time.Time
}

// refs are the objects.
func (m simMessage) refs() []model.Reference {
	refs, err := model.ParseReferences(m.event)
	if err != nil {
		panic(err)
	}
	return refs
}

// about are the step and each object.
func (m simMessage) about() (all []string) {
	for _, ref := range m.refs() {
		all = append(all, fmt.Sprint(m.event.Extensions()[model.ExtensionStep], m.event.Source(), ref.Name))
	}
	return all
}

// simOp is a request of a run, to the API or the backend, that waits until it is its turn.
type simOp struct {
	*simRun
	what string
	api  bool
	do   func() any
	// abandoned: whoever made the request does not wait any more. It may be done all the same.
	abandoned bool
	until     time.Time
	answer    chan any
}

var errDead = errors.New("the pod is dead")

type simRunKey struct{}

// park waits until the history lets a request pass, and returns its answer.
func (s *sim) park(ctx context.Context, api bool, what string, do func() any) (any, error) {
	r := ctx.Value(simRunKey{}).(*simRun)
	op := &simOp{simRun: r, what: what, api: api, do: do, answer: make(chan any, 1)}
	s.mu.Lock()
	if r.dead {
		s.mu.Unlock()
		return nil, errDead
	}
	s.parked = append(s.parked, op)
	s.mu.Unlock()
	select {
	case a := <-op.answer:
		if err, ok := a.(error); ok {
			return nil, err
		}
		return a, nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		op.abandoned = true
		return nil, ctx.Err()
	}
}

// Resource makes a pod the [dynamic.Interface] that leads to the API.
func (p *simPod) Resource(r schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return simResource{pod: p, ref: simRef{plural: r.Resource}}
}

// simResource is what model.Client uses of a dynamic client.
type simResource struct {
	dynamic.NamespaceableResourceInterface
	pod *simPod
	ref simRef
}

// Namespace returns the resource in a namespace.
func (r simResource) Namespace(namespace string) dynamic.ResourceInterface {
	r.ref.namespace = namespace
	return r
}

// request waits for its turn, no longer than the client does.
func (r simResource) request(ctx context.Context, q simRequest) (runtime.Object, error) {
	q.plural, q.namespace = r.ref.plural, r.ref.namespace
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	a, err := r.pod.park(ctx, true, q.String(), func() any {
		run := ctx.Value(simRunKey{}).(*simRun)
		version := r.pod.api.version
		if behind := int(version - q.notOlder); q.notOlder > 0 && behind > 0 && r.pod.happens(apiBehind, 3) {
			version -= int64(1 + r.pod.pick(behind))
		}
		if q.verb == "get" {
			run.observed[q.name] = max(run.observed[q.name], version) // A request that the run has given up comes after the next one.
		}
		if version < r.pod.api.version {
			return r.pod.api.was(q.simRef, version)
		}
		run.worked[q.name] = run.worked[q.name] || q.verb != "get" && q.verb != "list"
		obj, err := r.pod.api.do(q, time.Now())
		if err != nil {
			return err
		}
		return simAnswer{obj}
	})
	if err != nil {
		return nil, err
	}
	if obj := a.(simAnswer).Object; obj != nil {
		return obj.DeepCopyObject(), nil
	}
	return nil, nil
}

type simAnswer struct{ runtime.Object }

func (r simResource) object(ctx context.Context, q simRequest) (*unstructured.Unstructured, error) {
	obj, err := r.request(ctx, q)
	if err != nil {
		return nil, err
	}
	return obj.(*unstructured.Unstructured), nil
}

// Get implements [dynamic.ResourceInterface].
func (r simResource) Get(ctx context.Context, name string, options metav1.GetOptions, _ ...string) (*unstructured.Unstructured, error) {
	version, _ := strconv.ParseInt(options.ResourceVersion, 10, 64)
	return r.object(ctx, simRequest{verb: "get", simRef: simRef{name: name}, notOlder: version})
}

// List implements [dynamic.ResourceInterface]. Definitions do not change, and have no part in a history.
func (r simResource) List(ctx context.Context, options metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	if r.ref.plural == model.CRDs.Resource {
		return r.pod.api.definitions, nil
	}
	list, err := r.request(ctx, simRequest{verb: "list", selector: options.FieldSelector})
	if err != nil {
		return nil, err
	}
	return list.(*unstructured.UnstructuredList), nil
}

// Create implements [dynamic.ResourceInterface]. Kubernetes Events have no part in a history.
func (r simResource) Create(ctx context.Context, u *unstructured.Unstructured, _ metav1.CreateOptions, _ ...string) (*unstructured.Unstructured, error) {
	if r.ref.plural == "events" {
		return u, nil
	}
	return r.object(ctx, simRequest{verb: "create", simRef: simRef{name: u.GetName()}, object: u})
}

// Patch implements [dynamic.ResourceInterface].
func (r simResource) Patch(ctx context.Context, name string, patch types.PatchType, body []byte, _ metav1.PatchOptions, subresources ...string) (*unstructured.Unstructured, error) {
	if r.ref.plural == "events" {
		return nil, nil
	}
	return r.object(ctx, simRequest{verb: "patch", simRef: simRef{name: name}, patch: patch, body: body, status: len(subresources) > 0})
}

// Delete implements [dynamic.ResourceInterface].
func (r simResource) Delete(ctx context.Context, name string, options metav1.DeleteOptions, _ ...string) error {
	_, err := r.request(ctx, simRequest{verb: "delete", simRef: simRef{name: name}, must: options.Preconditions})
	return err
}

// skewed is a clock that is wrong.
type skewed struct {
	clock.RealClock
	by time.Duration
}

func (c skewed) Now() time.Time                  { return c.RealClock.Now().Add(c.by) }
func (c skewed) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

func (s *sim) skew() (by time.Duration) {
	if s.enabled[clockSkew] {
		if by = time.Duration(s.pick(5)-2) * time.Second; by != 0 {
			s.counts[clockSkew]++
		}
	}
	return by
}

func (s *sim) newPod(of model.Step, name string) *simPod {
	p := &simPod{sim: s, name: name, step: of}
	models, err := model.NewClientOn(p, v1alpha1.AddToScheme)
	if err != nil {
		panic(err)
	}
	var registrations []step.Registration
	if of == model.StepPolicy || s.enabled[oneFunction] {
		registrations = append(registrations, step.Policies[*v1alpha1.Book](simPolicy{s, models}))
	}
	if of == model.StepSync || s.enabled[oneFunction] {
		registrations = append(registrations, step.Sync[*v1alpha1.Shelf](simShelves{s}), step.Sync[*v1alpha1.Book](simBooks{s}))
	}
	if p.function, err = step.New(simQuiet, models, registrations, step.WithClock(skewed{by: s.skew()})); err != nil {
		panic(err)
	}
	return p
}

var simQuiet = logging.WithLogger(context.Background(), zap.NewNop().Sugar())

// start has a pod handle an event.
func (s *sim) start(p *simPod, m simMessage) {
	s.runs++
	s.active++
	for _, about := range m.about() {
		s.busy[about]++
	}
	r := &simRun{simPod: p, message: m, number: s.runs, observed: map[string]int64{}, worked: map[string]bool{}}
	s.note("%s begins: %s", r, m.event.ID())
	ctx := context.WithValue(simQuiet, simRunKey{}, r)
	go func() {
		_, result := p.function.Handle(ctx, m.event)
		s.mu.Lock()
		defer s.mu.Unlock()
		if !cloudevents.IsACK(result) {
			r.err = result
		}
		s.ended = append(s.ended, r)
	}()
}

// settleRuns does what the broker does when runs have ended: it tries those again that have failed.
func (s *sim) settleRuns() {
	s.mu.Lock()
	ended := s.ended
	s.ended = nil
	s.mu.Unlock()
	slices.SortFunc(ended, func(a, b *simRun) int { return cmp.Compare(a.number, b.number) })
	for _, r := range ended {
		s.active--
		for _, about := range r.message.about() {
			s.busy[about]--
		}
		s.note("%s ends: %v", r, r.err)
		for _, ref := range r.message.refs() {
			if at := r.observed[ref.Name]; r.err == nil && !r.dead && !r.worked[ref.Name] && at > 0 && at == r.message.version {
				s.fail("no work: the event %s woke %s for nothing on %s", r.message.event.ID(), r, ref.Name)
			}
		}
		if r.err == nil {
			continue
		}
		if strings.Contains(r.err.Error(), "undoing") {
			s.lost(r.message)
		}
		if m := r.message; m.tries < 2 {
			m.tries++
			m.at = time.Now().Add(time.Second << m.tries)
			s.messages = append(s.messages, m)
		}
	}
}

// lost: what was done to the objects of an event may not be undone.
func (s *sim) lost(m simMessage) {
	for _, ref := range m.refs() {
		s.backend.lost(types.UID(ref.UID))
	}
}

// crash ends the pod of a request that is being done. Another pod takes its place.
func (s *sim) crash(during *simOp) {
	p := during.simPod
	s.mu.Lock()
	p.dead = true
	var alive []*simOp
	for _, op := range append(s.parked, during) {
		if op.simPod != p {
			alive = append(alive, op)
			continue
		}
		// What it has done to an object that is removed by force is not undone.
		s.lost(op.message)
		if !op.abandoned {
			op.answer <- errDead
		}
	}
	s.parked = alive
	s.mu.Unlock()
	i := slices.Index(s.pods, p)
	s.pods[i] = s.newPod(p.step, p.name+"'")
}

// perform lets a request pass, or has something go wrong.
func (s *sim) perform(op *simOp) {
	s.mu.Lock()
	s.parked = slices.DeleteFunc(s.parked, func(o *simOp) bool { return o == op })
	s.mu.Unlock()
	if op.abandoned {
		if s.pick(2) == 0 && (op.api || !s.enabled[coarseBackend]) {
			s.note("%s: %s is done late", op.simRun, op.what)
			op.do()
		}
		return
	}
	s.requests++
	if s.happens(crashBefore, 25) {
		s.crash(op)
		return
	}
	a := s.answerTo(op)
	if a == nil {
		return
	}
	s.note("%s: %s%s", op.simRun, op.what, outcomeOf(a))
	if s.happens(crashAfter, 25) {
		s.crash(op)
		return
	}
	op.answer <- a
}

func outcomeOf(a any) string {
	if err, ok := a.(error); ok {
		return ": " + err.Error()
	}
	return ""
}

// answerTo is the answer to a request, nil if there is none yet.
func (s *sim) answerTo(op *simOp) any {
	lost := errors.New("connection reset by peer")
	switch {
	case !op.api && s.happens(stepPanics, 10):
		return errPanic
	case !op.api && s.happens(backendFails, 5):
		return errors.New("the backend has failed")
	case !op.api && s.happens(backendForgets, 5):
		op.do()
		return lost
	case op.until.IsZero() && s.happens(podHangs, 15):
		op.until = time.Now().Add(time.Duration(5+s.pick(100)) * time.Second)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.parked = append(s.parked, op)
		return nil
	case !op.api:
	case s.happens(api409, 20):
		return apierrors.NewConflict(model.CRDs.GroupResource(), "it", errors.New("etcd is busy"))
	case s.happens(api500, 20):
		return apierrors.NewInternalError(errors.New("etcd has no leader"))
	case s.happens(api429, 20):
		return apierrors.NewTooManyRequestsError("it has too much to do")
	case s.happens(apiTimeout, 20):
		return lost
	case s.happens(apiForgets, 15):
		op.do()
		return lost
	}
	return op.do()
}

var errPanic = errors.New("panic")

// simSource is a model source: a real tracker, and what it has seen of the API.
type simSource struct {
	*sim
	*Source
	// queue has the keys to be evaluated, and when.
	queue map[key]time.Time
	// at is what each kind's watch has brought.
	at   map[string]int64
	skew time.Duration
}

type simSend struct {
	*simSource
	*parcel
	version int64
}

// version of the API, zero if the source has not seen all of it.
func (o *simSource) version() int64 {
	for _, k := range o.api.kinds {
		if o.behind(k.Resource) > 0 {
			return 0
		}
	}
	return o.api.version
}

func (s *sim) newSource() *simSource {
	o := &simSource{sim: s, queue: map[key]time.Time{}, at: map[string]int64{}, skew: s.skew()}
	options := Options{Window: 2 + s.pick(3)}.withDefaults()
	if options.Objects = 1; s.enabled[severalObjects] {
		options.Objects += 1 + s.pick(3)
	}
	o.Source = newSource(options, nil, func(k key) { o.queue[k] = time.Time{} })
	verifyAlways(&o.tracker, s.fail)
	o.know(s.api.kinds...)
	for _, k := range s.api.kinds {
		o.relist(k)
	}
	return o
}

func (o *simSource) now() time.Time { return time.Now().Add(o.skew) }

// relist reads all objects of a kind, as a source does that starts or has lost its watch.
func (o *simSource) relist(k *model.Kind) {
	w := o.kinds[k.GVK.GroupKind()]
	gone := map[string]*model.Snapshot{}
	for _, r := range w.records {
		gone[r.names().Name] = w.snapshot(r)
	}
	for _, u := range o.api.all(k.Resource) {
		version, _ := strconv.ParseInt(u.GetResourceVersion(), 10, 64)
		o.put(o.api.seen(k, version))
		delete(gone, u.GetName())
	}
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		o.Source.remove(gone[name])
	}
	o.at[k.Resource] = o.api.version
}

// behind is the next change that the watch of a kind has to bring, zero if there is none.
func (o *simSource) behind(plural string) int64 {
	for v := o.at[plural] + 1; v <= o.api.version; v++ {
		if o.api.log[v-1].plural == plural {
			return v
		}
		o.at[plural] = v
	}
	return 0
}

// watch brings one change.
func (o *simSource) watch(k *model.Kind, version int64) {
	o.at[k.Resource] = version
	c := o.api.log[version-1]
	if c.EventType != watch.Deleted {
		o.put(o.api.seen(k, version))
	} else if before := o.object(k.GVK.GroupKind(), c.namespace, c.name); before != nil {
		o.Source.remove(before)
	}
}

// work evaluates all keys whose time has come, and returns when the next one comes.
func (o *simSource) work() (next time.Time) {
	for range tooLong {
		var due []key
		next = time.Time{}
		for k, at := range o.queue {
			if !at.After(time.Now()) {
				due = append(due, k)
			} else if next.IsZero() || at.Before(next) {
				next = at
			}
		}
		if len(due) == 0 {
			o.checkLate()
			return next
		}
		slices.SortFunc(due, func(a, b key) int {
			return cmp.Or(cmp.Compare(a.groupKind.Kind, b.groupKind.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.step, b.step))
		})
		for _, k := range due {
			delete(o.queue, k)
			o.does(o.evaluate(k, o.now()))
		}
	}
	o.fail("no end: a source evaluates the same keys again and again")
	return next
}

func (o *simSource) does(do todo) {
	for _, a := range do.again {
		at := time.Now().Add(a.after)
		if old, ok := o.queue[a.key]; !ok || at.Before(old) {
			o.queue[a.key] = at
		}
	}
	for _, next := range do.send {
		for _, d := range next.deliveries {
			o.note("source sends %s: %s of %s is due: %s", next.event.ID(), d.step, d.Name, d.due)
		}
		if len(next.deliveries) > 1 {
			o.counts[severalObjects]++
		}
		o.sends = append(o.sends, simSend{o, next, o.version()})
	}
}

// sink answers a source, and keeps the event unless it is lost.
func (s *sim) sink(n int) {
	next := s.sends[n]
	s.sends = slices.Delete(s.sends, n, n+1)
	accepted := true
	switch {
	case s.happens(sinkRejects, 10):
		accepted = false
	case s.happens(eventLost, 10):
	default:
		m := simMessage{event: next.event, version: next.version, at: time.Now()}
		s.messages = append(s.messages, m)
		if s.happens(eventDoubled, 10) {
			s.messages = append(s.messages, m)
		}
		accepted = !s.happens(sinkForgets, 10)
	}
	if slices.Contains(s.sources, next.simSource) {
		next.does(next.answered(next.parcel, accepted, next.now()))
	}
}

// deliver brings an event to a pod.
func (s *sim) deliver(n int) {
	m := s.messages[n]
	if n > 0 {
		s.counts[eventOvertaken]++
	}
	s.messages = slices.Delete(s.messages, n, n+1)
	var pods []*simPod
	for _, p := range s.pods {
		if string(p.step) == m.event.Extensions()[model.ExtensionStep] {
			pods = append(pods, p)
		}
	}
	s.start(pods[s.pick(len(pods))], m)
}

// newSim draws which faults the history has.
func newSim(c choices) *sim {
	s := &sim{choices: c, api: newSimAPI(), enabled: map[fault]bool{}, stormy: true, counts: map[fault]int{}, calls: map[types.UID]int{}, busy: map[string]int{}}
	s.backend = &simBackend{sim: s, records: map[types.UID]simRecord{}, buried: map[types.UID]int64{}, ever: map[types.UID]bool{}, unprotected: map[types.UID]bool{}}
	for _, f := range faults {
		s.enabled[f] = s.pick(3) == 2
	}
	if s.enabled[coarseBackend] {
		s.count(coarseBackend)
		// Then a late writer that has read an older dependency must live to see that it was overtaken.
		for _, f := range []fault{crashBefore, crashAfter, api409, api429, api500, apiTimeout, apiForgets, sourceRestarts} {
			s.enabled[f] = false
		}
	}
	if s.enabled[oneFunction] {
		s.count(oneFunction)
	}
	s.users = 2 + s.pick(7)
	if s.books = 3; s.enabled[severalObjects] {
		s.books, s.users = 9, s.users+6 // Few would not fill a window.
	}
	for _, of := range model.Steps() {
		pods := 1
		if s.enabled[manyPods] {
			pods += s.pick(3)
			s.counts[manyPods] += pods - 1
		}
		for i := range pods {
			s.pods = append(s.pods, s.newPod(of, fmt.Sprintf("%s-%d", of, i)))
		}
	}
	s.sources = append(s.sources, s.newSource())
	if s.enabled[twoSources] && s.pick(2) == 1 {
		s.count(twoSources)
		s.sources = append(s.sources, s.newSource())
	}
	return s
}

// action is something that can happen next.
type action func()

// possible are the requests, changes and events that wait for their turn.
func (s *sim) possible() (all []action) {
	s.mu.Lock()
	slices.SortStableFunc(s.parked, func(a, b *simOp) int { return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.what, b.what)) })
	for _, op := range s.parked {
		if !time.Now().Before(op.until) {
			all = append(all, func() { s.perform(op) })
		}
	}
	s.mu.Unlock()
	for _, o := range s.sources {
		for _, k := range s.api.kinds {
			if version := o.behind(k.Resource); version > 0 {
				all = append(all, func() { s.bring(o, k, version) })
			}
		}
	}
	for i := range s.sends {
		all = append(all, func() { s.sink(i) })
	}
	for i, m := range s.messages {
		// Of three events for one object in a pod two would wait for the same run, and chance decides who is next.
		waits := slices.ContainsFunc(m.about(), func(about string) bool { return s.busy[about] >= 2 })
		if !time.Now().Before(m.at) && !waits {
			all = append(all, func() { s.deliver(i) })
		}
	}
	return all
}

// bring has a watch bring a change, or lose its connection.
func (s *sim) bring(o *simSource, k *model.Kind, version int64) {
	switch {
	case s.happens(sourceRestarts, 30):
		s.sources[slices.Index(s.sources, o)] = s.newSource()
	case s.happens(watchExpires, 20):
		o.relist(k)
	default:
		o.watch(k, version)
	}
}

// tooLong is how many things may happen in a history until it counts as one without an end.
const tooLong = 20_000

// next has one thing happen, not after the given time. It reports whether there was one.
func (s *sim) next(until time.Time) bool {
	wake := until
	for _, o := range s.sources {
		if next := o.work(); !next.IsZero() && next.Before(wake) {
			wake = next
		}
	}
	all := s.possible()
	busy := len(all)
	if s.stormy && s.users > 0 {
		all = append(all, s.user)
	}
	pass := func() { s.pass(wake) }
	switch {
	case s.stormy:
		all = append(all, pass)
		all[s.pick(len(all))]()
	case busy > 0:
		all[0]()
	case time.Now().Before(until):
		pass()
	default:
		return false
	}
	synctest.Wait()
	s.settleRuns()
	return s.wrong == nil
}

// pass lets time pass until something else can happen.
func (s *sim) pass(wake time.Time) {
	s.mu.Lock()
	for _, op := range s.parked {
		if op.until.After(time.Now()) && op.until.Before(wake) {
			wake = op.until
		}
	}
	s.mu.Unlock()
	for _, m := range s.messages {
		if m.at.After(time.Now()) && m.at.Before(wake) {
			wake = m.at
		} else if !m.at.After(time.Now()) {
			s.counts[eventLate]++
		}
	}
	for _, o := range s.sources {
		for _, k := range s.api.kinds {
			if o.behind(k.Resource) > 0 {
				s.counts[watchLate]++
			}
		}
	}
	d := time.Until(wake)
	switch {
	case s.stormy:
		d = min(d, time.Duration(1+s.pick(20))*time.Second)
	case s.active > 0:
		d = min(d, time.Second) // A run has timers of its own.
	}
	// To whole seconds: the waits of an engine that have a random part end at the same second always.
	time.Sleep((time.Since(simStart) + d + time.Second - 1).Truncate(time.Second) - time.Since(simStart))
	s.note("later")
}
