package generate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/xos-knative/synchronizer/scripts/synchronizer/describe"
)

// kustomization lists what is there in the end, so it is made last.
const kustomization = "kustomization.yml"

// mark begins each YAML file that is made here.
const mark = "# Made by synchronizer generate"

// generator makes the files of one project.
type generator struct {
	project *Project
	patches *patches
	// positions are those of the code that was loaded.
	positions *token.FileSet
	// made are the files that were made, and before is what was there instead; nil if there was nothing.
	made   map[string]bool
	before map[string][]byte
}

// Run makes everything of the project in a directory. It returns the paths of the files that were not up to date,
// relative to that. With check it leaves all files as they were.
func Run(ctx context.Context, dir string, check bool) (_ []string, err error) {
	project, err := Load(dir)
	if err != nil {
		return nil, err
	}
	g := &generator{project: project, positions: token.NewFileSet(), made: map[string]bool{}, before: map[string][]byte{}}
	defer func() {
		if check {
			err = errors.Join(err, g.restore())
		}
	}()
	if err := g.run(ctx); err != nil {
		return nil, err
	}
	var changed []string
	for path := range g.before {
		relative, err := filepath.Rel(project.dir, path)
		if err != nil {
			return nil, err
		}
		changed = append(changed, relative)
	}
	slices.Sort(changed)
	return changed, nil
}

func (g *generator) run(ctx context.Context) (err error) {
	if g.patches, err = loadPatches(filepath.Join(g.project.dir, "patches")); err != nil {
		return err
	}
	kinds, err := g.types()
	if err != nil {
		return err
	}
	functions, err := g.functions(ctx, kinds)
	if err != nil {
		return err
	}
	if err := g.resources(kinds, functions); err != nil {
		return err
	}
	if err := g.patches.unused(); err != nil {
		return err
	}
	if err := g.sweep(); err != nil {
		return err
	}
	return g.kustomizations()
}

// write writes a file if that changes it, and reports whether it does.
func (g *generator) write(path string, content []byte) (bool, error) {
	g.made[path] = true
	old, err := os.ReadFile(path)
	if err == nil && bytes.Equal(old, content) {
		return false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	g.remember(path, old)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	return true, os.WriteFile(path, content, 0o644)
}

func (g *generator) remember(path string, old []byte) {
	if _, ok := g.before[path]; !ok {
		g.before[path] = old
	}
}

// restore makes all files as they were.
func (g *generator) restore() error {
	var errs []error
	for path, old := range g.before {
		if old == nil {
			errs = append(errs, os.Remove(path))
			continue
		}
		errs = append(errs, os.WriteFile(path, old, 0o644))
	}
	return errors.Join(errs...)
}

// sweep deletes what was made before and is not made any more.
func (g *generator) sweep() error {
	for _, root := range []string{g.project.Config, g.project.Eventing} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.IsDir() || g.made[path] || d.Name() == kustomization {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil || !wasMade(path, content) {
				return err
			}
			g.remember(path, content)
			return os.Remove(path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Made reports whether a file is one that Run makes.
func Made(path string) (bool, error) {
	content, err := os.ReadFile(path)
	return err == nil && wasMade(path, content), err
}

// wasMade reports whether a file was made here, or by controller-gen.
func wasMade(path string, content []byte) bool {
	return bytes.HasPrefix(content, []byte(mark)) ||
		filepath.Base(filepath.Dir(path)) == "crds" && bytes.Contains(content, []byte("controller-gen.kubebuilder.io/version"))
}

// describe builds the project's functions and asks them what they consist of.
func (g *generator) describe(ctx context.Context, marked map[string]*marked) (map[string]description, error) {
	programs := map[string]map[string]string{}
	for path, m := range marked {
		env := map[string]string{"NAMESPACE": g.project.Name}
		for _, e := range m.Env {
			env[e.Name] = e.Value
		}
		programs[path] = env
	}
	all, err := describe.Programs(ctx, g.project.dir, programs)
	if err != nil && strings.Contains(err.Error(), "required key") {
		return nil, fmt.Errorf("%w\na function's settings are said by a marker in its package: // +%s:name=NAME,value=VALUE", err, markerEnv)
	}
	return all, err
}
