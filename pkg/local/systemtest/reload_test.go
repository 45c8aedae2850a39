package systemtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// edit replaces text in a file of a synchronizer, as its author does.
func edit(t *testing.T, path, old, new string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(content), old) != 1 {
		t.Fatalf("%s: expected %q once", path, old)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(content), old, new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestReload changes the files of a synchronizer that runs.
func TestReload(t *testing.T) {
	dir := filepath.Join(t.TempDir(), library)
	for _, part := range []string{"config", "eventing"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join(libraryDir(), part))); err != nil {
			t.Fatal(err)
		}
	}
	w := start(t, t.TempDir(), dir)
	w.shelve("one")
	reload := func() error { return w.System.Reload(t.Context(), library) }

	// A change that is not valid: what ran goes on.
	sync := filepath.Join(dir, "config", "sync.yaml")
	edit(t, sync, "containerConcurrency: 16", "containerConcurrency: many")
	if err := reload(); err == nil || !strings.Contains(err.Error(), "sync.yaml") || !strings.Contains(err.Error(), "containerConcurrency") {
		t.Errorf("what cannot be read is named: got %v", err)
	}
	w.shelve("two")
	edit(t, sync, "containerConcurrency: many", "containerConcurrency: 16")

	// A function changes: it starts again, with the change, and the other one does not.
	policy := w.System.Program(library, "policy")
	edit(t, sync, "        readinessProbe:", "        env: [{name: LOG_LEVEL, value: debug}]\n        readinessProbe:")
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	w.shelve("three")
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", w.System.Program(library, "sync").PID))
	if err != nil || !strings.Contains(string(environ), "LOG_LEVEL=debug") {
		t.Errorf("the function that has started again: expected it to have the new setting, got %v %q", err, environ)
	}
	if now := w.System.Program(library, "policy"); now.Starts < policy.Starts || policy.Running() && now.PID != policy.PID && now.Starts == policy.Starts {
		t.Errorf("the other function is not touched: had %+v, has %+v", policy, now)
	}

	// A definition changes: the objects that are there get its defaults, too.
	crd := filepath.Join(dir, "config", "crds", "library.xos-knative.dev_shelves.yaml")
	edit(t, crd, "              label:\n", "              room:\n                type: string\n                default: hall\n              label:\n")
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	kind, err := w.shelves.Kind(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.Until("a shelf from before has the new field", func() bool {
		u, err := w.objects.Resource(kind.GVR()).Namespace(library).Get(t.Context(), "one", metav1.GetOptions{})
		return err == nil && u.Object["spec"].(map[string]any)["room"] == "hall"
	})

	// What is not there any more ends; what is not there cannot be reloaded.
	if err := os.Remove(filepath.Join(dir, "eventing", "trigger-lost.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	w.shelve("four")
	if err := w.System.Reload(t.Context(), "nobody"); err == nil || !strings.Contains(err.Error(), "no synchronizer nobody runs") {
		t.Errorf("got %v", err)
	}
	if _, err := w.shelves.Get(t.Context(), library, "one"); err != nil {
		t.Errorf("the models of before are there: %v", err)
	}
}
