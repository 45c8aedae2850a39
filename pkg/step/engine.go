package step

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// Deadline is how long one call of a step may take. It is shorter than the
// model source's first visibility timeout (30 s), so that the outcome is
// stored before the source takes the event for lost.
const Deadline = 25 * time.Second

// maxRuns bounds how often one event starts over because others changed the
// object at the same time. The source sends what is still due again.
const maxRuns = 5

// maxSkew is how far the clock of a function's node may be behind that of the
// model source's for a retry to be waited for. The event of a retry that is not
// due yet would else count as lost, and come again after 30 s.
const maxSkew = 500 * time.Millisecond

// undoing is when a clean-up that cannot be asked for again is tried.
var undoing = wait.Backoff{Steps: 5, Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1}

var stepsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "synchronizer_steps_total",
	Help: "Outcomes of steps, by step, kind and state.",
}, []string{"step", "kind", "state"})

// Models connects to the Kubernetes API that the function finds in its
// environment; see [function.KubeConfig].
func Models(addToScheme ...func(*runtime.Scheme) error) (*model.Client, error) {
	config, err := function.KubeConfig()
	if err != nil {
		return nil, err
	}
	return model.NewClient(config, addToScheme...)
}

// Engine runs the steps of one function for the model events it receives.
// Make one with [NewSyncEngine] or [NewPolicyEngine].
type Engine struct {
	settings
	step    model.Step
	models  *model.Client
	runners map[schema.GroupKind]runner
	flights singleflight.Group
}

// settings are what options change.
type settings struct {
	clock    clock.PassiveClock
	deadline time.Duration
}

// with applies the options to the defaults.
func with(deadline time.Duration, options []Option) settings {
	s := settings{clock: clock.RealClock{}, deadline: deadline}
	for _, o := range options {
		o(&s)
	}
	return s
}

// Option changes an engine, of any kind of step, from its defaults.
type Option func(*settings)

// WithClock replaces the system's clock. Default: clock.RealClock.
func WithClock(c clock.PassiveClock) Option { return func(s *settings) { s.clock = c } }

// WithDeadline replaces how long one call of a step may take. Default:
// [Deadline], of a pull step [PullDeadline].
func WithDeadline(d time.Duration) Option { return func(s *settings) { s.deadline = d } }

// runner calls the steps of one kind.
type runner interface {
	kind(ctx context.Context, models *model.Client) (*model.Kind, error)
	run(ctx context.Context, u *unstructured.Unstructured, s *model.Snapshot) (handle string, err error)
	clean(ctx context.Context, u *unstructured.Unstructured) error
}

// Sync says which syncer works for a kind.
func Sync[T model.Object](syncer Syncer[T]) SyncStep { return SyncStep{syncRunner[T]{syncer}} }

// SyncStep is a syncer for an engine; made by [Sync].
type SyncStep struct{ runner runner }

// NewSyncEngine makes the engine of a function that syncs. It asks the API for
// the definitions of the steps' kinds and fails if one is no model.
func NewSyncEngine(ctx context.Context, models *model.Client, steps []SyncStep, options ...Option) (*Engine, error) {
	runners := make([]runner, len(steps))
	for i, s := range steps {
		runners[i] = s.runner
	}
	return newEngine(ctx, model.StepSync, models, runners, options)
}

// Policies says which policies work for a kind, in this order.
func Policies[T model.Object](policies ...Policy[T]) PolicyStep {
	return PolicyStep{policyRunner[T]{policies}}
}

// PolicyStep is the policies of a kind for an engine; made by [Policies].
type PolicyStep struct{ runner runner }

// NewPolicyEngine makes the engine of a function that runs policies. It asks
// the API for the definitions of the steps' kinds and fails if one is no model.
func NewPolicyEngine(ctx context.Context, models *model.Client, steps []PolicyStep, options ...Option) (*Engine, error) {
	runners := make([]runner, len(steps))
	for i, s := range steps {
		runners[i] = s.runner
	}
	return newEngine(ctx, model.StepPolicy, models, runners, options)
}

