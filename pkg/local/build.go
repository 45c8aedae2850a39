package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"

	"github.com/xos-knative/synchronizer/pkg/local/manifest"
)

// buildAll makes the programs of some parts, or checks that they are there if Options.Bin says where.
func (s *System) buildAll(ctx context.Context, parts []*part) error {
	began, count := time.Now(), 0
	for _, p := range parts {
		packages := packages(p.set)
		if s.o.Bin != "" {
			for _, pkg := range packages {
				if _, err := os.Stat(s.executable(pkg)); err != nil {
					return fmt.Errorf("the program %s is missing: %w", pkg, err)
				}
			}
			continue
		}
		count += len(packages)
		s.console.Event("build", "%s: %d programs", p.name, len(packages))
		if err := build(ctx, p.root, s.module, s.bin, packages, s.debugFlags(p)); err != nil {
			return err
		}
	}
	if count > 0 {
		s.console.Event("build", "done in %s", time.Since(began).Round(100*time.Millisecond))
	}
	return nil
}

// packages are the import paths of all programs of a set.
func packages(set *manifest.Set) []string {
	var all []string
	for _, p := range set.Programs() {
		all = append(all, p.Package)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// executable is the file of a program.
func (s *System) executable(pkg string) string { return filepath.Join(s.bin, inBin(s.module, pkg)) }

// inBin is where a program is below the directory of all programs: its import path, relative to the module.
func inBin(module, pkg string) string {
	return filepath.FromSlash(strings.TrimPrefix(pkg, module+"/"))
}

// build compiles packages of the module that root is in. Programs of several synchronizers may have one name, and
// "go build" puts them all into one directory: so there is one call for each folder that has programs in it.
func build(ctx context.Context, root, module, bin string, packages, flags []string) error {
	folders := map[string][]string{}
	for _, pkg := range packages {
		folders[path.Dir(pkg)] = append(folders[path.Dir(pkg)], pkg)
	}
	for folder, pkgs := range folders {
		dir := filepath.Join(bin, inBin(module, folder))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make a directory for the programs: %w", err)
		}
		args := slices.Concat([]string{"build", "-o", dir + string(filepath.Separator)}, flags, pkgs)
		if _, err := goCommand(ctx, root, args...); err != nil {
			return fmt.Errorf("cannot build the programs: %w", err)
		}
	}
	return nil
}

// goCommand runs the go command in dir and returns what it prints. The error has what it complains about.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	var complaints strings.Builder
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Stderr = dir, &complaints
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, strings.TrimSpace(complaints.String()))
	}
	return string(out), nil
}

// Build compiles all programs that match patterns, such as ./functions/..., of the project at root into bin, for
// Options.Bin of several Systems. flags are flags of "go build".
func Build(ctx context.Context, root, bin string, flags []string, patterns ...string) error {
	module, err := moduleOf(root)
	if err != nil {
		return err
	}
	list := append([]string{"list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`}, patterns...)
	out, err := goCommand(ctx, root, list...)
	if err != nil {
		return fmt.Errorf("cannot list the programs: %w", err)
	}
	return build(ctx, root, module, bin, strings.Fields(out), flags)
}

// moduleOf is the path of the module that dir is in, empty if it is in none.
func moduleOf(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil {
			return modfile.ModulePath(b), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("cannot read the module's name: %w", err)
		}
		if dir == filepath.Dir(dir) {
			return "", nil
		}
		dir = filepath.Dir(dir)
	}
}
