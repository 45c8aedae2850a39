package tosca

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/xos-knative/synchronizer/pkg/tosca/toscatest"
)

// FuzzParse looks for a recipe that makes the parser or the checks panic, or that is refused
// without words.
func FuzzParse(f *testing.F) {
	samples, err := filepath.Glob("testdata/recipes/*.yml")
	if err != nil || len(samples) == 0 {
		f.Fatalf("no samples: %v", err)
	}
	for _, s := range samples {
		raw, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for _, s := range []string{
		"", "a: &a [*a]", "a: b\n---\nc: d", "\t", "? a\n: b", "!!binary x", "[[[[", "{{{{", "a: |\n  b\n", "\"\\u0000\"", "%YAML 1.1\n---\na", "%YAML 1.2\n---\na: b\n...\n", "- - - -",
		toscatest.Recipe(toscatest.Widget("a") + "  requirements: [{parent: b}]\n" + toscatest.Widget("b") + "  requirements: [{parent: {node: a}}]"),
		toscatest.Recipe(toscatest.Widget("a", "    ports: [{port_number: 1}]\n    labels: {a: b}\n    window: 5%\n    anything: {x: [1, 2.5, null]}\n    made_at: 2020-01-01\n")),
	} {
		f.Add([]byte(s))
	}
	types := testTypes(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if err != nil {
			var errs Errors
			if !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("an error of another kind: %#v", err)
			}
			for _, e := range errs {
				if e.Name == "" || e.Message == "" || e.Line < 0 || !utf8.ValidString(e.Error()) {
					t.Errorf("an error that does not say enough: %#v", e)
				}
			}
			return
		}
		nodes, _ := Check(r, types)
		for _, n := range nodes {
			if len(n.Object) == 0 || len(n.Object) > MaxName {
				t.Errorf("node %q would become object %q", n.Name, n.Object)
			}
		}
	})
}
