package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestREADME checks that the tables of README.md have all settings and metrics of the core's
// programs and no others.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		// inCode and inText find a name, as their first group.
		inCode, inText string
		files          []string
		// others are in the code, and nobody sets them.
		others []string
	}{
		"Settings": {
			inCode: `envconfig:"([A-Z_]+)"`, inText: "`([A-Z]+(?:_[A-Z]+)*)`",
			files:  []string{"main.go", "../deadletter/*.go", "../tosca/*.go", "../../pkg/function/*.go", "../../pkg/step/function.go", "../../pkg/tosca/server/*.go"},
			others: []string{"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"},
		},
		"Metrics": {
			inCode: `Name: +"(synchronizer_[a-z_]+)"`, inText: "`(synchronizer_[a-z_]+)`",
			files: []string{"../../pkg/source/*.go", "../../pkg/function/*.go", "../../pkg/step/*.go"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			code := map[string]bool{}
			for _, glob := range tc.files {
				files, err := filepath.Glob(glob)
				if err != nil || len(files) == 0 {
					t.Fatalf("no files %s: %v", glob, err)
				}
				for _, file := range files {
					if strings.HasSuffix(file, "_test.go") {
						continue
					}
					text, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					find(code, tc.inCode, text)
				}
			}
			for _, other := range tc.others {
				delete(code, other)
			}
			text := map[string]bool{}
			find(text, tc.inText, readme)
			if diff := cmp.Diff(slices.Sorted(maps.Keys(code)), slices.Sorted(maps.Keys(text))); diff != "" {
				t.Errorf("-code +README:\n%s", diff)
			}
		})
	}
}

func find(names map[string]bool, pattern string, text []byte) {
	for _, match := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
		names[string(match[1])] = true
	}
}
