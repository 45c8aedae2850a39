package systemtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// remove deletes an instance and waits until it is gone.
func (w *world) remove(name string) {
	w.Helper()
	i := &v1alpha1.HelloWorldServiceInstance{}
	i.Namespace, i.Name = namespace, name
	if err := w.instances.Delete(w.Context(), i); err != nil {
		w.Fatal(err)
	}
	w.Until(name+" is gone", func() bool { _, err := w.instances.Get(w.Context(), namespace, name); return model.IsGone(err) })
}

// between stops the project, does something with the folder of the Kubernetes API's data, and starts it again.
func (w *world) between(t *testing.T, dir string, do func(data string) error) *world {
	t.Helper()
	if err := w.System.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := do(filepath.Join(dir, "api")); err != nil {
		t.Fatal(err)
	}
	return start(t, local.Options{Dir: dir})
}

// TestRestore puts yesterday's data back under the Kubernetes API. The greeter keeps its own, and has newer generations
// of everything. It ends as the restored models say, and they can be changed and deleted again.
func TestRestore(t *testing.T) {
	dir, backup := t.TempDir(), t.TempDir()
	w := start(t, local.Options{Dir: dir})
	w.service("helloworld", "Jhon Snow")
	yesterday := []string{message("Jhon Snow", "Arya Stark"), message("Jhon Snow", "Bran Stark"), message("Jhon Snow", "Sansa Stark")}
	w.instance("changed", "Arya Stark", "helloworld")
	w.instance("deleted", "Bran Stark", "helloworld")
	w.instance("ended", "Sansa Stark", "helloworld")
	w.greets(yesterday...)
	for _, name := range []string{"changed", "deleted", "ended"} {
		w.untilReady(name)
	}
	w = w.between(t, dir, func(data string) error { return os.CopyFS(backup, os.DirFS(data)) })

	for i := range 3 {
		for _, name := range []string{"changed", "ended"} {
			w.instance(name, fmt.Sprintf("%s %d", name, i), "helloworld")
			w.untilReady(name)
		}
	}
	w.remove("deleted")
	w.instance("newer", "Rickon Stark", "helloworld")
	w.greets(message("Jhon Snow", "changed 2"), message("Jhon Snow", "ended 2"), message("Jhon Snow", "Rickon Stark"))

	w = w.between(t, dir, func(data string) error {
		if err := os.RemoveAll(data); err != nil {
			return err
		}
		return os.CopyFS(data, os.DirFS(backup))
	})
	w.remove("ended") // Before pull has looked.
	if got, want := w.tick(), (step.PullCounts{Drifted: 2, Orphaned: 1}); got != want {
		t.Errorf("expected %+v, got %+v", want, got)
	}
	w.greets(yesterday[:2]...)
	for _, name := range []string{"changed", "deleted"} {
		w.untilReady(name)
	}
	if got, want := w.tick(), (step.PullCounts{Unchanged: 2}); got != want {
		t.Errorf("nothing is asked for again: expected %+v, got %+v", want, got)
	}
	w.instance("changed", "Hodor", "helloworld")
	w.greets(message("Jhon Snow", "Hodor"), yesterday[1])
	w.remove("deleted")
	w.greets(message("Jhon Snow", "Hodor"))
}
