package localtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/xos-knative/synchronizer/pkg/local"
)

// raceOfPrograms in the environment: the programs have the race detector, although the tests have not.
const raceOfPrograms = "LOCALTEST_RACE_OF_PROGRAMS"

// project is what Main was told.
var project struct {
	root, bin string
	patterns  []string
}

// Main is what a package's TestMain calls whose tests use Start. It builds the programs that match patterns, such as
// ./functions/..., of the project at root, with the race detector if the tests have it. The programs stay in bin/ below
// root, so that the next run builds only what has changed.
func Main(m *testing.M, root string, patterns ...string) {
	if err := build(root, patterns); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// RaceInProgramsOnly takes the race detector away from the tests, if they have it, and leaves it to the programs that Main
// builds. It comes before Main in TestMain, with the same root. The tests' own process is mainly etcd and the API server
// of Kubernetes, which take five times as long with the race detector. The tests of package local have it.
func RaceInProgramsOnly(root string) {
	// Another test binary has no coverage to report.
	if !raceDetector || testing.CoverMode() != "" {
		return
	}
	if err := replaceTests(root); err != nil {
		fmt.Fprintln(os.Stderr, "tests without the race detector:", err)
		os.Exit(1)
	}
}

// replaceTests builds the tests of the current package without the race detector, and goes on with them. It returns only
// after an error.
func replaceTests(root string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	pkg, err := filepath.Rel(root, dir)
	if err != nil {
		return err
	}
	tests := filepath.Join(root, "bin", "test", "tests", pkg)
	if err := os.MkdirAll(filepath.Dir(tests), 0o755); err != nil {
		return err
	}
	if out, err := exec.Command("go", "test", "-c", "-o", tests, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return syscall.Exec(tests, os.Args, append(os.Environ(), raceOfPrograms+"=1"))
}

// race reports whether the programs have the race detector.
func race() bool { return raceDetector || os.Getenv(raceOfPrograms) != "" }

func build(root string, patterns []string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	name, flags := "test", []string(nil)
	if race() {
		name, flags = "test-race", []string{"-race"}
	}
	project.root, project.bin, project.patterns = root, filepath.Join(root, "bin", name), patterns
	if err := os.MkdirAll(project.bin, 0o755); err != nil {
		return err
	}
	// The tests of several packages run at the same time, and have programs in common.
	lock, err := os.Create(filepath.Join(project.bin, "lock"))
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	return local.Build(context.Background(), project.root, project.bin, flags, patterns...)
}

// Root is the project that Main was called with.
func Root() string { return project.root }

// readSources lets the test's result depend on what the programs are built from: go test takes a result from its cache
// unless a file or directory has changed that the test itself has opened, and it does not see what go build opens.
var readSources = sync.OnceValue(func() error {
	list := exec.Command("go", append([]string{"list", "-deps", "-f", "{{with .Module}}{{if .Main}}{{$.Dir}}{{end}}{{end}}"}, project.patterns...)...)
	list.Dir = project.root
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("listing the packages of the programs: %w", err)
	}
	for _, dir := range strings.Fields(string(out)) {
		if _, err := os.ReadDir(dir); err != nil {
			return err
		}
	}
	_, err = os.Stat(filepath.Join(project.root, "go.mod"))
	return err
})

// Bin has the programs that Main has built, see local.Options.
func Bin() string { return project.bin }