func newEngine(ctx context.Context, step model.Step, models *model.Client, runners []runner, options []Option) (*Engine, error) {
	e := &Engine{settings: with(Deadline, options), step: step, models: models, runners: map[schema.GroupKind]runner{}}
	for _, r := range runners {
		k, err := r.kind(ctx, models)
		if err != nil {
			return nil, err
		}
		gk := k.GVK.GroupKind()
		if _, ok := e.runners[gk]; ok {
			return nil, fmt.Errorf("%s: expected one %s step for the kind, got two", gk, step)
		}
		e.runners[gk] = r
	}
	return e, nil
}

// Handle runs the step for one model event. See the package documentation.
func (e *Engine) Handle(ctx context.Context, event cloudevents.Event) (*cloudevents.Event, protocol.Result) {
	ref, err := model.ParseReference(event)
	if err != nil {
		return nil, function.Unprocessable("%s", err)
	}
	if step, ok := event.Extensions()[model.ExtensionStep]; ok && step != string(e.step) {
		return nil, function.Unprocessable("step: expected %s, got %v: the event is for another function", e.step, step)
	}
	r, ok := e.runners[ref.GroupKind()]
	if !ok {
		return nil, function.Unprocessable("data.kind: this function knows no %s step for %s, only for %s", e.step, ref.GroupKind(), e.kinds())
	}
	log := logging.FromContext(ctx).With(zap.String("id", event.ID()), zap.String("kind", ref.Kind),
		zap.String("namespace", ref.Namespace), zap.String("name", ref.Name))
	// The run outlives the request: a broker that has lost patience must not
	// leave a step without its outcome stored.
	ctx = logging.WithLogger(context.WithoutCancel(ctx), log)
	reply, err := e.alone(ref, func() (*cloudevents.Event, error) { return e.reconcile(ctx, r, ref) })
	if err != nil {
		log.Warnw("The outcome could not be stored", zap.Error(err))
		return nil, function.Unavailable("%s", err)
	}
	return reply, nil
}

