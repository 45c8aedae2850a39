package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

func TestMain(m *testing.M) { steptest.Main(m, "../../pkg/testdata/library/config/crds") }

type (
	book  = v1alpha1.Book
	shelf = v1alpha1.Shelf
)

// library has a function for shelves and books, whose syncs return err.
type library struct {
	*steptest.World
	err error
}

type syncer[T model.Object] struct{ l *library }

func (s syncer[T]) Sync(context.Context, T) (string, error) { return "", s.l.err }

func newLibrary(t *testing.T) *library {
	t.Helper()
	kubeapitest.LeadTo(t, kubeapitest.Shared(t))
	l := &library{}
	l.World = steptest.New(t, func(context.Context, *model.Client) ([]step.Registration, error) {
		return []step.Registration{step.Sync(syncer[*shelf]{l}), step.Sync(syncer[*book]{l}), step.Policies[*book](step.PolicyFuncs[*book]{})}, nil
	}, v1alpha1.AddToScheme)
	return l
}

func (l *library) shelf(name string) {
	steptest.Given(l.World, &shelf{ObjectMeta: steptest.Meta(name), Spec: v1alpha1.ShelfSpec{Label: name}})
}

func (l *library) book(name, onShelf string) {
	steptest.Given(l.World, &book{ObjectMeta: steptest.Meta(name), Spec: v1alpha1.BookSpec{Title: name, Shelf: &v1alpha1.ShelfReference{Name: onShelf}}})
}

// run runs the command, a second after the time of the functions. Steps run meanwhile.
func (l *library) run(args ...string) (string, error) {
	l.Helper()
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	c := newCommand(streams, func() time.Time { return l.Clock.Now().Add(time.Second) })
	c.SetArgs(append(args, "-n", l.Namespace))
	ended := make(chan error, 1)
	go func() { ended <- c.ExecuteContext(l.Context()) }()
	for {
		select {
		case err := <-ended:
			return out.String(), err
		case <-time.After(10 * time.Millisecond):
			l.Settle()
		}
	}
}

// says runs the command, and checks that it prints the parts, in this order.
func (l *library) says(command string, parts ...string) {
	l.Helper()
	out, err := l.run(strings.Fields(command)...)
	if err != nil {
		l.Errorf("%s: %v", command, err)
	}
	rest := out
	for _, part := range parts {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			l.Errorf("%s: want %q next, got:\n%s", command, part, out)
			return
		}
		rest = after
	}
}

// fails runs the command, and checks its error.
func (l *library) fails(command string, parts ...string) {
	l.Helper()
	out, err := l.run(strings.Fields(command)...)
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			l.Errorf("%s: want an error with %q, got %v\n%s", command, part, err, out)
		}
	}
}

func TestWhy(t *testing.T) {
	l := newLibrary(t)
	l.shelf("fiction")
	l.book("dune", "fiction")
	l.book("lost", "poetry")
	l.Settle()
	l.says("why", "Book, Ready is Unknown: waiting for Shelf poetry, which does not exist", l.Namespace+"/lost")
	l.says("why book/dune", "Book "+l.Namespace+"/dune: Ready is True, OK", "sync: OK, not due: generation 1 was handled",
		"policy: OK, not due", "depends on Shelf fiction: Ready is True, OK")
	l.says("why shelf fiction", "has a dependent: Book dune")
	l.says("why books/lost", "sync: Waiting, not due: it waits", "waits for Shelf poetry, which does not exist", "depends on Shelf poetry: does not exist")

	l.err = errors.New("no paper")
	steptest.Change(l.World, "dune", func(b *book) { b.Spec.Title = "Emma" })
	l.Settle()
	l.says("why book/dune", "Ready is False", "sync: Failed, not due: it is tried again", "at 2026-01-02T03:04:0", "said: no paper")
	l.says("why book", "Book, Ready is False: no paper")
	var all []answer
	out, err := l.run("why", "book/dune", "-o", "json")
	if err == nil {
		err = json.NewDecoder(bytes.NewBufferString(out)).Decode(&all)
	}
	if err != nil || len(all) != 1 || all[0].Steps[0].Errors[0] != "no paper" || all[0].Steps[0].Until == nil {
		t.Errorf("want the same as JSON, got %v\n%s", err, out)
	}

	l.err = step.Permanent(errors.New("no such paper"))
	l.After(time.Minute)
	l.Settle()
	l.says("why book/dune", "not due: failed permanently", "said: no paper", "said: no such paper")
	steptest.Change(l.World, "dune", func(b *book) { b.Finalizers = append(b.Finalizers, "example.com/theirs") })
	steptest.Delete[*shelf](l.World, "fiction")
	l.Settle()
	l.says("why shelf/fiction", "Ready is False, being deleted", "waits for Book dune, which still depends on it, to be deleted")

	l.fails("why book/none", "book/none in namespace "+l.Namespace, "not find")
	l.fails("why nonsense/a", "nonsense")
	l.fails("why book/dune -o yaml", "--output: expected json")
	l.fails("why configmap/a", "configmap")
}

