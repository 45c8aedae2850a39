// Package helloworld is only a folder: its README is the tutorial, and the tests here keep that true.
package helloworld

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// TestReadme checks that the example in the tutorial is the real code of a step.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("sync/instance.go")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(readme)
	if example == nil {
		t.Fatal("README.md: expected an example of a step in Go, found none")
	}
	if !strings.Contains(string(code), string(example[1])) {
		t.Errorf("README.md: the example is not in sync/instance.go:\n%s", example[1])
	}
}

// TestNumbers keeps the figures of the tutorial what the code does.
func TestNumbers(t *testing.T) {
	raw, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(raw)
	for _, want := range []string{
		fmt.Sprintf("| `step.Deferred(message)` | `%s`, %d | every %s |", model.StateDeferred, model.CodeInProgress, words(step.DeferredInterval)),
		fmt.Sprintf("| `%s` with a warning, %d | after %s, %s, ... at most %s |", model.StateOK, model.CodeOK,
			words(step.WarningInterval), words(2*step.WarningInterval), words(step.WarningMax)),
		fmt.Sprintf("| any other error, a panic, more than %s | `%s`, %d | after %s, %s, %s, ... at most %s |", words(step.Deadline), model.StateFailed,
			model.CodeError, words(step.FailedInterval), words(2*step.FailedInterval), words(4*step.FailedInterval), words(step.FailedMax)),
		fmt.Sprintf("| `%s` |", model.AnnotationSteps),
		fmt.Sprintf("| `%s` |", model.AnnotationDependsOn),
		fmt.Sprintf("| `%s` |", model.AnnotationRequestedAt),
		fmt.Sprintf("| `%s` |", model.AnnotationPaused),
		fmt.Sprintf("| `%s`", model.AnnotationNoSync),
	} {
		if !strings.Contains(readme, want) {
			t.Errorf("README.md: expected %q", want)
		}
	}
}

// words writes a duration as people do.
func words(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
