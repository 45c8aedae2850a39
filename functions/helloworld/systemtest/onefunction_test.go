package systemtest

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/localtest"
)

// TestOneFunction runs the overlay with both steps in one function.
func TestOneFunction(t *testing.T) {
	folder := filepath.Join(t.TempDir(), namespace)
	if err := local.RenderOverlay(filepath.Join(localtest.Root(), "config/overlays/one-function"), folder); err != nil {
		t.Fatal(err)
	}
	running := localtest.Start(t, local.Options{Only: []string{"core"}, Add: []string{folder}, Without: []string{"pingsource/pull"}, Idle: time.Minute})
	w := newWorld(t, running.System.Config(), running.System.Client())
	w.World = running

	w.service("hello", "Jon")
	w.instance("arya", "Arya", "hello")
	w.untilReady("arya")
	before := w.Requests()
	w.instance("bran", "Bran", "")
	w.untilReady("bran")
	if n := w.Requests() - before; n != 1 {
		t.Errorf("the policy gives the instance its service, and it is synced, by one event: got %d", n)
	}
	before = w.Requests()
	w.instance("arya", "Sansa", "hello")
	w.untilReady("arya")
	if n := w.Requests() - before; n != 1 {
		t.Errorf("a change is one event: got %d", n)
	}
	w.instance("joffrey", hello.Never, "hello")
	w.Until("the policy has deleted him", func() bool { return w.get("joffrey") == nil })
}
