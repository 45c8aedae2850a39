package step

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// Deadline is how long one call of a sync, policy or event step may take. It is shorter than the model
// source's first visibility timeout (30 s), so that the outcome is stored before the source
// counts the event as lost.
const Deadline = 25 * time.Second

// Registration is a step of a function. [Sync], [Policies], [Compare], [Pull], [OnObject] and [On] make one.
type Registration struct {
	about   about
	step    model.Step // Of the runner.
	runner  runner
	puller  Puller
	compare func(*model.Client, clock.PassiveClock) (Puller, error)
	handler func(*model.Client) *eventHandler
}

// Sync registers the syncer of a kind.
func Sync[T model.Object](syncer Syncer[T]) Registration {
	return Registration{about: aboutKind[T]([]string{"patch"}, "get", "patch"), step: model.StepSync, runner: syncRunner[T]{syncer}}
}

// Policies registers all policies of a kind. They are called in this order.
func Policies[T model.Object](policies ...Policy[T]) Registration {
	return Registration{about: aboutKind[T]([]string{"patch"}, "get", "patch"), step: model.StepPolicy, runner: policyRunner[T]{policies}}
}

// Pull registers a pull step that does its work by itself; see [Compare] for one that
// compares.
func Pull(puller Puller) Registration { return Registration{puller: puller} }

// Steps makes the steps of a function. It is called once in the life of a process, and also reads the
// steps' settings ([function.Env]) and makes their clients.
type Steps func(ctx context.Context, models *model.Client) ([]Registration, error)

// Of makes steps of registrations that need neither settings nor clients. They get at models with [Models].
func Of(registrations ...Registration) Steps {
	return func(context.Context, *model.Client) ([]Registration, error) { return registrations, nil }
}

// Main runs a function until the process is told to stop. It is all that a program's main calls. The
// functions addToScheme register the Go types of the models that the steps use.
//
//	func main() { step.Main("sync", steps, v1alpha1.AddToScheme) }
//
// With [EnvDescribe] in the environment it says what the function consists of, and ends.
func Main(name string, steps Steps, addToScheme ...func(*runtime.Scheme) error) {
	if file := os.Getenv(EnvDescribe); file != "" {
		if err := describe(context.Background(), file, name, steps, addToScheme); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
		return
	}
	function.Main(name, func(ctx context.Context, env Settings) (http.Handler, error) {
		config, err := function.KubeConfig()
		if err != nil {
			return nil, err
		}
		models, err := model.NewClient(config, addToScheme...)
		if err != nil {
			return nil, err
		}
		registrations, err := steps(ctx, models)
		if err != nil {
			return nil, err
		}
		f, err := New(ctx, models, registrations, WithReplies(env.Replies))
		if err != nil {
			return nil, err
		}
		return f.HTTP()
	})
}

// Settings are the environment variables that every function of steps reads.
type Settings struct {
	// Replies has sync steps and policies tell each new state of an object by a reply, which the Broker takes as an event.
	// Only set it if a Trigger subscribes to one; see the EventTypes of Broker models. An event about several objects has
	// none.
	Replies bool `envconfig:"REPLIES" default:"false"`
}

// settings of an engine.
type settings struct {
	replies  bool
	clock    clock.PassiveClock
	deadline time.Duration
	events   *recorder
}

// Option changes a default of a function.
type Option func(*settings)

// WithClock sets the clock. Default: clock.RealClock.
func WithClock(c clock.PassiveClock) Option { return func(s *settings) { s.clock = c } }

// WithDeadline sets how long one call of a step may take. Default: [Deadline], and [PullDeadline] for a
// pull step.
func WithDeadline(d time.Duration) Option { return func(s *settings) { s.deadline = d } }

// WithReplies is [Settings.Replies].
func WithReplies(replies bool) Option { return func(s *settings) { s.replies = replies } }

func newSettings(deadline time.Duration, options []Option) settings {
	s := settings{clock: clock.RealClock{}, deadline: deadline}
	for _, o := range options {
		o(&s)
	}
	return s
}

// Function calls for each event the step that the event is for.
type Function struct {
	models   *model.Client
	engines  map[model.Step]*engine
	flights  singleflight.Group
	events   eventEngine
	pull     *pullEngine
	recorder *recorder
}

// New makes a function of its steps. It reads the definitions of the steps' kinds, and fails if the API
// does not serve one or if two registrations are for the same events. A kind that is no model may have been
// one before: its objects are tidied up.
func New(ctx context.Context, models *model.Client, registrations []Registration, options ...Option) (*Function, error) {
	recorder := newRecorder(ctx, models)
	options = append(slices.Clone(options), func(s *settings) { s.events = recorder })
	f := &Function{
		models:   models,
		recorder: recorder,
		engines:  map[model.Step]*engine{},
		events:   eventEngine{settings: newSettings(Deadline, options), handlers: map[string]*eventHandler{}},
	}
	for _, r := range registrations {
		if err := f.register(ctx, models, r, options); err != nil {
			return nil, err
		}
	}
	if len(registrations) == 0 {
		return nil, errors.New("expected at least one step, got none")
	}
	return f, nil
}

