package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
)

// removeTimeout bounds how long Remove waits for steps to clean up.
const removeTimeout = 2 * time.Minute

// Add adds a synchronizer to what runs: source is the name of one of the project's, or a directory with config/ and
// eventing/ below it (a path with a separator in it, relative to Options.Root). What runs already goes on: no process of
// it is restarted, and no event is lost. A later System over the same data directory has the synchronizer too.
//
//  1. Its files are read and checked, by themselves and against what runs; the error names file and field.
//  2. Its programs are built.
//  3. Its definitions are applied, its functions, Brokers and Triggers are added, and what always runs is started.
//  4. Its PingSources begin to tick.
//
// After an error nothing of it runs. Definitions that were applied stay.
func (s *System) Add(ctx context.Context, source string) error {
	return s.change(ctx, func(ctx context.Context) error {
		p, err := s.find(source)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(s.parts, func(q *part) bool { return q.name == p.name }) {
			return fmt.Errorf("a synchronizer %s runs already", p.name)
		}
		next, err := s.plan(p)
		if err != nil {
			return fmt.Errorf("synchronizer %s cannot be run here:\n%w", p.name, err)
		}
		if err := s.buildAll(ctx, next.added); err != nil {
			return err
		}
		if err := s.wire(ctx, next); err != nil {
			return errors.Join(err, s.withdraw(p))
		}
		if err := s.run(ctx, next); err != nil {
			return errors.Join(err, s.withdraw(p))
		}
		s.console.Event(p.name, "added")
		return s.memory.add(p, s.base.Has(p.name))
	})
}

// Remove takes a synchronizer away, with its models and everything that it has stored. The other synchronizers and the
// core go on: no process of theirs is restarted, and no event for them is lost.
//
//  1. What makes models ends: its PingSources, and its Triggers on its own Brokers.
//  2. Its models are deleted, and its steps clean up. If that does not end within two minutes or until ctx ends,
//     everything else stays as it was, and the error says which objects are left and why.
//  3. Its Triggers, Brokers, functions and other programs end, and its volumes are deleted.
//  4. Its definitions are deleted.
func (s *System) Remove(ctx context.Context, name string) error {
	return s.change(ctx, func(ctx context.Context) error {
		i := slices.IndexFunc(s.parts, func(p *part) bool { return p.name == name })
		if i < 0 || name == coreName {
			return fmt.Errorf("no synchronizer %s runs, only %q", name, synchronizers(s.parts))
		}
		p := s.parts[i]
		if _, err := join(s.partsWithout(p)); err != nil {
			return fmt.Errorf("synchronizer %s cannot be removed, because others refer to it:\n%w", name, err)
		}
		ctx, cancel := context.WithTimeout(ctx, removeTimeout)
		defer cancel()
		s.console.Event(name, "removing: its models first")
		if err := s.removeModels(ctx, p); err != nil {
			return err
		}
		// From here on there is no way back, also if ctx ends.
		err := errors.Join(s.withdraw(p), s.deleteCRDs(p), s.removeVolumes(p), s.memory.remove(p, s.base.Has(name)))
		s.console.Event(name, "removed")
		return err
	})
}

// deleteCRDs deletes the definitions of a part.
func (s *System) deleteCRDs(p *part) error {
	var names []string
	for _, crd := range p.set.CRDs {
		names = append(names, crd.Definition.Name)
	}
	return s.api.DeleteCRDs(s.life, names...)
}

func (s *System) partsWithout(p *part) []*part {
	return slices.DeleteFunc(slices.Clone(s.parts), func(q *part) bool { return q == p })
}

// removeModels ends what makes models, deletes the models and waits until they are gone. After an error everything that
// makes models is there again.
func (s *System) removeModels(ctx context.Context, p *part) error {
	own := func(t *eventingv1.Trigger) bool {
		return slices.ContainsFunc(p.set.Brokers, func(b *eventingv1.Broker) bool {
			return b.Namespace == t.Namespace && b.Name == t.Spec.Broker
		})
	}
	s.removeSchedules(p)
	if err := s.setWires(own); err != nil {
		return errors.Join(err, s.addSchedules(p))
	}
	if err := s.deleteModels(ctx, p); err != nil {
		return errors.Join(fmt.Errorf("synchronizer %s still runs: %w", p.name, err), s.setWires(nil), s.addSchedules(p))
	}
	return nil
}

// withdraw takes a part out of what runs: first nothing leads to it any more, then its processes end.
func (s *System) withdraw(p *part) error {
	rest := s.partsWithout(p)
	set, err := join(rest)
	if err != nil {
		return err
	}
	functions, daemons := s.functionsOf([]*part{p}), s.daemonsOf([]*part{p})
	next := running{set: set, functions: map[types.NamespacedName]*function{}, daemons: map[types.NamespacedName]*daemon{}}
	for key, f := range s.functions {
		if functions[key] == nil {
			next.functions[key] = f
		}
	}
	for key, d := range s.daemons {
		if daemons[key] == nil {
			next.daemons[key] = d
		}
	}
	next.backends = backends(next)
	s.removeSchedules(p)
	s.become(rest, next)
	err = s.setWires(nil)
	inParallel(slices.Collect(maps.Values(functions)), (*function).stop)
	inParallel(slices.Collect(maps.Values(daemons)), (*daemon).stop)
	for _, program := range p.set.Programs() {
		err = errors.Join(err, s.logs.closeProgram(program.Key()))
	}
	return errors.Join(err, s.writeKubeconfig())
}

// removeVolumes deletes what the PersistentVolumeClaims and other volumes of a part hold.
func (s *System) removeVolumes(p *part) error {
	var errs []error
	for _, claim := range p.set.Claims {
		errs = append(errs, os.RemoveAll(s.volume(claim.Namespace, claim.Name)))
	}
	for _, program := range p.set.Programs() {
		errs = append(errs, os.RemoveAll(s.scratch(program.Key())))
	}
	return errors.Join(errs...)
}

// volume is the directory of a PersistentVolumeClaim.
func (s *System) volume(namespace, claim string) string {
	return filepath.Join(s.o.Dir, "volumes", namespace, claim)
}

// scratch is the directory with the empty directories of a program.
func (s *System) scratch(program types.NamespacedName) string {
	return filepath.Join(s.o.Dir, "scratch", program.Namespace, program.Name)
}

// howToAdd is what to do if no synchronizer runs.
func (s *System) howToAdd() string {
	names, err := s.o.project()
	if err != nil || len(names) == 0 {
		return "to add one: synchronizer run add DIRECTORY"
	}
	return fmt.Sprintf("to add one: synchronizer run add NAME|DIRECTORY (the project has %s)", strings.Join(names, ", "))
}
