package step

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
	flights singleflight.Group
	slots   *semaphore.Weighted
}

// handle runs the step for one model event, which is only a hint at the object.
func (e *engine) handle(ctx context.Context, event cloudevents.Event, ref model.Reference) (*cloudevents.Event, protocol.Result) {
	r, ok := e.runners[ref.GroupKind()]
	if !ok {
		return nil, function.Unprocessable("data.kind: this function knows no %s step for %s, only for %s", e.step, ref.GroupKind(), e.kinds())
	}
	if !e.slots.TryAcquire(1) {
		return nil, function.Unavailable("%d runs of the %s step are under way in this process, which is the limit", maxParallel, e.step)
	}
	defer e.slots.Release(1)
	log := logging.FromContext(ctx).With(zap.String("id", event.ID()), zap.String("kind", ref.Kind),
		zap.String("namespace", ref.Namespace), zap.String("name", ref.Name))
	// The run outlives the request: its outcome must be stored even if the broker hangs up.
	ctx = logging.WithLogger(context.WithoutCancel(ctx), log)
	reply, err := e.alone(ref, func() (*cloudevents.Event, error) { return e.reconcile(ctx, r, e.hint(event, ref)) })
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
func (e *engine) alone(ref model.Reference, run func() (*cloudevents.Event, error)) (reply *cloudevents.Event, err error) {
	key := ref.GroupKind().String() + "/" + ref.Namespace + "/" + ref.Name
	for range 2 {
		mine := false
		_, err, _ = e.flights.Do(key, func() (any, error) {
			mine = true
			reply, err = run()
			return nil, err
		})
		if mine {
			break
		}
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

// reconcile runs the step until its outcome is stored or nothing is due. After an error the event has
// to come again.
func (e *engine) reconcile(ctx context.Context, r runner, ref hint) (*cloudevents.Event, error) {
	overtaken := false
	for range maxRuns {
		reply, err := e.once(ctx, r, ref, overtaken)
		if !errors.Is(err, errAgain) {
			return reply, err
		}
		overtaken = overtaken || errors.Is(err, errOvertaken)
		logging.FromContext(ctx).Infow("Starting again with the newest object", zap.Error(err))
	}
	return nil, fmt.Errorf("%s %s/%s was changed by others %d times in a row", ref.Kind, ref.Namespace, ref.Name, maxRuns)
}

func (e *engine) once(ctx context.Context, r runner, ref hint, overtaken bool) (*cloudevents.Event, error) {
	o, err := e.observe(ctx, ref)
	if errors.Is(err, model.ErrVersion) {
		// The definition has changed since it was read. By now it was read again.
		return nil, fmt.Errorf("%w: %w", errAgain, err)
	}
	if err != nil {
		return nil, err
	}
	v := e.decide(ctx, o)
	if overtaken && e.mayCall(o, v) {
		v = model.Verdict{Reason: model.DueOvertaken}
	}
	if o.live != nil && !v.Due() {
		// The source has found something due. It may know a newer definition.
		changed, err := e.models.Changed(ctx, o.obj.Kind)
		if changed {
			err = fmt.Errorf("%w, or rather their kind", errAgain)
		}
		return nil, err
	}
	if !v.Due() {
		return nil, nil
	}
	result, err := e.act(ctx, r, o, v)
	if err != nil {
		return nil, err
	}
	return e.store(ctx, r, o, v, result)
}