func (f *Function) register(ctx context.Context, models *model.Client, r Registration, options []Option) error {
	switch {
	case r.runner != nil:
		return f.engine(r.step, models, options).register(ctx, r.runner)
	case r.handler != nil:
		return f.events.register(r.handler(models))
	case r.puller == nil && r.compare == nil:
		return errors.New("registration: expected one made by Sync, Policies, Compare, Pull, OnObject or On, got an empty one")
	case f.pull == nil:
		f.pull = &pullEngine{settings: newSettings(PullDeadline, options)}
	}
	if r.compare != nil {
		var err error
		if r.puller, err = r.compare(models, f.pull.clock); err != nil {
			return err
		}
	}
	f.pull.pullers = append(f.pull.pullers, r.puller)
	return nil
}

func (f *Function) engine(step model.Step, models *model.Client, options []Option) *engine {
	if f.engines[step] == nil {
		f.engines[step] = &engine{
			settings: newSettings(Deadline, options), step: step, models: models, runners: map[schema.GroupKind]runner{},
			slots: semaphore.NewWeighted(maxParallel), all: f.engines, flights: &f.flights,
		}
	}
	return f.engines[step]
}

func (e *engine) register(ctx context.Context, r runner) error {
	gvk, err := r.gvk(e.models)
	if err != nil {
		return err
	}
	if _, err := e.models.KindAt(ctx, gvk); errors.Is(err, model.ErrNoModel) {
		if _, unserved := e.models.Retired(ctx, gvk); unserved != nil {
			return fmt.Errorf("%w; %w", err, unserved)
		}
		logging.FromContext(ctx).Warnw("The kind is no model: the step is not called, and what it has left on objects is taken away", zap.Error(err))
	} else if err != nil {
		return err
	}
	gk := gvk.GroupKind()
	if _, ok := e.runners[gk]; ok {
		return fmt.Errorf("%s: expected one %s step for the kind, got two", gk, e.step)
	}
	e.runners[gk] = r
	return nil
}

// Handle handles one event, of any of the function's steps.
func (f *Function) Handle(ctx context.Context, event cloudevents.Event) (*cloudevents.Event, protocol.Result) {
	ctx = context.WithValue(ctx, modelsKey{}, f.models)
	if handler, ok := f.events.handlers[event.Type()]; ok {
		return f.events.handle(ctx, event, handler)
	}
	if f.pull != nil && event.Type() == EventPing {
		return f.pull.handle(ctx, event)
	}
	if len(f.engines) == 0 {
		return nil, function.Unprocessable("type: expected %s, got %q", strings.Join(f.types(), " or "), event.Type())
	}
	return f.handleModel(ctx, event)
}

// handleModel handles an event about a model.
func (f *Function) handleModel(ctx context.Context, event cloudevents.Event) (*cloudevents.Event, protocol.Result) {
	step, refs, err := model.ParseWakeEvent(event, slices.Sorted(maps.Keys(f.engines))...)
	if err != nil {
		return nil, function.Unprocessable("%s", err)
	}
	return f.engines[step].handle(ctx, event, refs)
}

// types lists the types of events that are not about models.
func (f *Function) types() []string {
	types := slices.Sorted(maps.Keys(f.events.handlers))
	if f.pull != nil {
		types = append(types, EventPing)
	}
	return types
}

// HTTP makes the function an HTTP handler; see [function.Events]. It is a [function.Drainer].
func (f *Function) HTTP() (http.Handler, error) {
	handler, err := function.Events(f.Handle)
	return drainer{handler, f}, err
}

type drainer struct {
	http.Handler
	*Function
}

// Drain returns when the Kubernetes Events that were recorded are written, or when the context ends.
func (f *Function) Drain(ctx context.Context) { f.recorder.flush(ctx) }

// Work is a step of a function, and what wakes it.
type Work struct {
	// Step is sync, policy, pull or event.
	Step string
	// GroupKind of the models, for sync and policy.
	GroupKind schema.GroupKind
	// EventTypes that wake the step, for pull and event.
	EventTypes []string
}

// Work lists the steps of the function. Tests compare it with Triggers and definitions.
func (f *Function) Work() []Work {
	var work []Work
	for _, step := range model.Steps() {
		if e := f.engines[step]; e != nil {
			for _, gk := range slices.SortedFunc(maps.Keys(e.runners), func(a, b schema.GroupKind) int { return strings.Compare(a.String(), b.String()) }) {
				work = append(work, Work{Step: string(step), GroupKind: gk})
			}
		}
	}
	if f.pull != nil {
		work = append(work, Work{Step: "pull", EventTypes: []string{EventPing}})
	}
	if len(f.events.handlers) > 0 {
		work = append(work, Work{Step: "event", EventTypes: slices.Sorted(maps.Keys(f.events.handlers))})
	}
	return work
}
