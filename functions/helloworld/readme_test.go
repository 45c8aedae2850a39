package helloworld

import (
	"os"
	"regexp"
	"strings"
	"testing"
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
