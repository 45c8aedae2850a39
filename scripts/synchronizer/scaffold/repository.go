package scaffold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Framework is the module that a synchronizer is built with.
const Framework = "github.com/xos-knative/synchronizer"

// command is the program of the framework that authors call as "go tool synchronizer".
const command = Framework + "/scripts/synchronizer"

// Repository is what Init makes.
type Repository struct {
	// Dir is made. Its last element is the name of the synchronizer.
	Dir string
	// Group is the API group of the models, such as dns.example.com.
	Group string
	// Module is the path of the Go module. Default: example.com/NAME.
	Module string
	// Checkout is a directory with the framework, to be built with instead of a published version.
	Checkout string
}

// Init makes the smallest repository that builds, tests and runs.
func Init(ctx context.Context, r Repository) error {
	dir, err := filepath.Abs(r.Dir)
	if err != nil {
		return err
	}
	name := filepath.Base(dir)
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		return fmt.Errorf("NAME: expected one that can be the name of a namespace, got %q: %s", name, problems[0])
	}
	if problems := validation.IsDNS1123Subdomain(r.Group); len(problems) > 0 || !strings.Contains(r.Group, ".") {
		return fmt.Errorf("--group: expected the API group of the models, such as %s.example.com, got %q", name, r.Group)
	}
	if r.Module == "" {
		r.Module = "example.com/" + name
	}
	if err := module.CheckPath(r.Module); err != nil {
		return fmt.Errorf("--module: expected the path of a Go module, such as example.com/%s: %w", name, err)
	}
	if exists(filepath.Join(dir, "go.mod")) {
		return fmt.Errorf("%s: expected a new or an empty directory, there is a go.mod", dir)
	}
	framework, err := r.framework(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := framework.requireIn(dir, r.Module); err != nil {
		return err
	}
	data := struct{ Name, Group, Module, Framework string }{name, r.Group, r.Module, Framework}
	var errs []error
	for path, template := range map[string]string{
		"synchronizer.yaml":        "synchronizer.yaml.tmpl",
		"api/v1alpha1/doc.go":      "doc.go.tmpl",
		".gitignore":               "gitignore.tmpl",
		"AGENTS.md":                "AGENTS.md.tmpl",
		"README.md":                "README.md.tmpl",
		".github/workflows/ci.yml": "ci.yml.tmpl",
	} {
		errs = append(errs, create(filepath.Join(dir, filepath.FromSlash(path)), template, data))
	}
	return errors.Join(errs...)
}

// source is a version of the framework.
type source struct {
	Version, Dir string
	// Sum and GoModSum are those of a go.sum; empty if Dir is a checkout and no published version.
	Sum, GoModSum string
}

func (r Repository) framework(ctx context.Context) (*source, error) {
	if r.Checkout != "" {
		dir, err := filepath.Abs(r.Checkout)
		if err != nil {
			return nil, err
		}
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err != nil || modfile.ModulePath(content) != Framework {
			return nil, fmt.Errorf("--framework: expected a directory with the module %s, got %s", Framework, dir)
		}
		return &source{Version: "v0.0.0", Dir: dir}, nil
	}
	version := builtWith()
	if version == "" {
		return nil, fmt.Errorf("this command is not a published version: say with --framework DIRECTORY where a checkout of %s is", Framework)
	}
	out, err := exec.CommandContext(ctx, "go", "mod", "download", "-json", Framework+"@"+version).Output()
	var found struct {
		source
		Error string
	}
	if wrong := json.Unmarshal(out, &found); err != nil || wrong != nil || found.Dir == "" {
		return nil, fmt.Errorf("downloading %s@%s: %w %s", Framework, version, errors.Join(err, wrong), found.Error)
	}
	return &found.source, nil
}

// builtWith is the published version of the framework that this program is of, empty if there is none.
func builtWith() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	modules := append([]*debug.Module{&info.Main}, info.Deps...)
	for _, m := range modules {
		if m.Path == Framework && m.Replace == nil && strings.HasPrefix(m.Version, "v") && !strings.Contains(m.Version, "+dirty") {
			return m.Version
		}
	}
	return ""
}

// requireIn makes the go.mod and the go.sum of a new module. It has the same versions as the framework: those have been
// tested together, and nothing has to be looked up.
func (f *source) requireIn(dir, path string) error {
	content, err := os.ReadFile(filepath.Join(f.Dir, "go.mod"))
	if err != nil {
		return err
	}
	theirs, err := modfile.Parse("go.mod", content, nil)
	if err != nil {
		return err
	}
	ours := &modfile.File{}
	errs := []error{ours.AddModuleStmt(path), ours.AddGoStmt(theirs.Go.Version), ours.AddTool(command)}
	required := []*modfile.Require{{Mod: module.Version{Path: Framework, Version: f.Version}}}
	for _, r := range theirs.Require {
		required = append(required, &modfile.Require{Mod: r.Mod, Indirect: true})
	}
	ours.SetRequireSeparateIndirect(required)
	for _, r := range theirs.Replace {
		errs = append(errs, ours.AddReplace(r.Old.Path, r.Old.Version, r.New.Path, r.New.Version))
	}
	if f.Sum == "" {
		errs = append(errs, ours.AddReplace(Framework, "", f.Dir, ""))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	ours.Cleanup()
	content, err = ours.Format()
	if err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(f.Dir, "go.sum"))
	if err != nil {
		return err
	}
	if f.Sum != "" {
		sums = fmt.Appendf(sums, "%[1]s %[2]s %[3]s\n%[1]s %[2]s/go.mod %[4]s\n", Framework, f.Version, f.Sum, f.GoModSum)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "go.mod"), content, 0o644),
		os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644))
}
