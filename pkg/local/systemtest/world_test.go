package systemtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/model"
)

const (
	// root of the project, as seen from here.
	root = "../../.."
	// namespace of the example.
	namespace = "helloworld"
	// patience is how long a test waits for anything.
	patience = 3 * time.Minute
)

// bin has all programs, built once.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "systemtest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	args := slices.Concat([]string{"build", "-o", bin + "/"}, buildFlags, []string{"./functions/...", "./scripts/local"})
	build := exec.Command("go", args...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the programs: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// world is a running project and the means of its users.
type world struct {
	*testing.T
	system    *local.System
	services  model.Models[*v1alpha1.HelloWorldService]
	instances model.Models[*v1alpha1.HelloWorldServiceInstance]
	greeter   *client.Client
}

// start brings the project up over dir, a new one if it is empty.
func start(t *testing.T, o local.Options) *world {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Idle == 0 {
		o.Idle = 2 * time.Second
	}
	// A tick at the wrong moment would be counted as work that nobody asked
	// for: tests that want one send it.
	o.Without = append(o.Without, "pingsource/pull")
	if o.Bin == "" {
		o.Bin = bin
	}
	o.Root, o.Out = root, logs(t, o.Dir)
	system, err := local.Start(t.Context(), o)
	if err != nil {
		t.Fatalf("starting the project: %v", err)
	}
	t.Cleanup(func() {
		if err := system.Stop(); err != nil {
			t.Errorf("stopping the project: %v", err)
		}
	})
	w := newWorld(t, system.Config(), system.Client())
	w.system = system
	return w
}

func newWorld(t *testing.T, config *rest.Config, http *http.Client) *world {
	t.Helper()
	models, err := model.NewClient(config, v1alpha1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	greeter, err := client.New("http://greeter.helloworld.svc.cluster.local", client.WithHTTPClient(http))
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		T:         t,
		services:  model.For[*v1alpha1.HelloWorldService](models),
		instances: model.For[*v1alpha1.HelloWorldServiceInstance](models),
		greeter:   greeter,
	}
}

// logs keeps what the runner prints, and shows it if the test fails.
func logs(t *testing.T, dir string) io.Writer {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(dir, "console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = file.Close()
		if !t.Failed() {
			return
		}
		text, _ := os.ReadFile(file.Name())
		t.Logf("console, its end:\n%s", text[max(0, len(text)-30_000):])
	})
	return file
}

// until waits for a condition.
func (w *world) until(what string, condition func() bool) {
	w.Helper()
	err := wait.PollUntilContextTimeout(w.Context(), 50*time.Millisecond, patience, true, func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		w.Fatalf("waiting until %s: %v", what, err)
	}
}

func (w *world) service(name, from string) *v1alpha1.HelloWorldService {
	w.Helper()
	saved, _, err := w.services.CreateOrModify(w.Context(), namespace, name, func(s *v1alpha1.HelloWorldService) error {
		s.Spec = v1alpha1.HelloWorldServiceSpec{HelloFrom: from}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return saved
}

// instance declares an instance; without an owner if that is empty.
func (w *world) instance(name, to, owner string) *v1alpha1.HelloWorldServiceInstance {
	w.Helper()
	saved, _, err := w.instances.CreateOrModify(w.Context(), namespace, name, func(i *v1alpha1.HelloWorldServiceInstance) error {
		i.Spec = v1alpha1.HelloWorldServiceInstanceSpec{HelloTo: to}
		if owner != "" {
			i.Spec.Owner = &v1alpha1.OwnerReference{Name: owner}
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return saved
}

// get reads an instance; nil if there is none.
func (w *world) get(name string) *v1alpha1.HelloWorldServiceInstance {
	i, err := w.instances.Get(w.Context(), namespace, name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.Logf("getting %s: %v", name, err)
		return nil
	}
	return i
}

// sync is the part of an instance's status that sync owns, zero if there is none.
func (w *world) sync(name string) model.StepStatus {
	if i := w.get(name); i != nil && i.Status.Sync != nil {
		return *i.Status.Sync
	}
	return model.StepStatus{}
}

// ready tells whether an instance is, at its current generation.
func ready(i *v1alpha1.HelloWorldServiceInstance) bool {
	return i != nil && i.Status.ObservedGeneration == i.Generation && i.Status.GetCondition(model.ConditionReady).IsTrue()
}

func (w *world) untilReady(name string) {
	w.Helper()
	w.until(name+" is Ready", func() bool { return ready(w.get(name)) })
}

// greets waits until the greeter says exactly this.
func (w *world) greets(want ...string) {
	w.Helper()
	slices.Sort(want)
	w.until(fmt.Sprintf("the greeter says %d greetings: %.300q", len(want), want), func() bool {
		var have []string
		for g, err := range w.greeter.All(w.Context(), client.ListOptions{}) {
			if err != nil {
				return false
			}
			have = append(have, g.Message)
		}
		slices.Sort(have)
		return slices.Equal(have, want)
	})
}

func (w *world) untilIdle() {
	w.Helper()
	w.until("no function runs", func() bool {
		return !slices.ContainsFunc(w.system.Programs(), func(p local.ProgramStats) bool { return p.Function && p.Running() })
	})
}

// requests counts what has reached functions.
func (w *world) requests() (n int) {
	for _, p := range w.system.Programs() {
		if p.Function {
			n += p.Requests
		}
	}
	return n
}

// post sends a CloudEvent, or what pretends to be one, to a function and
// returns the status and the body of the answer.
func (w *world) post(function, body string, header map[string]string) (int, string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, "http://"+function+"."+namespace+".svc.cluster.local/", strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := w.system.Client().Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// modelEvent is the head of a model event for sync.
func modelEvent() map[string]string {
	return map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/test", "Ce-Type": model.EventUpdated,
		"Ce-Step": "sync", "Content-Type": "application/json",
	}
}

func reference(kind, name string) string {
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"namespace":%q,"name":%q}`, v1alpha1.GroupVersion.String(), kind, namespace, name)
}

func message(from, to string) string { return from + " is saying hello to " + to }
