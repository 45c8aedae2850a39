package local

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/local/manifest"
)

// Reload makes a synchronizer that runs as its files and its code are now. Everybody else goes on, and no event is lost:
//
//  1. Its files are read and checked, and its programs are built. After an error what ran before goes on.
//  2. Its definitions are applied, to the objects that are there as well, as a cluster does it. One whose file is gone
//     stays, because its objects would go with it.
//  3. A function whose program or Service has changed ends when its requests are answered. The next one starts the new
//     program. What always runs is started again. What has not changed is not touched.
func (s *System) Reload(ctx context.Context, name string) error {
	return s.change(ctx, func(ctx context.Context) error {
		i := slices.IndexFunc(s.parts, func(p *part) bool { return p.name == name })
		if i < 0 || name == coreName {
			return fmt.Errorf("no synchronizer %s runs, only %q", name, synchronizers(s.parts))
		}
		old := s.parts[i]
		p := &part{name: old.name, dir: old.dir, root: old.root}
		if old.sums == nil {
			old.sums = s.sumsOf(old)
		}
		if err := s.load(p); err != nil {
			return err
		}
		if err := s.buildAll(ctx, []*part{p}); err != nil {
			return err
		}
		p.sums = s.sumsOf(p)
		next, err := s.replacement(i, p)
		if err != nil {
			return err
		}
		functions, daemons := s.functionsOf([]*part{old}), s.daemonsOf([]*part{old})
		maps.DeleteFunc(functions, func(key types.NamespacedName, f *function) bool { return next.functions[key] == f })
		maps.DeleteFunc(daemons, func(key types.NamespacedName, d *daemon) bool { return next.daemons[key] == d })
		s.removeSchedules(old)
		if err := s.wire(ctx, next); err != nil {
			return errors.Join(err, s.addSchedules(old))
		}
		inParallel(slices.Collect(maps.Values(functions)), (*function).stop)
		inParallel(slices.Collect(maps.Values(daemons)), (*daemon).stop)
		s.console.Event(name, "reloaded: %d functions and %d other programs are new", len(functions), len(daemons))
		return s.run(ctx, next)
	})
}

// replacement is the plan to have p in place of the part i. What has not changed is in it as it is.
func (s *System) replacement(i int, p *part) (*plan, error) {
	old := s.parts[i]
	next := &plan{parts: slices.Clone(s.parts), added: []*part{p}, kept: map[types.NamespacedName]bool{}}
	next.parts[i] = p
	set, err := join(next.parts)
	if err != nil {
		return nil, err
	}
	next.running = running{set: set, functions: maps.Clone(s.functions), daemons: maps.Clone(s.daemons)}
	same := func(was, is manifest.Program) bool { return old.sums[was.Package] == p.sums[is.Package] }
	functions, daemons := map[types.NamespacedName]manifest.Function{}, map[types.NamespacedName]manifest.Program{}
	for _, f := range p.set.Functions() {
		functions[f.Key()] = f
	}
	for _, d := range p.set.Daemons() {
		daemons[d.Key()] = d
	}
	for key, f := range s.functionsOf([]*part{old}) {
		if is, ok := functions[key]; ok && reflect.DeepEqual(f.spec, is) && same(f.spec.Program, is.Program) {
			next.kept[key] = true
			continue
		}
		delete(next.functions, key)
	}
	for key, d := range s.daemonsOf([]*part{old}) {
		if is, ok := daemons[key]; ok && reflect.DeepEqual(d.spec, is) && same(d.spec, is) {
			next.kept[key] = true
			continue
		}
		delete(next.daemons, key)
	}
	return next, s.addPrograms(next)
}

type sum [sha256.Size]byte

// sumsOf are the check sums of the programs of a part, by their packages. What cannot be read counts as changed.
func (s *System) sumsOf(p *part) map[string]sum {
	all := map[string]sum{}
	for _, pkg := range packages(p.set) {
		f, err := os.Open(s.executable(pkg))
		if err != nil {
			continue
		}
		h := sha256.New()
		if _, err := io.Copy(h, f); err == nil {
			all[pkg] = sum(h.Sum(nil))
		}
		_ = f.Close()
	}
	return all
}
