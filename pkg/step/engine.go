package step

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// maxRuns is how often a run starts again because others have changed the object meanwhile. After that
// the event comes again.
const maxRuns = 5

// errAgain says that the object is no longer as it was observed: the run starts again.
var errAgain = errors.New("the object was changed by others")

// errOvertaken says that another run of the step has stored its outcome while this one called the step.
// Whichever of them reached the backend last may have brought something older there. So the step is
// called again with the newest object, also if it is not due.
var errOvertaken = fmt.Errorf("%w: another run has stored its outcome", errAgain)

// maxParallel is how many runs a process has at the same time. A run goes on when its request has ended,
// so the limit of requests in the function's Service does not bound it.
const maxParallel = 128

// engine runs one step, sync or policy, for the kinds that a function knows. A run has four parts:
// observe, decide, act and store, each in a file of its own.
type engine struct {
	settings
	step    model.Step
	models  *model.Client
	runners map[schema.GroupKind]runner
	slots   *semaphore.Weighted
	// all are the engines of the function, with this one, and flights are their runs.
	all     map[model.Step]*engine
	flights *singleflight.Group
}

// of are the engines that the function has for a kind. An event for one of them runs all that is due, because another one
// would come for the rest: policies first, so that what they save is synced then.
func (e *engine) of(gk schema.GroupKind) (all []*engine) {
	for _, step := range []model.Step{model.StepPolicy, model.StepSync} {
		if other := e.all[step]; other != nil && other.runners[gk] != nil {
			all = append(all, other)
		}
	}
	return all
}

// handle runs the step for a model event, which is only a hint at its objects, side by side if they are several. The
// answer is good if that of each is. There is no reply for several.
func (e *engine) handle(ctx context.Context, event cloudevents.Event, refs []model.Reference) (*cloudevents.Event, protocol.Result) {
	for _, ref := range refs {
		if e.runners[ref.GroupKind()] == nil {
			return nil, function.Unprocessable("data.kind: this function knows no %s step for %s, only for %s", e.step, ref.GroupKind(), e.kinds())
		}
	}
	if !e.slots.TryAcquire(int64(len(refs))) {
		return nil, function.Unavailable("%d runs of the %s step are under way in this process, which is the limit", maxParallel, e.step)
	}
	if len(refs) == 1 {
		return e.handleOne(ctx, event, refs[0])
	}
	results := make([]error, len(refs))
	var runs sync.WaitGroup
	for i, ref := range refs {
		runs.Go(func() { _, results[i] = e.handleOne(ctx, event, ref) })
	}
	runs.Wait()
	if err := errors.Join(results...); err != nil {
		return nil, function.Unavailable("%s", oneLine(err))
	}
	return nil, nil
}

func (e *engine) handleOne(ctx context.Context, event cloudevents.Event, ref model.Reference) (*cloudevents.Event, protocol.Result) {
	defer e.slots.Release(1)
	log := logging.FromContext(ctx).With(zap.String("id", event.ID()), zap.String("kind", ref.Kind),
		zap.String("namespace", ref.Namespace), zap.String("name", ref.Name))
	// The run outlives the request: its outcome must be stored even if the broker hangs up.
	ctx = logging.WithLogger(context.WithoutCancel(ctx), log)
	reply, err := e.alone(e.hint(event, ref), func(h hint) (*cloudevents.Event, error) { return e.reconcile(ctx, h) })
	if err != nil {
		log.Warnw("The outcome could not be stored", zap.Error(err))
		return nil, function.Unavailable("%s", err)
	}
	return reply, nil
}

// alone makes sure that the step runs once at a time for an object in this process. An event that comes
// during a run waits until that ends, and then for a run that has begun after it came: the first one
// may have read the object before the change that the event is about. An event that waits for the run
// of another event gets no reply.
func (e *engine) alone(h hint, run func(hint) (*cloudevents.Event, error)) (reply *cloudevents.Event, err error) {
	key := h.GroupKind().String() + "/" + h.Namespace + "/" + h.Name
	if len(e.of(h.GroupKind())) == 1 {
		key += "/" + string(e.step)
	}
	for range 2 {
		mine := false
		_, err, _ = e.flights.Do(key, func() (any, error) {
			mine = true
			reply, err = run(h)
			return nil, err
		})
		if mine {
			break
		}
		h = h.outdated()
	}
	return reply, err
}

func (e *engine) kinds() string {
	var names []string
	for gk := range maps.Keys(e.runners) {
		names = append(names, gk.String())
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// reconcile runs the steps until their outcome is stored or nothing is due. After an error the event has
// to come again.
func (e *engine) reconcile(ctx context.Context, h hint) (*cloudevents.Event, error) {
	overtaken := sets.New[model.Step]()
	for range maxRuns {
		reply, err := e.once(ctx, h, overtaken)
		if !errors.Is(err, errAgain) {
			return reply, err
		}
		h = h.outdated()
		logging.FromContext(ctx).Infow("Starting again with the newest object", zap.Error(err))
	}
	return nil, fmt.Errorf("%s %s/%s was changed by others %d times in a row", h.Kind, h.Namespace, h.Name, maxRuns)
}

// once runs the steps that are due, and stores what they have come to.
func (e *engine) once(ctx context.Context, h hint, overtaken sets.Set[model.Step]) (*cloudevents.Event, error) {
	seen, err := e.read(ctx, h)
	if errors.Is(err, model.ErrVersion) {
		// The definition has changed since it was read. By now it was read again.
		return nil, fmt.Errorf("%w: %w", errAgain, err)
	}
	if err != nil || seen.live == nil {
		return nil, err
	}
	t := &together{event: e.step, overtaken: overtaken}
	for _, e := range e.of(h.GroupKind()) {
		if seen, err = e.run(ctx, seen, t); err != nil || seen == nil {
			break
		}
	}
	t.store(ctx)
	if err = errors.Join(err, t.err); err != nil || t.due {
		return t.reply, err
	}
	// The source has found something due. It may know a newer definition.
	changed, err := e.models.Changed(ctx, seen.obj.Kind)
	if changed {
		err = fmt.Errorf("%w, or rather their kind", errAgain)
	}
	return nil, err
}

// run runs the step if it is due. It returns what the next step sees, nil if there is to be none in this run.
func (e *engine) run(ctx context.Context, seen *observation, t *together) (*observation, error) {
	o, err := e.observe(ctx, seen)
	if err != nil {
		return nil, err
	}
	v := e.decide(ctx, o)
	if t.overtaken.Has(e.step) && e.mayCall(o, v) {
		v = model.Verdict{Reason: model.DueOvertaken}
	}
	if !v.Due() {
		return seen, nil
	}
	t.due = true
	began, stop := time.Now(), t.storeAfter(ctx, e.patience())
	res, err := e.act(ctx, o, v)
	stop()
	if err != nil {
		return nil, err
	}
	end := &ending{engine: e, o: o, v: v, res: res}
	t.open = append(t.open, end)
	return t.next(ctx, end, time.Since(began))
}
