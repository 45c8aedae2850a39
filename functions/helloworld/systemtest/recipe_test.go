package systemtest

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/localtest"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// recipe sends one of the seed's recipes to function tosca, as the owner of
// the kubeconfig, and returns the answer.
func (w *world) recipe(path, name string) string {
	w.Helper()
	body, err := os.ReadFile(filepath.Join(localtest.Root(), "config", "samples", "tosca", name))
	if err != nil {
		w.Fatal(err)
	}
	req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, w.System.URL()+path, bytes.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	req.Host = "tosca." + core + ".localhost"
	req.Header.Set("Authorization", "Bearer "+w.System.Config().BearerToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.Fatalf("POST %s %s: expected 200, got %s: %s %v", path, name, resp.Status, text, err)
	}
	return strings.TrimSpace(string(text))
}

// versions are the resource versions of all instances, by name.
func (w *world) versions() map[string]string {
	w.Helper()
	all := map[string]string{}
	err := w.instances.Each(w.Context(), namespace, model.Filter{}, func(i *v1alpha1.HelloWorldServiceInstance) error {
		all[i.Name] = i.ResourceVersion
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

const (
	greeted  = "helloworld-service-instance"
	deferred = "helloworld-service-instance-1"
	failed   = "helloworld-service-instance-2"
)

// TestRecipes uploads the two recipes of the XOS tutorial as they are.
func TestRecipes(t *testing.T) {
	dir := t.TempDir()
	t.Run("without policies", func(t *testing.T) {
		w := start(t, local.Options{Dir: dir, Without: []string{"trigger/helloworld-policy"}})
		if got := w.recipe("/run?namespace=helloworld", "hello-world.yml"); got != "Created models: ['constraints', 'service', 'serviceinstance']" {
			t.Errorf("first recipe: %s", got)
		}
		if got := w.recipe("/run?namespace=helloworld", "hello-world-more.yml"); got != "Created models: ['constraints', 'serviceinstance1', 'serviceinstance2']" {
			t.Errorf("second recipe: %s", got)
		}
		w.greets(message("Jhon Snow", "Daenerys Targaryen"))
		for name, state := range map[string]model.State{greeted: model.StateOK, deferred: model.StateDeferred, failed: model.StateFailed} {
			w.Until(name+" is "+string(state), func() bool { return w.sync(name).State == state })
		}

		// A second upload changes nothing.
		before := w.get(greeted).ResourceVersion
		w.recipe("/run?namespace=helloworld", "hello-world.yml")
		if after := w.get(greeted).ResourceVersion; after != before {
			t.Errorf("the second upload changed the instance from version %s to %s", before, after)
		}
	})
	t.Run("with policies", func(t *testing.T) {
		w := start(t, local.Options{Dir: dir})
		w.Until("only the greeted one is left", func() bool { v := w.versions(); return len(v) == 1 && v[greeted] != "" })
		w.untilReady(greeted)
		w.recipe("/run?namespace=helloworld&wait=3m", "hello-world.yml")

		if got := w.recipe("/delete?namespace=helloworld&wait=3m", "hello-world.yml"); got != "Deleted models: ['serviceinstance', 'service', 'constraints']" {
			t.Errorf("deletion: %s", got)
		}
		w.greets()
		if left := w.versions(); len(left) != 0 {
			t.Errorf("expected no instance after the deletion, got %v", left)
		}
	})
}
