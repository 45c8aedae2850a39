package local

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/xos-knative/synchronizer/pkg/local/manifest"
)

// build makes all programs that the resources name, with one call so that what they share is compiled once, and sets
// where they are.
func (s *System) build(ctx context.Context) error {
	packages := map[string]string{} // by program name
	for _, p := range s.programs() {
		name := path.Base(p.Package)
		if other, ok := packages[name]; ok && other != p.Package {
			return fmt.Errorf("packages %s and %s would become one program %q", other, p.Package, name)
		}
		packages[name] = p.Package
	}
	if s.o.Bin != "" {
		s.bin = s.o.Bin
		for name := range packages {
			if _, err := os.Stat(filepath.Join(s.bin, name)); err != nil {
				return fmt.Errorf("the program %s is missing: %w", name, err)
			}
		}
		return nil
	}

	s.bin = filepath.Join(s.o.Dir, "bin")
	if err := os.MkdirAll(s.bin, 0o755); err != nil {
		return fmt.Errorf("cannot make a directory for the programs: %w", err)
	}
	if len(packages) == 0 {
		return nil
	}
	began := time.Now()
	s.console.Event("build", "%d programs", len(packages))
	args := []string{"build", "-o", s.bin + string(filepath.Separator)}
	for _, pkg := range packages {
		args = append(args, pkg)
	}
	slices.Sort(args[3:])
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = s.o.Root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the programs: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	s.console.Event("build", "done in %s", time.Since(began).Round(100*time.Millisecond))
	return nil
}

// programs are all that have to be built.
func (s *System) programs() []manifest.Program {
	all := s.set.Daemons()
	for _, f := range s.set.Functions() {
		all = append(all, f.Program)
	}
	return all
}
