package systemtest

import (
	"net/http"
	"strings"
	"testing"
)

// TestCoreAlone starts the core without a synchronizer, adds one by the command, removes it, and starts again in between.
func TestCoreAlone(t *testing.T) {
	dir := t.TempDir()
	t.Run("Alone", func(t *testing.T) {
		w := start(t, dir)
		w.expectPrograms()
		_, page := w.Do(http.MethodGet, w.System.URL()+"/", "", nil)
		for where, text := range map[string]string{"the overview": w.System.Overview(), "the address": page} {
			if !strings.Contains(text, "no synchronizer") || !strings.Contains(text, "synchronizer run add NAME|DIRECTORY") {
				t.Errorf("%s must say that there is no synchronizer, and how to add one, got:\n%s", where, text)
			}
		}
		if code, body := w.Post("http://tosca."+core+".svc.cluster.local/run", "", nil); code != http.StatusUnauthorized {
			t.Errorf("tosca must work without a synchronizer, and want a token: got %d %s", code, body)
		}
		if code, body := w.Do(http.MethodGet, "http://tosca."+core+".svc.cluster.local/metrics", "", nil); code != http.StatusNotFound {
			t.Errorf("the one public function must not have its metrics on its public port: got %d %s", code, body)
		}
		if out := w.mustCommand("add", libraryDir()); !strings.Contains(out, "synchronizers: library") {
			t.Errorf("the command must say what runs now, got %s", out)
		}
		w.shelve("first")
		w.lose("first")
		w.expectPrograms(library+"/policy", library+"/sync")
		if kubeconfig := w.read("kubeconfig"); !strings.Contains(kubeconfig, "namespace: library") {
			t.Errorf("kubectl must find the models of the only synchronizer without -n, got:\n%s", kubeconfig)
		}
	})
	t.Run("Again", func(t *testing.T) {
		w := start(t, dir)
		w.shelve("second")
		w.expectPrograms(library+"/policy", library+"/sync")
		if out := w.mustCommand("remove", library); !strings.Contains(out, "no synchronizer") {
			t.Errorf("the command must say that none runs any more, got %s", out)
		}
		w.expectPrograms()
		w.expectGone()
	})
	t.Run("AloneAgain", func(t *testing.T) {
		w := start(t, dir)
		w.expectPrograms()
		if err := w.System.Add(t.Context(), libraryDir()); err != nil {
			t.Fatal(err)
		}
		w.shelve("third")
	})
}