func TestWhyManyAreNotReady(t *testing.T) {
	l := newLibrary(t)
	for i := range oldest + 2 {
		l.book(fmt.Sprintf("b%02d", i), "poetry")
	}
	l.Settle()
	l.says("why books", "waiting for Shelf poetry", "/b00\n", "/b09\n", "  and 2 more\n")
	l.shelf("poetry")
	l.Settle()
	l.says("why", "All models are Ready.")
	if out, err := l.run("why", "-o", "json"); err != nil || out != "[]\n" {
		t.Errorf("none is an empty list, got %q, %v", out, err)
	}
}

func TestAgain(t *testing.T) {
	l := newLibrary(t)
	l.shelf("fiction")
	l.book("dune", "fiction")
	l.book("emma", "fiction")
	l.Settle()
	l.says("again book/dune --wait", "books.library.xos-knative.dev/dune is asked to run again\n", "dune has run again\n")
	if status := steptest.Snapshot[*book](l.World, "dune").Status.Sync; status.Message != "OK, requested: somebody asked for it" {
		t.Errorf("the status says why, got %q", status.Message)
	}
	l.err = errors.New("no paper")
	l.fails("again book/emma --wait --reason test", "books.library.xos-knative.dev/emma", "sync failed: ", "no paper")
	l.err = nil
	l.After(time.Second)
	out, err := l.run("again", "--all", "--failed", "--wait")
	if err != nil || strings.Contains(out, "dune") || !strings.Contains(out, "emma has run again") {
		t.Errorf("want the failed one alone, got %v\n%s", err, out)
	}
	l.fails("again", "expected KIND/NAME, KIND or --all")
	l.fails("again book/none", "not find")
}

func TestPause(t *testing.T) {
	l := newLibrary(t)
	l.shelf("fiction")
	l.shelf("poetry")
	l.Settle()
	steptest.Change(l.World, "poetry", func(s *shelf) { metav1.SetMetaDataLabel(&s.ObjectMeta, "team", "north") })
	l.says("pause shelves -l team=north", "shelves.library.xos-knative.dev/poetry paused\n")
	l.says("pause shelf/poetry", "poetry was paused before\n")
	l.Settle()
	l.says("why shelves", "Shelf, Ready is False", l.Namespace+"/poetry")
	l.says("why shelf/poetry", "sync: OK, not due: paused: remove annotation "+model.AnnotationPaused)
	l.fails("again shelf/poetry --wait --timeout 1s", "step sync has not run to its end within 1s", "synchronizer why")
	l.says("resume shelf/poetry", "shelves.library.xos-knative.dev/poetry resumed\n")
	l.Settle()
	l.says("why", "All models are Ready.")
	l.fails("pause", "requires at least 1 arg")
}

func TestCompletion(t *testing.T) {
	l := newLibrary(t)
	l.shelf("fiction")
	l.book("dune", "fiction")
	l.book("lost", "fiction")
	for begun, want := range map[string]string{
		"bo":         "books/\n:6\n",
		"books/d":    "books/dune\n:4\n",
		"books/":     "books/dune\nbooks/lost\n:4\n",
		"nothings/":  ":1\n",
		"bookshelve": ":6\n",
	} {
		if out, code := command(t, "__complete", "why", "-n", l.Namespace, begun); out != want || code != 0 {
			t.Errorf("why %s: want %q, got %q", begun, want, out)
		}
	}
	if out, _ := command(t, "__complete", "again", "-n", l.Namespace, "books/dune", "books/"); out != "books/lost\n:4\n" {
		t.Errorf("again books/dune books/: want the other one, got %q", out)
	}
}
