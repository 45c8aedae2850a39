package systemtest

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	corev1alpha1 "github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/localtest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

const (
	core    = "synchronizer-system"
	library = "library"
)

func TestMain(m *testing.M) {
	const root = "../../.."
	localtest.RaceInProgramsOnly(root)
	localtest.Main(m, root, "./functions/modelsource", "./functions/deadletter", "./functions/tosca",
		"./pkg/testdata/library/...", "./pkg/testdata/workflow/...", "./pkg/testdata/testservice/...", "./pkg/testdata/device/...",
		"./pkg/local/testdata/echo", "./scripts/synchronizer")
}

// libraryDir is the library, which is no part of the project's config/ and eventing/.
func libraryDir() string { return testdata(library) }

// world is a running project and what users of the library have.
type world struct {
	*localtest.World
	dir     string
	shelves model.Models[*v1alpha1.Shelf]
	books   model.Models[*v1alpha1.Book]
	letters model.Models[*corev1alpha1.DeadLetter]
	objects dynamic.Interface
}

// start brings up the core, and synchronizers only if they were added to an earlier System over dir or are given.
func start(t *testing.T, dir string, add ...string) *world {
	t.Helper()
	running := localtest.Start(t, local.Options{Dir: dir, Only: []string{"core"}, Add: add})
	models, err := model.NewClient(running.System.Config(), v1alpha1.AddToScheme, corev1alpha1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(running.System.Config())
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		World: running, dir: dir, objects: objects,
		shelves: model.For[*v1alpha1.Shelf](models),
		books:   model.For[*v1alpha1.Book](models),
		letters: model.For[*corev1alpha1.DeadLetter](models),
	}
}

// with is the same world for another test, such as a subtest.
func (w *world) with(t *testing.T) *world {
	other := *w
	other.World = w.World.With(t)
	return &other
}

// command runs synchronizer run with the data directory of the System, and returns what it prints.
func (w *world) command(args ...string) (string, error) {
	w.Helper()
	args = append([]string{"run", "--root", localtest.Root(), "--dir", w.dir}, args...)
	out, err := exec.CommandContext(w.Context(), filepath.Join(localtest.Bin(), "scripts", "synchronizer"), args...).CombinedOutput()
	return string(out), err
}

func (w *world) mustCommand(args ...string) string {
	w.Helper()
	out, err := w.command(args...)
	if err != nil {
		w.Fatalf("local %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// shelve declares a shelf and a book on it, and waits until both are Ready.
func (w *world) shelve(name string) {
	w.Helper()
	_, _, err := w.shelves.CreateOrModify(w.Context(), library, name, func(s *v1alpha1.Shelf) error {
		s.Spec = v1alpha1.ShelfSpec{Label: name}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	_, _, err = w.books.CreateOrModify(w.Context(), library, name, func(b *v1alpha1.Book) error {
		b.Spec = v1alpha1.BookSpec{Title: name, Shelf: &v1alpha1.ShelfReference{Name: name}}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Until(name+" is Ready", func() bool {
		s, err := w.shelves.Get(w.Context(), library, name)
		if err != nil || !s.Status.GetCondition(model.ConditionReady).IsTrue() {
			return false
		}
		b, err := w.books.Get(w.Context(), library, name)
		return err == nil && b.Status.GetCondition(model.ConditionReady).IsTrue()
	})
}

// lose publishes an event in the library, where nobody wants any, and waits until it is a dead letter.
func (w *world) lose(id string) {
	w.Helper()
	header := localtest.Event("unwanted")
	header["Ce-Id"] = id
	if code, body := w.Post(w.System.BrokerURL(library, "events"), "{}", header); code != http.StatusAccepted {
		w.Fatalf("an event that became a dead letter is dealt with: got %d %s", code, body)
	}
	all, err := w.letters.List(w.Context(), library, model.Filter{})
	if err != nil {
		w.Fatal(err)
	}
	if !slices.ContainsFunc(all, func(l *corev1alpha1.DeadLetter) bool {
		return l.Spec.Event.ID == id && l.Spec.Code == http.StatusUnprocessableEntity && l.Spec.Destination == "http://sync.library.svc.cluster.local"
	}) {
		w.Errorf("event %s must be a dead letter in the namespace of the Broker, got %v", id, all)
	}
}

// programs are the names of all programs.
func (w *world) programs() (names []string) {
	for _, p := range w.System.Programs() {
		names = append(names, p.Namespace+"/"+p.Name)
	}
	return names
}

var corePrograms = []string{core + "/deadletter", core + "/modelsource", core + "/tosca"}

// expectPrograms expects the core's programs and others, and that the model source has never been restarted.
func (w *world) expectPrograms(others ...string) {
	w.Helper()
	want := append(slices.Clone(corePrograms), others...)
	slices.Sort(want)
	if got := w.programs(); !slices.Equal(got, want) {
		w.Errorf("expected programs %q, got %q", want, got)
	}
	if p := w.System.Program(core, "modelsource"); !p.Running() || p.Starts != 1 {
		w.Errorf("the model source must go on, got %+v", p)
	}
}

// expectGone expects that nothing of the library is left in the API.
func (w *world) expectGone() {
	w.Helper()
	for _, resource := range []string{"shelves", "books"} {
		_, err := w.objects.Resource(v1alpha1.GroupVersion.WithResource(resource)).List(w.Context(), metav1.ListOptions{})
		if !apierrors.IsNotFound(err) {
			w.Errorf("%s must be no kind any more, got %v", resource, err)
		}
		_, err = w.objects.Resource(model.CRDs).Get(w.Context(), resource+"."+v1alpha1.GroupVersion.Group, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			w.Errorf("the definition of %s must be gone, got %v", resource, err)
		}
	}
	all, err := w.letters.List(w.Context(), library, model.Filter{})
	if err != nil || len(all) != 0 {
		w.Errorf("its dead letters must be gone, got %v %v", all, err)
	}
}

// read is the content of a file of the data directory.
func (w *world) read(file string) string {
	w.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, file))
	if err != nil {
		w.Fatal(err)
	}
	return string(b)
}