// alone keeps a step from running twice at once for one object. An event that
// comes during a run waits for its end, and then for a run that has begun after
// it came: the one under way may have read the object before what the event is
// about, and may have its outcome stored (which the source answers with the
// next event) without having ended. Whoever joins another's run gets no reply.
func (e *Engine) alone(ref model.Reference, run func() (*cloudevents.Event, error)) (*cloudevents.Event, error) {
	key := ref.GroupKind().String() + "/" + ref.Namespace + "/" + ref.Name
	var reply *cloudevents.Event
	var err error
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

func (e *Engine) kinds() string {
	names := []string{}
	for gk := range maps.Keys(e.runners) {
		names = append(names, gk.String())
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// reconcile runs the step until its outcome is stored or nothing is due. An
// error means that neither is known: the event has to come again.
func (e *Engine) reconcile(ctx context.Context, r runner, ref model.Reference) (*cloudevents.Event, error) {
	log := logging.FromContext(ctx)
	k, err := e.models.Kind(ctx, ref.GroupKind())
	if err != nil {
		return nil, err
	}
	waited := false
	for range maxRuns {
		u, err := e.models.Live(ctx, k, ref.Namespace, ref.Name)
		if model.IsGone(err) {
			log.Debug("Not due: the object is gone")
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		obj, err := k.SnapshotOf(u)
		if err != nil {
			return nil, err
		}
		n, err := e.models.Neighbours(ctx, e.step, obj)
		// Somebody's model may depend on this one, and the function lack the
		// right to look at it. That has to be seen, and cannot mend itself.
		blind := obj.Deleting() && apierrors.IsForbidden(err)
		if err != nil && !blind {
			return nil, err
		}
		now := e.clock.Now()
		verdict := model.Due(e.step, obj, n, now)
		if early := verdict.At.Sub(now); !verdict.Due() && early > 0 && early <= maxSkew && !waited {
			waited = true
			select {
			case <-time.After(early):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			continue
		}
		if !verdict.Due() {
			log.Debug("Not due")
			return nil, nil
		}

		done := run{step: e.step, obj: obj, n: n}
		var outcome *model.StepStatus
		switch {
		case blind:
			done.err, done.now = err, now
			outcome = done.outcome()
		case len(verdict.Blockers) > 0:
			outcome = done.waiting(verdict.Blockers)
		case obj.Deleting():
			_, done.err = call(ctx, e.deadline, cleaning(r, u))
			done.now = e.clock.Now()
			warning := ""
			if _, innocuous := as[innocuousError](done.err); innocuous {
				// It is done, with a warning: nothing is left to be called for.
				warning, done.err = done.err.Error(), nil
			}
			if done.err == nil {
				// No status is written: with the finalizer the step's interest
				// in the object goes.
				last, err := e.models.RemoveFinalizer(ctx, obj, e.step)
				if err != nil {
					return nil, err
				}
				e.report(ctx, obj, verdict, "Reaped", warning)
				if !last {
					return nil, nil
				}
				return e.event(obj, eventReaped, nil), nil
			}
			outcome = done.outcome()
		default:
			if !obj.Carries(e.step) {
				marked, err := e.models.AddFinalizer(ctx, obj, e.step)
				if model.IsGone(err) || model.IsDeleting(err) {
					continue // It went away meanwhile: look again.
				}
				if err != nil {
					return nil, err
				}
				if marked.GetGeneration() != obj.Generation {
					continue // So did its spec change.
				}
				// A step that saves its own object needs the newest version.
				u = marked
			}
			done.handle, done.err = call(ctx, e.deadline, func(ctx context.Context) (string, error) { return r.run(ctx, u, obj) })
			done.now = e.clock.Now()
			outcome = done.outcome()
		}

		err = e.models.SetStep(ctx, obj, e.step, outcome)
		switch {
		case errors.Is(err, model.ErrStepChanged):
			log.Infow("Another run was faster; starting over with the newest object")
			continue
		case model.IsGone(err):
			return nil, e.undo(ctx, r, u, obj, outcome)
		case err != nil:
			return nil, err
		}
		e.report(ctx, obj, verdict, string(outcome.State), outcome.Message)
		return e.reply(obj, outcome), nil
	}
	return nil, fmt.Errorf("%s %s/%s was changed by others %d times in a row", ref.Kind, ref.Namespace, ref.Name, maxRuns)
}

// undo cleans up behind a run whose object was removed by force (somebody took
// the finalizer away): nothing else would ever do it, so it tries more than once.
func (e *Engine) undo(ctx context.Context, r runner, u *unstructured.Unstructured, obj *model.Snapshot, outcome *model.StepStatus) error {
	if outcome.State == model.StateWaiting || obj.Deleting() {
		return nil // The step was not run, or was cleaning up already.
	}
	var last error
	err := wait.ExponentialBackoffWithContext(ctx, undoing, func(ctx context.Context) (bool, error) {
		_, last = call(ctx, e.deadline, cleaning(r, u))
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("undoing the %s of an object that is gone: %w", e.step, errors.Join(err, last))
	}
	logging.FromContext(ctx).Infow("Undone: the object was removed while the step ran")
	return nil
}

func cleaning(r runner, u *unstructured.Unstructured) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) { return "", r.clean(ctx, u) }
}

// call calls into a step with the deadline. A panic is an error like any other.
// A step that does not heed its context is left behind: the backend refuses
// what it may still write, because its generation is older by then.
func call[R any](ctx context.Context, deadline time.Duration, fn func(context.Context) (R, error)) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	type result struct {
		value R
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		r.err = recovered(ctx, func() (err error) {
			r.value, err = fn(ctx)
			return err
		})
		done <- r
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done: // It ended just in time, or because of the deadline.
		return r.value, r.err
	case <-time.After(time.Second):
		var none R
		return none, fmt.Errorf("the step did not end within %s", deadline)
	}
}

// recovered makes a panic an error like any other.
func recovered(ctx context.Context, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			logging.FromContext(ctx).Errorw("Step panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return fn()
}

// report writes the one log line of an outcome and counts it.
func (e *Engine) report(ctx context.Context, obj *model.Snapshot, verdict model.Verdict, state, message string) {
	stepsTotal.WithLabelValues(string(e.step), obj.Kind.GVK.Kind, state).Inc()
	logging.FromContext(ctx).Infow(string(e.step)+" "+state, zap.Int64("generation", obj.Generation),
		zap.String("due", string(verdict.Reason)), zap.String("detail", message))
}

// replyTypes are the CloudEvent types that tell of a new state, "" for none.
var replyTypes = map[model.Step]map[model.State]string{
	model.StepSync: {
		model.StateOK:       "dev.xos-knative.model.synced",
		model.StateFailed:   "dev.xos-knative.model.sync.failed",
		model.StateDeferred: "dev.xos-knative.model.sync.deferred",
	},
	model.StepPolicy: {
		model.StateOK:     "dev.xos-knative.model.policed",
		model.StateFailed: "dev.xos-knative.model.policy.failed",
	},
}

// eventReaped tells that the last step has cleaned up behind an object.
const eventReaped = "dev.xos-knative.model.reaped"

// reply tells of a state that has changed.
func (e *Engine) reply(obj *model.Snapshot, outcome *model.StepStatus) *cloudevents.Event {
	if before := obj.Status.Step(e.step); before != nil && before.State == outcome.State {
		return nil
	}
	return e.event(obj, replyTypes[e.step][outcome.State], outcome)
}

// event makes a reply, none for a state that nobody is told of.
func (e *Engine) event(obj *model.Snapshot, eventType string, outcome *model.StepStatus) *cloudevents.Event {
	if eventType == "" {
		return nil
	}
	data := struct {
		model.Reference
		State   model.State `json:"state,omitempty"`
		Message string      `json:"message,omitempty"`
	}{Reference: obj.Reference()}
	if outcome != nil {
		data.State, data.Message = outcome.State, outcome.Message
	}
	event := obj.Event(eventType, uuid.NewString(), e.clock.Now(), data)
	return &event
}

// HTTP makes the engine the handler of a function; see [function.Events].
func (e *Engine) HTTP() (http.Handler, error) { return function.Events(e.Handle) }

type syncRunner[T model.Object] struct{ syncer Syncer[T] }

func (r syncRunner[T]) kind(ctx context.Context, models *model.Client) (*model.Kind, error) {
	return model.For[T](models).Kind(ctx)
}

func (r syncRunner[T]) run(ctx context.Context, u *unstructured.Unstructured, _ *model.Snapshot) (string, error) {
	obj, err := model.Typed[T](u)
	if err != nil {
		return "", err
	}
	return r.syncer.Sync(ctx, obj)
}

func (r syncRunner[T]) clean(ctx context.Context, u *unstructured.Unstructured) error {
	obj, err := model.Typed[T](u)
	if err != nil {
		return err
	}
	return r.syncer.Delete(ctx, obj)
}

type policyRunner[T model.Object] struct{ policies []Policy[T] }

func (r policyRunner[T]) kind(ctx context.Context, models *model.Client) (*model.Kind, error) {
	return model.For[T](models).Kind(ctx)
}

func (r policyRunner[T]) run(ctx context.Context, u *unstructured.Unstructured, s *model.Snapshot) (string, error) {
	if s.Status.Policy == nil || s.Status.Policy.LastSuccess == nil {
		return "", r.each(ctx, u, func(p Policy[T], obj T) error { return p.Create(ctx, obj) })
	}
	return "", r.each(ctx, u, func(p Policy[T], obj T) error { return p.Update(ctx, obj) })
}

func (r policyRunner[T]) clean(ctx context.Context, u *unstructured.Unstructured) error {
	return r.each(ctx, u, func(p Policy[T], obj T) error { return p.Delete(ctx, obj) })
}

// each calls all policies, each with a copy of its own; one that fails does
// not keep the others from running.
func (r policyRunner[T]) each(ctx context.Context, u *unstructured.Unstructured, call func(Policy[T], T) error) error {
	var errs []error
	for _, p := range r.policies {
		obj, err := model.Typed[T](u.DeepCopy())
		if err != nil {
			return err
		}
		errs = append(errs, recovered(ctx, func() error { return call(p, obj) }))
	}
	return join(errs...)
}
