package check_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xos-knative/synchronizer/scripts/synchronizer/check"
)

const account = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: sync\n  namespace: dns\n"

// repository makes a repository of an author, with some files.
func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	framework, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	files["go.mod"] = "module example.com/dns\n\ngo 1.26\n\nrequire github.com/xos-knative/synchronizer v0.0.0\n\nreplace github.com/xos-knative/synchronizer => " + framework + "\n"
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestARepositoryOfAnAuthorIsReadWithTheCoreOfItsModule(t *testing.T) {
	dir := repository(t, map[string]string{
		"config/sync.yaml":        account,
		"config/crds/extra.yaml":  "# Nothing but a comment.\n",
		"config/samples/one.yaml": "nonsense",
		"eventing/kafka.yaml":     "apiVersion: sources.knative.dev/v1\nkind: KafkaSource\nmetadata:\n  name: any\n  namespace: dns\n",
	})
	l, err := check.Find(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	in, err := check.Files(l)
	if err != nil {
		t.Fatal(err)
	}
	own, core := 0, 0
	for _, r := range in.Resources {
		if r.Core {
			core++
		} else if own++; !strings.HasPrefix(r.File, dir) {
			t.Errorf("want a file of %s, got %s", dir, r.File)
		}
	}
	if own != 2 || core < 10 {
		t.Errorf("want an account and a source of the synchronizer and what the core has, got %d and %d", own, core)
	}
	if findings := check.Check(in); len(findings) > 0 {
		t.Errorf("want nothing, got:\n%s", lines(findings))
	}
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"no resources":            {map[string]string{}, []string{"expected resources in files that end in .yaml, found none"}},
		"an object twice":         {map[string]string{"config/a.yaml": account, "config/b.yaml": account}, []string{"b.yaml: document 1", "ServiceAccount dns/sync is there twice"}},
		"a field that is unknown": {map[string]string{"config/a.yaml": account + "nmae: sync\n"}, []string{"a.yaml: document 1", `unknown field "nmae"`}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := check.Find(t.Context(), repository(t, test.files))
			if err != nil {
				t.Fatal(err)
			}
			_, err = check.Files(l)
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("want an error with %q, got %v", want, err)
				}
			}
		})
	}
	for dir, want := range map[string]string{t.TempDir(): "cannot find the core", "nowhere": "nowhere", "files_test.go": "expected a directory"} {
		if _, err := check.Find(t.Context(), dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want an error with %q, got %v", dir, want, err)
		}
	}
}
