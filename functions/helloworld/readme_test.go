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

// TestReadme checks that the examples in the tutorial are the real code of steps.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"sync/instance.go", "pull/main.go"}
	examples := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(examples) != len(files) {
		t.Fatalf("README.md: expected an example of each of %v, found %d", files, len(examples))
	}
	for i, file := range files {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(code), string(examples[i][1])) {
			t.Errorf("README.md: the example is not in %s:\n%s", file, examples[i][1])
		}
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
		fmt.Sprintf("| `%s` |", model.AnnotationMirrors),
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
