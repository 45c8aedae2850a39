package systemtest

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/xos-knative/synchronizer/pkg/local/localtest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// counter is the namespace of a synchronizer that keeps each event that it gets.
const counter = "counter"

// kept counts the events that the counter has got, by a pattern of their ids.
func (w *world) kept(id string) int {
	w.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "volumes", counter, "keeper", "events", id+"-*"))
	if err != nil {
		w.Fatal(err)
	}
	return len(files)
}

// publish sends events to the counter's Broker, one after the other, until stop is called, which returns how many the
// Broker has accepted.
func (w *world) publish() (stop func() int) {
	ctx, cancel := context.WithCancel(w.Context())
	accepted := make(chan int)
	go func() {
		n := 0
		defer func() { accepted <- n }()
		header := localtest.Event("counted")
		for ctx.Err() == nil {
			header["Ce-Id"] = fmt.Sprintf("n%d", n)
			code, body := w.Post(w.System.BrokerURL(counter, "events"), "{}", header)
			if code != http.StatusAccepted {
				w.Errorf("event %d: expected the Broker to accept it, got %d %s", n, code, body)
				return
			}
			n++
			time.Sleep(2 * time.Millisecond) // A pace, nothing waits for it.
		}
	}()
	return func() int {
		cancel()
		return <-accepted
	}
}

// TestNeighbours adds and removes the library while another synchronizer works.
func TestNeighbours(t *testing.T) {
	dir, err := filepath.Abs("testdata/counter")
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, t.TempDir(), dir)
	t.Run("NothingLost", func(t *testing.T) { w.with(t).nothingLost() })
	t.Run("Left", func(t *testing.T) { w.with(t).left() })
	t.Run("Remote", func(t *testing.T) { w.with(t).remote() })
}

// nothingLost: the processes of the neighbour go on, and each of its events arrives.
func (w *world) nothingLost() {
	stop := w.publish()
	for _, name := range []string{"one", "two"} {
		if err := w.System.Add(w.Context(), libraryDir()); err != nil {
			w.Fatal(err)
		}
		w.shelve(name)
		w.expectPrograms(counter+"/keeper", library+"/policy", library+"/sync")
		if err := w.System.Remove(w.Context(), library); err != nil {
			w.Fatal(err)
		}
		w.expectPrograms(counter + "/keeper")
		w.expectGone()
	}
	box := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "counter.xos-knative.dev/v1", "kind": "Box", "metadata": map[string]any{"name": "box"},
	}}
	boxes := schema.GroupVersionResource{Group: "counter.xos-knative.dev", Version: "v1", Resource: "boxes"}
	if _, err := w.objects.Resource(boxes).Namespace(counter).Create(w.Context(), box, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	w.Until("the neighbour gets its model events", func() bool { return w.kept("*_sync_*") > 0 })
	n := stop()
	w.Until(fmt.Sprintf("all %d events have arrived", n), func() bool { return w.kept("n*") == n })
	if p := w.System.Program(counter, "keeper"); p.Starts != 1 || !p.Running() {
		w.Errorf("a neighbour must not be restarted, got %+v", p)
	}
	w.Logf("%d events", n)
}

// left: a model that somebody holds back keeps its synchronizer, which goes on working.
func (w *world) left() {
	if err := w.System.Add(w.Context(), libraryDir()); err != nil {
		w.Fatal(err)
	}
	w.shelve("held")
	const finalizer = "example.com/held"
	_, _, err := w.books.Modify(w.Context(), library, "held", func(b *v1alpha1.Book) error {
		b.Finalizers = append(b.Finalizers, finalizer)
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
	defer cancel()
	err = w.System.Remove(ctx, library)
	if err == nil || !strings.Contains(err.Error(), "Book library/held: ") || !strings.Contains(err.Error(), finalizer) {
		w.Fatalf("the error must say what is left and why, got %v", err)
	}
	w.shelve("after")
	w.lose("after")
	_, _, err = w.books.Modify(w.Context(), library, "held", func(b *v1alpha1.Book) error {
		b.Finalizers = nil
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	if err := w.System.Remove(w.Context(), library); err != nil {
		w.Fatal(err)
	}
	w.expectGone()
}

// remote: only who can read the kubeconfig adds and removes, and errors say what is wrong.
func (w *world) remote() {
	request := func(method, path, token, body string) (int, string) {
		w.Helper()
		header := map[string]string{}
		if token != "" {
			header["Authorization"] = "Bearer " + token
		}
		return w.Do(method, w.System.URL()+path, body, header)
	}
	token := w.System.Config().BearerToken
	const path = "/-/synchronizers/"
	for name, tc := range map[string]struct {
		method, path, token, body string
		want                      int
	}{
		"NoToken":    {method: http.MethodDelete, path: path + counter, want: http.StatusUnauthorized},
		"WrongToken": {method: http.MethodDelete, path: path + counter, token: "x", want: http.StatusUnauthorized},
		"NoName":     {method: http.MethodDelete, path: path, token: token, want: http.StatusMethodNotAllowed},
		"NoSource":   {method: http.MethodPost, path: path, token: token, body: "{}", want: http.StatusBadRequest},
		"Unknown":    {method: http.MethodPost, path: path, token: token, body: `{"source": "nobody"}`, want: http.StatusConflict},
		"Core":       {method: http.MethodDelete, path: path + "core", token: token, want: http.StatusConflict},
	} {
		if got, body := request(tc.method, tc.path, tc.token, tc.body); got != tc.want {
			w.Errorf("%s: expected %d, got %d %s", name, tc.want, got, body)
		}
	}
	out, err := w.command("add", "nobody")
	if err == nil || !strings.Contains(out, "there is no synchronizer nobody") {
		w.Errorf("the command must fail with the reason, got %v %s", err, out)
	}
	if out, err := w.command("remove", "no\x1b[31mbody"); err == nil || !strings.Contains(out, `no\x1b[31mbody`) || strings.Contains(out, "\x1b") {
		w.Errorf("an answer must not control the terminal, got %v %q", err, out)
	}
	w.expectPrograms(counter + "/keeper")
}
