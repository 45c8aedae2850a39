package systemtest

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/localtest"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// guests is how many instances the tests of crashes work with.
const guests = 30

// burst declares all guests and returns what the greeter has to say then.
func (w *world) burst(round string) (want []string) {
	w.Helper()
	for i := range guests {
		to := fmt.Sprintf("guest %d %s", i, round)
		w.instance(fmt.Sprintf("guest-%d", i), to, "helloworld")
		want = append(want, message("Jhon Snow", to))
	}
	return want
}

// TestKill ends each program with SIGKILL in the middle of its work.
func TestKill(t *testing.T) {
	w := start(t, local.Options{})
	w.service("helloworld", "Jhon Snow")
	want := w.burst("at first")
	// Both functions at once: what was in flight to them comes again only after the visibility timeout.
	for _, killed := range [][]types.NamespacedName{
		{{Namespace: namespace, Name: "sync"}, {Namespace: namespace, Name: "policy"}},
		{{Namespace: namespace, Name: "greeter"}},
		{{Namespace: core, Name: "modelsource"}},
	} {
		t.Run(killed[0].Name, func(t *testing.T) {
			w := w.with(t)
			want = w.burst("before the end of " + killed[0].Name)
			for _, p := range killed {
				w.Until(p.Name+" is at work", func() bool { return w.System.Program(p.Namespace, p.Name).Running() })
				if !w.System.Kill(p.Namespace, p.Name) {
					t.Fatalf("%s did not run", p.Name)
				}
			}
			w.greets(want...)
		})
	}
	for i := range guests {
		w.untilReady(fmt.Sprintf("guest-%d", i))
	}
}

// TestKillRunner ends everything at once, and starts it again.
func TestKillRunner(t *testing.T) {
	dir := t.TempDir()
	port := freePort(t)
	run := func() *exec.Cmd {
		cmd := exec.Command(filepath.Join(localtest.Bin(), "scripts", "synchronizer"), "run", "--root", localtest.Root(), "--dir", dir, "--port", port, "--bin", localtest.Bin())
		cmd.Stdout, cmd.Stderr = localtest.Console(t, dir), os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	cmd := run()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	connect := func() *world {
		w := &world{World: &localtest.World{T: t}}
		w.Until("the runner answers", func() bool {
			config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
			if err != nil {
				return false
			}
			proxy := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:" + port})}}
			w = newWorld(t, config, proxy)
			_, err = w.services.List(t.Context(), namespace, model.Filter{})
			return err == nil
		})
		return w
	}
	w := connect()
	w.service("helloworld", "Jhon Snow")
	want := w.burst("before the end of everything")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // It was killed: the error says so.

	cmd = run()
	w = connect()
	w.greets(want...)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("expected a clean end on Ctrl-C, got %v", err)
	}
}

// freePort is one that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
