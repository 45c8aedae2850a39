package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// FuzzLoad reads any file as the runner reads the files of a synchronizer. What is wrong is an error that names
// the file; what is right can be run.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"../../../config/*/*.yaml", "../../../eventing/*/*.yaml", "../testdata/project/*/core/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("there are no files to begin with in %s: %v", pattern, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content)
		}
	}
	for _, text := range []string{"", "---\n---\n", "a: &a [*a]", "kind: List\napiVersion: v1\nitems: []", "{", "\t", "\xff", "apiVersion: v1\nkind: Service\nmetadata: 1"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		documents, err := parse("a.yaml", content)
		set, err := load(documents, err, nil)
		if err == nil {
			set, err = Join(set)
		}
		if err != nil {
			if !strings.Contains(err.Error(), "a.yaml") {
				t.Fatalf("an error names the file, got %q", err)
			}
			return
		}
		set.Programs()
		set.Backends()
		for _, s := range set.PingSources {
			_, _ = set.Resolve(s.Spec.Sink, s.Namespace)
		}
		_, _ = set.Resolve(duckv1.Destination{}, "default")
	})
}
