// Package localtest runs a whole project in tests: its programs are built once for all tests of a package (Main), and
// Start brings up a System with what users of any project do.
package localtest

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/xos-knative/synchronizer/pkg/local"
)

// Patience is how long a test waits for anything.
const Patience = 3 * time.Minute

// idle is how long functions stay without a request. Tests wait for their end.
const idle = time.Second

// World is a running project and what its users have.
type World struct {
	*testing.T
	System *local.System
}

// Start brings the project up for the length of the test. What o does not say is: a new data directory, the programs of
// Main, functions that end soon. If the test fails, it shows the end of what the runner has printed.
func Start(t *testing.T, o local.Options) *World {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Idle == 0 {
		o.Idle = idle
	}
	if o.Bin == "" {
		o.Bin = project.bin
	}
	o.Root, o.Out = project.root, Console(t, o.Dir)
	if err := readSources(); err != nil {
		t.Fatal(err)
	}
	system, err := local.Start(t.Context(), o)
	if err != nil {
		t.Fatalf("starting the project: %v", err)
	}
	t.Cleanup(func() {
		if err := system.Stop(); err != nil {
			t.Errorf("stopping the project: %v", err)
		}
	})
	return &World{T: t, System: system}
}

// Console is a file in dir for what a runner prints. The end of it is shown if the test fails.
func Console(t *testing.T, dir string) io.Writer {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(dir, "console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = file.Close()
		if !t.Failed() {
			return
		}
		text, _ := os.ReadFile(file.Name())
		t.Logf("console, its end:\n%s", text[max(0, len(text)-30_000):])
	})
	return file
}

// With is the same World for another test, such as a subtest.
func (w *World) With(t *testing.T) *World { return &World{T: t, System: w.System} }

// Until waits for a condition.
func (w *World) Until(what string, condition func() bool) {
	w.Helper()
	err := wait.PollUntilContextTimeout(w.Context(), 20*time.Millisecond, Patience, true, func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		w.Fatalf("waiting until %s: %v", what, err)
	}
}

// UntilIdle waits until no function runs.
func (w *World) UntilIdle() {
	w.Helper()
	w.Until("no function runs", func() bool {
		return !slices.ContainsFunc(w.System.Programs(), func(p local.ProgramStats) bool { return p.Function && p.Running() })
	})
}

// Requests counts what has reached functions.
func (w *World) Requests() (n int) {
	for _, p := range w.System.Programs() {
		if p.Function {
			n += p.Requests
		}
	}
	return n
}

// Post is Do with POST.
func (w *World) Post(url, body string, header map[string]string) (int, string) {
	w.Helper()
	return w.Do(http.MethodPost, url, body, header)
}

// Do sends a request to a URL of the cluster or of the System, and returns status and body of the answer.
func (w *World) Do(method, url, body string, header map[string]string) (int, string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, url, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := w.System.Client().Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// Event is the header of a CloudEvent with JSON data.
func Event(eventType string) map[string]string {
	return map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/test", "Ce-Type": eventType, "Content-Type": "application/json",
	}
}
