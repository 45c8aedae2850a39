package systemtest

import (
	"github.com/xos-knative/synchronizer/pkg/local/localtest"
	"os/exec"
	"strings"
	"testing"
)

// TestLinks keeps the programs small: what only the local runner needs must
// not find its way into them.
func TestLinks(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "./functions/...")
	list.Dir = localtest.Root()
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.Lines(string(out)) {
		for _, heavy := range []string{"knative.dev/eventing/", "k8s.io/apiserver/", "go.etcd.io/etcd/", "github.com/xos-knative/synchronizer/pkg/local"} {
			if strings.HasPrefix(pkg, heavy) {
				t.Errorf("a program links %s", strings.TrimSpace(pkg))
			}
		}
	}
}

// TestGreeterKnowsNoModels checks that the greeter has nothing of the models and of their synchronizer.
func TestGreeterKnowsNoModels(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "./functions/helloworld/greeter")
	list.Dir = localtest.Root()
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.Lines(string(out)) {
		for _, unknown := range []string{"synchronizer/pkg/model", "synchronizer/pkg/step", "helloworld/api/v1alpha1"} {
			if strings.Contains(pkg, unknown) {
				t.Errorf("the greeter links %s", strings.TrimSpace(pkg))
			}
		}
	}
}
