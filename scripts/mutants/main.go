// Mutants switches off one safety mechanism of the project at a time and shows which test notices it. The exit code is 0
// only if each is noticed. The source tree is not changed: the go command is told of the changed file by an overlay.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"knative.dev/pkg/signals"
)

func main() {
	root := flag.String("root", ".", "the `folder` of the project")
	only := flag.String("run", "", "run only the mutants whose names match this `regexp`")
	timeout := flag.Duration("timeout", 2*time.Minute, "how long the tests of a mutant may take")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err == nil {
		err = run(signals.NewContext(), *root, pattern, *timeout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root string, only *regexp.Regexp, timeout time.Duration) error {
	unnoticed, all := 0, 0
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	defer table.Flush()
	fmt.Fprintln(table, "SWITCHED OFF\tNOTICED BY\tSECONDS")
	for _, m := range mutants {
		if !only.MatchString(m.name) {
			continue
		}
		began := time.Now()
		killer, err := m.test(ctx, root, timeout)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		all++
		switch {
		case err != nil:
			unnoticed++
			killer = "ERROR: it could not be tried"
			fmt.Fprintf(os.Stderr, "%s: %v\n", m.name, err)
		case killer == "":
			unnoticed++
			killer = "NOBODY: SURVIVED " + m.pkg + " " + m.run
		}
		fmt.Fprintf(table, "%s\t%s\t%.0f\n", m.name, killer, time.Since(began).Seconds())
		fmt.Fprintf(os.Stderr, "%s: %s\n", m.name, killer)
	}
	if unnoticed > 0 {
		return fmt.Errorf("%d of %d were noticed by no test", unnoticed, all)
	}
	return nil
}

// source is the file of the mutant, changed.
func (m mutant) source(root string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(raw), m.old); n != 1 {
		return "", fmt.Errorf("%s: expected the text once, found it %d times: %q", m.file, n, m.old)
	}
	return strings.Replace(string(raw), m.old, m.new, 1), nil
}

var failed = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// test runs the tests of the mutant, and returns the name of the one that has failed, if any.
func (m mutant) test(ctx context.Context, root string, timeout time.Duration) (string, error) {
	source, err := m.source(root)
	if err != nil {
		return "", err
	}
	overlay, clean, err := overlay(root, m.file, source)
	if err != nil {
		return "", err
	}
	defer clean()
	cmd := exec.CommandContext(ctx, "go", "test", "-overlay", overlay, "-count", "1", "-vet", "off", "-failfast", "-timeout", timeout.String(), "-run", "^("+m.run+")$", m.pkg)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	text := string(out)
	first := failed.FindStringSubmatch(text)
	switch {
	case first != nil:
		return first[1], nil
	case strings.Contains(text, "panic: test timed out"):
		return m.run + " (does not end)", nil
	case err != nil, strings.Contains(text, "[no tests to run]"):
		return "", fmt.Errorf("its tests could not be run: %w\n%s", err, text)
	}
	return "", nil
}

// overlay makes a file that tells the go command to read another text in place of a source file.
func overlay(root, file, text string) (path string, clean func(), err error) {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return "", nil, err
	}
	clean = func() { _ = os.RemoveAll(dir) }
	original, err := filepath.Abs(filepath.Join(root, file))
	if err != nil {
		return "", clean, err
	}
	changed := filepath.Join(dir, "changed.go")
	raw, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		return "", clean, err
	}
	path = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(changed, []byte(text), 0o644); err != nil {
		return "", clean, err
	}
	return path, clean, os.WriteFile(path, raw, 0o644)
}
