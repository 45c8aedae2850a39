package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"

	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"

	"github.com/xos-knative/synchronizer/pkg/local/broker"
	"github.com/xos-knative/synchronizer/pkg/local/manifest"
)

// readyTimeout is how long Start and Add wait for what always runs.
const readyTimeout = 20 * time.Second

// change lets f change what runs, one f at a time. The context of f ends when ctx does and when the System is stopped.
func (s *System) change(ctx context.Context, f func(ctx context.Context) error) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	if s.life.Err() != nil {
		return errors.New("the local system is being stopped")
	}
	return f(ctx)
}

// plan is what a change leads to.
type plan struct {
	parts []*part // all of them, the core first
	added []*part
	kept  map[types.NamespacedName]bool // programs of those that run already
	running
}

// plan reads and checks new parts, each by itself and together with what runs. Nothing is changed yet.
func (s *System) plan(added ...*part) (*plan, error) {
	var errs []error
	for _, p := range added {
		errs = append(errs, s.load(p))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	next := &plan{parts: append(slices.Clone(s.parts), added...), added: added}
	set, err := join(next.parts)
	if err != nil {
		return nil, err
	}
	next.running = running{
		set:       set,
		functions: maps.Clone(s.functions), daemons: maps.Clone(s.daemons), backends: maps.Clone(s.backends),
	}
	return next, s.addPrograms(next)
}

func join(parts []*part) (*manifest.Set, error) {
	var sets []*manifest.Set
	for _, p := range parts {
		sets = append(sets, p.set)
	}
	return manifest.Join(sets...)
}

// addPrograms prepares the programs of a plan that do not run yet.
func (s *System) addPrograms(next *plan) error {
	if next.functions == nil {
		next.functions, next.daemons = map[types.NamespacedName]*function{}, map[types.NamespacedName]*daemon{}
	}
	seen := map[types.NamespacedName]bool{}
	once := func(p manifest.Program) error {
		if seen[p.Key()] {
			return fmt.Errorf("two resources run a program %s: the local runner distinguishes processes by namespace and name; rename one, or leave one out with --without", p.Key())
		}
		seen[p.Key()] = true
		return nil
	}
	unchanged := func(p manifest.Program, old, new any) error {
		if !reflect.DeepEqual(old, new) {
			return fmt.Errorf("%s runs already, and would change by what is added: a SinkBinding or Service can only be about what comes with it", p.Key())
		}
		return nil
	}
	var errs []error
	for _, spec := range next.set.Functions() {
		errs = append(errs, once(spec.Program))
		if f := next.functions[spec.Key()]; f != nil {
			errs = append(errs, unchanged(spec.Program, f.spec, spec))
			continue
		}
		next.functions[spec.Key()] = s.newFunction(spec)
	}
	for _, spec := range next.set.Daemons() {
		errs = append(errs, once(spec))
		if d := next.daemons[spec.Key()]; d != nil {
			errs = append(errs, unchanged(spec, d.spec, spec))
			continue
		}
		next.daemons[spec.Key()] = s.newDaemon(spec)
	}
	next.backends = backends(next.running)
	return errors.Join(errs...)
}

// wire makes the plan what requests and events find: definitions, functions, Brokers and Triggers.
func (s *System) wire(ctx context.Context, next *plan) error {
	for _, p := range next.added {
		for _, w := range p.set.Warnings {
			s.console.Detail("resources", "warning: %s", w)
		}
		for _, kind := range p.set.Inert {
			s.console.Detail("resources", "%s: accepted, nothing to do for it locally", kind)
		}
		var docs [][]byte
		for _, crd := range p.set.CRDs {
			docs = append(docs, crd.Document)
		}
		if err := s.api.ApplyCRDDocuments(ctx, docs...); err != nil {
			return err
		}
	}
	s.become(next.parts, next.running)
	if err := s.setWires(nil); err != nil {
		return err
	}
	return s.writeKubeconfig()
}

// become makes something else what runs, for all who look.
func (s *System) become(parts []*part, r running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts, s.running = parts, r
}

// setWires gives the broker all Brokers and all Triggers but some.
func (s *System) setWires(without func(*eventingv1.Trigger) bool) error {
	triggers := s.set.Triggers
	if without != nil {
		triggers = slices.DeleteFunc(slices.Clone(triggers), without)
	}
	return s.broker.Set(broker.Wires{Brokers: s.set.Brokers, Triggers: triggers, Resolve: s.set.Resolve})
}

// writeKubeconfig writes the administrator's kubeconfig for what runs now, and that of the programs if it is another one.
func (s *System) writeKubeconfig() error {
	s.api.SetNamespace(namespace(s.parts))
	if err := s.api.WriteKubeconfig(s.Kubeconfig()); err != nil || s.o.Network == nil {
		return err
	}
	config, err := clientcmd.LoadFromFile(s.Kubeconfig())
	if err != nil {
		return fmt.Errorf("cannot read the kubeconfig: %w", err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server = "https://" + s.insideAPI
	}
	return clientcmd.WriteToFile(*config, s.programKubeconfig())
}

// run starts what always runs of the new parts and waits a moment for it to be ready, then lets their PingSources tick.
func (s *System) run(ctx context.Context, next *plan) error {
	waiting, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	started := next.daemonsOf(next.added)
	maps.DeleteFunc(started, func(key types.NamespacedName, _ *daemon) bool { return next.kept[key] })
	for _, d := range started {
		d.start()
	}
	for key, f := range next.functionsOf(next.added) {
		if f.spec.AlwaysOn && !next.kept[key] {
			f.warm()
		}
	}
	for _, d := range started {
		if d.waitReady(waiting) != nil && ctx.Err() == nil {
			s.console.Problem(d.label(), "not ready after %s, going on without it", readyTimeout)
		}
	}
	for _, p := range next.added {
		if err := s.addSchedules(p); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// daemonsOf are the programs of some parts that always run.
func (r running) daemonsOf(parts []*part) map[types.NamespacedName]*daemon {
	return of(parts, r.daemons)
}

// functionsOf are the functions of some parts.
func (r running) functionsOf(parts []*part) map[types.NamespacedName]*function {
	return of(parts, r.functions)
}

func of[T any](parts []*part, all map[types.NamespacedName]T) map[types.NamespacedName]T {
	some := map[types.NamespacedName]T{}
	for _, p := range parts {
		for _, program := range p.set.Programs() {
			if v, ok := all[program.Key()]; ok {
				some[program.Key()] = v
			}
		}
	}
	return some
}

func (s *System) addSchedules(p *part) error {
	for _, source := range p.set.PingSources {
		if err := s.schedules.Add(source); err != nil {
			return err
		}
	}
	return nil
}

func (s *System) removeSchedules(p *part) {
	for _, source := range p.set.PingSources {
		s.schedules.Remove(types.NamespacedName{Namespace: source.Namespace, Name: source.Name})
	}
}

// Synchronizers are the names of the synchronizers that run.
func (s *System) Synchronizers() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return synchronizers(s.parts)
}
