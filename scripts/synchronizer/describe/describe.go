// Package describe asks the functions of a synchronizer what they consist of, on a machine that has their sources.
package describe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/xos-knative/synchronizer/pkg/step"
)

const (
	// stepPackage has the Main that describes a function.
	stepPackage = "github.com/xos-knative/synchronizer/pkg/step"
	// atOnce is how many programs are built and asked at a time.
	atOnce = 2
)

// Failures is the error of programs that were built but do not describe themselves: what each of them says, by its
// package. With the same settings it would not start on a cluster either.
type Failures map[string]error

// Error implements error.
func (f Failures) Error() string {
	var lines []string
	for _, pkg := range slices.Sorted(maps.Keys(f)) {
		lines = append(lines, fmt.Sprintf("program %s does not say which steps it has: %v", pkg, f[pkg]))
	}
	return strings.Join(lines, "\n")
}

// Programs builds programs and lets each write its description. They are the packages of ko:// images, each with the
// environment variables that it has on a cluster; it gets no others. dir is in the module that needs them. A program
// whose main does not call step.Main has no description. With the error [Failures] the descriptions of the others
// are returned, too.
func Programs(ctx context.Context, dir string, programs map[string]map[string]string) (map[string]step.Description, error) {
	found := map[string]step.Description{}
	packages, err := describing(ctx, dir, slices.Sorted(maps.Keys(programs)))
	if err != nil || len(packages) == 0 {
		return found, err
	}
	work, err := os.MkdirTemp("", "synchronizer-describe-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a directory for the programs: %w", err)
	}
	defer os.RemoveAll(work)
	failures := Failures{}
	var (
		mu     sync.Mutex // protects found and failures
		asking errgroup.Group
	)
	asking.SetLimit(atOnce)
	for i, pkg := range packages {
		asking.Go(func() error {
			d, err := ask(ctx, dir, filepath.Join(work, strconv.Itoa(i)), pkg, programs[pkg])
			mu.Lock()
			defer mu.Unlock()
			var failure *failure
			switch {
			case errors.As(err, &failure):
				failures[pkg] = failure.error
			case err == nil:
				found[pkg] = d
			default:
				return err
			}
			return nil
		})
	}
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	if len(failures) > 0 {
		return found, failures
	}
	return found, nil
}

// List lists the programs in and below a directory that call step.Main, by their import paths.
func List(ctx context.Context, dir string) ([]string, error) {
	out, err := goCommand(ctx, dir, "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "./...")
	if err != nil {
		return nil, fmt.Errorf("cannot find the programs: %w", err)
	}
	return describing(ctx, dir, strings.Fields(out))
}

// source is what "go list" says of a package.
type source struct {
	Dir, ImportPath, Name string
	GoFiles               []string
}

// describing lists those of some packages that are programs which call step.Main.
func describing(ctx context.Context, dir string, packages []string) ([]string, error) {
	if len(packages) == 0 {
		return nil, nil
	}
	out, err := goCommand(ctx, dir, append([]string{"list", "-json=Dir,ImportPath,Name,GoFiles"}, packages...)...)
	if err != nil {
		return nil, fmt.Errorf("cannot find the programs: %w", err)
	}
	var found []string
	for documents := json.NewDecoder(strings.NewReader(out)); ; {
		var s source
		if err := documents.Decode(&s); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("cannot read what go list says: %w", err)
		}
		if s.Name != "main" {
			return nil, fmt.Errorf("package %s: expected a program, got package %s", s.ImportPath, s.Name)
		}
		calls, err := s.callsMain()
		if err != nil {
			return nil, err
		}
		if calls {
			found = append(found, s.ImportPath)
		}
	}
}

// callsMain reports whether the program calls step.Main. Another one would not end when it is asked to describe itself.
func (s source) callsMain() (calls bool, err error) {
	for _, name := range s.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(s.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return false, err
		}
		qualifier := qualifier(file)
		ast.Inspect(file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if ok && qualifier != "" && selector.Sel.Name == "Main" {
				x, ok := selector.X.(*ast.Ident)
				calls = calls || ok && x.Name == qualifier
			}
			return true
		})
	}
	return calls, nil
}

// qualifier is what a file calls package step, empty if it does not import it.
func qualifier(file *ast.File) string {
	for _, i := range file.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err != nil || p != stepPackage {
			continue
		}
		if i.Name == nil {
			return path.Base(stepPackage)
		}
		return i.Name.Name
	}
	return ""
}

// failure is what a program says that was built, but does not describe itself.
type failure struct{ error }

// ask lets a program describe itself. "go run" keeps what it has built: asked again, an unchanged program answers at once.
func ask(ctx context.Context, dir, work, pkg string, env map[string]string) (d step.Description, err error) {
	if err := os.Mkdir(work, 0o700); err != nil {
		return d, err
	}
	file, started, script := filepath.Join(work, "description"), filepath.Join(work, "started"), filepath.Join(work, "start")
	if err := os.WriteFile(script, []byte(startScript(work, started, file, env)), 0o700); err != nil {
		return d, err
	}
	_, err = goCommand(ctx, dir, "run", "-exec", script, pkg)
	if _, notBuilt := os.Stat(started); notBuilt != nil {
		return d, fmt.Errorf("cannot build the programs: %w", err)
	}
	if err != nil {
		said, _ := os.ReadFile(started)
		return d, &failure{errors.New(cmp.Or(strings.TrimSpace(string(said)), err.Error()))}
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return d, &failure{fmt.Errorf("it has written no description: %w", err)}
	}
	if err := json.Unmarshal(content, &d); err != nil {
		return d, &failure{fmt.Errorf("its description: %w", err)}
	}
	return d, nil
}

// startScript starts a program with the environment that it has on a cluster, and no other. What it says goes to the file
// started.
func startScript(work, started, file string, env map[string]string) string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	variables := []string{quote(step.EnvDescribe + "=" + file)}
	for name, value := range env {
		variables = append(variables, quote(name+"="+value))
	}
	return fmt.Sprintf("#!/bin/sh\ncd %s\nexec env -i %s \"$@\" >%s 2>&1\n", quote(work), strings.Join(variables, " "), quote(started))
}

// goCommand runs the go command in dir and returns what it prints. The error has what it complains about.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	var complaints strings.Builder
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Stderr = dir, &complaints
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, strings.TrimSpace(complaints.String()))
	}
	return string(out), nil
}
