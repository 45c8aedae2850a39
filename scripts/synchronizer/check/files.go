package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/xos-knative/synchronizer/pkg/local/manifest"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/describe"
)

// framework is the module that has the core.
const framework = "github.com/xos-knative/synchronizer"

// imagePrefix marks images that ko builds from a Go package.
const imagePrefix = "ko://"

// Layout says which directories have the resources of a synchronizer, and which those of the core.
type Layout struct {
	Own, Core []string
	// Module is a directory in the Go module of the synchronizer's programs.
	Module string
}

// Find finds the resources below directories. Each is that of a synchronizer, with config/ and eventing/ in it, or has
// the resources itself. A config/ with core/ in it is that of the framework: the core is left out. The core is the one of
// the framework's module, as the module of the first directory requires it.
func Find(ctx context.Context, dirs ...string) (Layout, error) {
	var l Layout
	for _, dir := range dirs {
		found, err := resourcesIn(dir)
		if err != nil {
			return l, err
		}
		l.Own = append(l.Own, found...)
	}
	if len(l.Own) == 0 {
		return l, errors.New("expected a directory")
	}
	l.Module = l.Own[0]
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", framework)
	complaints := &strings.Builder{}
	cmd.Dir, cmd.Stderr = l.Module, complaints
	out, err := cmd.Output()
	core := strings.TrimSpace(string(out))
	if err == nil && core == "" {
		err = errors.New("it is not downloaded: go mod download")
	}
	if err != nil {
		return l, fmt.Errorf("cannot find the core: expected %s to be in a Go module that requires %s: %w %s", l.Module, framework, err, strings.TrimSpace(complaints.String()))
	}
	l.Core = []string{filepath.Join(core, "config", "core"), filepath.Join(core, "eventing", "core")}
	return l, nil
}

// resourcesIn lists the directories with resources of one that a user names.
func resourcesIn(dir string) ([]string, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s: expected a directory", dir)
	}
	var found []string
	for _, name := range []string{"config", "eventing"} {
		base := filepath.Join(dir, name)
		if _, err := os.Stat(base); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(base, "core")); err != nil {
			found = append(found, base)
			continue
		}
		entries, err := os.ReadDir(base)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() && !sets.New("core", "overlays", "samples").Has(e.Name()) {
				found = append(found, filepath.Join(base, e.Name()))
			}
		}
	}
	if len(found) == 0 {
		return []string{dir}, nil
	}
	return found, nil
}

// Files reads the resources of a synchronizer and of the core, as `ko apply -R` applies them: files that end in .yaml. The
// core's own directories can be checked, too. The error lists everything that cannot be read.
func Files(l Layout) (Input, error) {
	var in Input
	seen := sets.New[string]()
	for _, part := range []struct {
		core bool
		dirs []string
	}{{false, l.Own}, {true, l.Core}} {
		documents, err := manifest.Read(part.dirs...)
		if err != nil {
			return in, err
		}
		for _, d := range documents {
			name := d.Object.GetObjectKind().GroupVersionKind().Group + nameOf(d.Object)
			switch {
			case !seen.Has(name):
				in.Resources = append(in.Resources, Resource{Object: d.Object, File: d.File, Core: part.core})
			case !part.core:
				return in, d.Errorf("%s is there twice: expected each object once", nameOf(d.Object))
			}
			seen.Insert(name)
		}
		if !part.core && len(documents) == 0 {
			return in, fmt.Errorf("%s: expected resources in files that end in .yaml, found none", strings.Join(part.dirs, ", "))
		}
	}
	return in, nil
}

// Describe builds the programs of the synchronizer's functions, which are ko:// images, and asks them what they consist of.
func (in *Input) Describe(ctx context.Context, module string) error {
	programs := map[string]map[string]string{}
	for _, f := range newChecker(*in).ownFunctions() {
		if pkg, ok := strings.CutPrefix(ImageOf(f.obj), imagePrefix); ok {
			programs[pkg] = envOf(f.obj)
		}
	}
	found, err := describe.Programs(ctx, module, programs)
	var failures describe.Failures
	if err != nil && !errors.As(err, &failures) {
		return err
	}
	in.Functions, in.Undescribed, in.Silent = map[string]*step.Description{}, map[string]error{}, sets.New[string]()
	for pkg := range programs {
		image := imagePrefix + pkg
		if d, ok := found[pkg]; ok {
			in.Functions[image] = &d
		} else if err, ok := failures[pkg]; ok {
			in.Undescribed[image] = err
		} else {
			in.Silent.Insert(image)
		}
	}
	return nil
}
