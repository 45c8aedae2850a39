package step_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"knative.dev/pkg/apis"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/librarytest"
)

// newAll makes a function with all steps of the library, and a shelf with a book, both Ready.
func newAll(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.furnish()
	return f
}

// newChanging is newAll with definitions of the test's own, which it may change.
func newChanging(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.versions = librarytest.New(t, kubeapitest.Shared(t), "truth-"+utilrand.String(5)+".example.dev", nil)
	f.addToScheme = f.versions.AddToScheme
	f.furnish()
	return f
}

func (f *fixture) furnish() {
	f.Helper()
	f.startAll()
	save(f, f.shelf("fiction"))
	f.Settle()
	save(f, f.book("a"))
	f.Settle()
	f.takeCalls()
}

func (f *fixture) startAll() {
	f.Helper()
	police := func(context.Context, *book) error { return f.policyErr }
	f.start(step.Sync(f), step.Sync(shelfSyncer{f}), step.Policies[*book](deleting{
		step.PolicyFuncs[*book]{OnCreate: police, OnUpdate: police}, func(context.Context, *book) error { return f.sweepErr }}))
}

// then does one after the other, and lets the steps run in between.
func then(all ...func(*fixture)) func(*fixture) {
	return func(f *fixture) {
		for _, do := range all {
			do(f)
			f.Settle()
		}
	}
}

// What users do.

func onBook(change func(metav1.Object)) func(*fixture) {
	return func(f *fixture) { steptest.Change(f.World, "a", func(b *book) { change(b) }) }
}

func onShelf(change func(metav1.Object)) func(*fixture) {
	return func(f *fixture) { steptest.Change(f.World, "fiction", func(s *shelf) { change(s) }) }
}

func annotate(pairs ...string) func(metav1.Object) {
	return func(o metav1.Object) {
		all := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			all[pairs[i]] = pairs[i+1]
		}
		o.SetAnnotations(all)
	}
}

var (
	optOut  = annotate(model.AnnotationNoSync, "", model.AnnotationNoPolicy, "")
	plain   = onBook(annotate())
	paused  = onBook(annotate(model.AnnotationPaused, ""))
	noSync  = onBook(annotate(model.AnnotationNoSync, ""))
	noSteps = onBook(optOut)
	theirs  = onBook(func(o metav1.Object) { o.SetFinalizers(append(o.GetFinalizers(), "example.com/theirs")) })
)

func retitle(f *fixture)     { steptest.Change(f.World, "a", func(b *book) { b.Spec.Title = "Emma" }) }
func relabel(f *fixture)     { steptest.Change(f.World, "fiction", func(s *shelf) { s.Spec.Label += "." }) }
func deleteBook(f *fixture)  { steptest.Delete[*book](f.World, "a") }
func deleteShelf(f *fixture) { steptest.Delete[*shelf](f.World, "fiction") }
func minuteLater(f *fixture) { f.After(time.Minute) }

// move puts the book on another shelf, or on none.
func move(shelf string) func(*fixture) {
	return func(f *fixture) {
		steptest.Change(f.World, "a", func(b *book) {
			if b.Spec.Shelf.Name = shelf; shelf == "" {
				b.Spec.Shelf = nil
			}
		})
	}
}

func put(shelf string) func(*fixture) { return func(f *fixture) { save(f, f.shelf(shelf)) } }

// reborn replaces the book by one that begins with a change.
func reborn(change func(metav1.Object)) func(*fixture) {
	return then(deleteBook, func(f *fixture) {
		b := f.book("a")
		change(b)
		save(f, b)
	})
}

// What the steps do.

func failing(err error) func(*fixture) {
	return func(f *fixture) {
		f.sync = func(context.Context, *book) (string, error) { return "", err }
		steptest.Change(f.World, "a", func(b *book) { b.Spec.Title += "." })
	}
}

func failsToClean(err error) func(*fixture) {
	return func(f *fixture) {
		f.clean = func(context.Context, *book) error { return err }
		deleteBook(f)
	}
}

var cleanUpFailing = failsToClean(errPaper)

func shelfFailing(err error) func(*fixture) {
	return func(f *fixture) { f.shelfErr = err; relabel(f) }
}

func policyFailing(f *fixture) { f.policyErr = errPaper; retitle(f) }

func working(f *fixture) {
	f.sync, f.clean, f.shelfErr, f.policyErr, f.sweepErr = nil, nil, nil, nil, nil
}

// What operators do.

// redefine changes an annotation of a definition. The function starts again, as one does that had scaled to
// zero.
func redefine(plural, annotation, value string) func(*fixture) {
	return func(f *fixture) {
		f.versions.Annotate(plural, annotation, value)
		f.versions.Serve(librarytest.V1alpha1, librarytest.V1alpha1)
		f.Events() // All that are recorded are written before the function ends.
		f.startAll()
	}
}

func steps(value string) func(*fixture) { return redefine("books", model.AnnotationSteps, value) }

func dependsOn(value string) func(*fixture) {
	return redefine("books", model.AnnotationDependsOn, value)
}

func uses(value string) func(*fixture) {
	return redefine("books", model.AnnotationUsesObserved, value)
}

// store makes v1beta1 the version that objects are stored in, and that kubectl reads.
func store(f *fixture) {
	f.versions.Serve(librarytest.V1beta1, librarytest.V1alpha1, librarytest.V1beta1)
	f.shown = librarytest.V1beta1
}

// TestTruth compares what users see of an object with what is the case: its conditions, the generation that
// they are about, what `kubectl get` prints, and the Kubernetes Events about it.
func TestTruth(t *testing.T) {
	for name, table := range map[string]struct {
		situations map[string]situation
		begin      func(*testing.T) *fixture
		look       func(*fixture) *look
	}{
		"Outcomes":       {outcomes, newAll, lookAt[*book]("a")},
		"Waits":          {waits, newAll, lookAt[*book]("a")},
		"Pauses":         {pauses, newAll, lookAt[*book]("a")},
		"OptOuts":        {optOuts, newAll, lookAt[*book]("a")},
		"Deletions":      {deletions, newAll, lookAt[*book]("a")},
		"Shelves":        {shelves, newAll, lookAt[*shelf]("fiction")},
		"ChangedKinds":   {changedKinds, newChanging, lookAt[*book]("a")},
		"ChangedShelves": {changedShelves, newChanging, lookAt[*shelf]("fiction")},
	} {
		for what, tt := range table.situations {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				f := table.begin(t)
				tt.do(f)
				f.Settle()
				tt.compare(t, table.look(f))
			})
		}
	}
}

// look is what a user sees of an object.
type look struct {
	metav1.ObjectMeta `json:"metadata"`
	Status            model.Status `json:"status"`
	gone              bool
	// cells are the columns of `kubectl get`.
	cells map[string]string
	// events are about the object, each as "type reason".
	events []string
}

func (tt situation) compare(t *testing.T, l *look) {
	t.Helper()
	got := situation{says: tt.says, ready: "gone", events: strings.Join(l.events, ", ")}
	if !l.gone {
		got.ready, got.synced, got.policy = l.says(model.ConditionReady), l.says(model.ConditionSynced), l.says(model.ConditionPolicyApplied)
		l.check(t, tt.says)
	}
	if diff := cmp.Diff(tt, got, cmp.AllowUnexported(situation{}), cmpopts.IgnoreFields(situation{}, "do")); diff != "" {
		t.Errorf("-want, +got:\n%s%+v", diff, l.Status.Conditions)
	}
}

func (l *look) says(condition apis.ConditionType) string {
	c := l.condition(condition)
	return strings.TrimSpace(string(c.Status) + " " + c.Reason)
}

// condition is empty if there is none of that type.
func (l *look) condition(condition apis.ConditionType) apis.Condition {
	return ptr.Deref(l.Status.GetCondition(condition), apis.Condition{})
}

// check checks what does not depend on the situation, and the message of Ready.
func (l *look) check(t *testing.T, says string) {
	t.Helper()
	if l.Status.ObservedGeneration != l.Generation && !strings.Contains(says, "not handled yet") {
		t.Errorf("want generation %d to be observed, got %d", l.Generation, l.Status.ObservedGeneration)
	}
	for _, c := range l.Status.Conditions {
		if c.Reason == "" || c.Message == "" {
			t.Errorf("each condition needs a reason and a message, got %+v", c)
		}
	}
	ready := l.condition(model.ConditionReady)
	if !strings.Contains(ready.Message, says) {
		t.Errorf("want the message of Ready to say %q, got %q", says, ready.Message)
	}
	want := map[string]string{"Ready": string(ready.Status), "Message": ready.Message, "Synced": string(l.condition(model.ConditionSynced).Status)}
	if _, ok := l.cells["Policy"]; ok {
		want["Policy"] = string(l.condition(model.ConditionPolicyApplied).Status)
	}
	if diff := cmp.Diff(want, l.cells); diff != "" {
		t.Errorf("kubectl get: -conditions, +printed:\n%s", diff)
	}
}

// lookAt reads an object as `kubectl get` does.
func lookAt[T model.Object](name string) func(*fixture) *look {
	return func(f *fixture) *look {
		f.Helper()
		k, err := model.For[T](f.Models).Kind(f.Context())
		if err != nil {
			f.Fatal(err)
		}
		l := &look{cells: map[string]string{}}
		for _, line := range f.Events() {
			event, _, _ := strings.Cut(line, ": ")
			event, about := strings.CutSuffix(event, " "+k.GVK.Kind+"/"+name)
			if about && !slices.Contains(l.events, event) {
				l.events = append(l.events, event)
			}
		}
		table := f.table(k, name)
		if l.gone = table == nil; l.gone {
			return l
		}
		for i, c := range table.ColumnDefinitions {
			if slices.Contains([]string{"Synced", "Policy", "Ready", "Message"}, c.Name) {
				l.cells[c.Name], _ = table.Rows[0].Cells[i].(string)
			}
		}
		if err := json.Unmarshal(table.Rows[0].Object.Raw, l); err != nil {
			f.Fatal(err)
		}
		return l
	}
}

// table is nil if the object is gone.
func (f *fixture) table(k *model.Kind, name string) *metav1.Table {
	f.Helper()
	config := kubeapitest.Shared(f).Config()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		f.Fatal(err)
	}
	version := k.GVK.Version
	if f.shown != "" {
		version = f.shown
	}
	url := fmt.Sprintf("%s/apis/%s/%s/namespaces/%s/%s/%s?includeObject=Object", config.Host, k.GVK.Group, version, f.Namespace, k.Resource, name)
	req, err := http.NewRequestWithContext(f.Context(), http.MethodGet, url, nil)
	if err != nil {
		f.Fatal(err)
	}
	req.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	resp, err := client.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusNotFound {
		return nil
	}
	table := &metav1.Table{}
	if err := json.NewDecoder(resp.Body).Decode(table); err != nil || len(table.Rows) != 1 {
		f.Fatalf("want a table with one row, got %d: %v, %v", resp.StatusCode, table, err)
	}
	return table
}

// TestFinalizerPutBack has objects whose finalizers somebody has removed, as kubectl replace does.
func TestFinalizerPutBack(t *testing.T) {
	remove := func(f *fixture) { onBook(func(o metav1.Object) { o.SetFinalizers(nil) })(f) }
	tests := map[string]func(f *fixture){
		"Synced":   remove,
		"Waiting":  func(f *fixture) { move("poetry")(f); f.Settle(); f.takeCalls(); remove(f) },
		"OptedOut": func(f *fixture) { noSync(f); f.Settle(); remove(f) },
	}
	for name, do := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newAll(t)
			do(f)
			f.Settle()
			f.wantCalls("")
			want := []string{model.StepSync.Finalizer(), model.StepPolicy.Finalizer()}
			if got := steptest.Snapshot[*book](f.World, "a").Finalizers; len(got) != 2 || !slices.Contains(got, want[0]) || !slices.Contains(got, want[1]) {
				t.Errorf("want finalizers %v, got %v", want, got)
			}
			steptest.Delete[*book](f.World, "a")
			f.Settle()
			f.wantCalls("delete Dune")
		})
	}
}

// TestOwnedDependent has a book that the shelf owns, and that depends on it: the garbage collector waits until
// the shelf is gone, the shelf waits for the book.
func TestOwnedDependent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		finalizers []string
		want       string
	}{
		"Deleted":  {nil, "delete Dune, delete shelf"},
		"Orphaned": {[]string{metav1.FinalizerOrphanDependents}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newAll(t)
			s, _ := steptest.Get[*shelf](f.World, "fiction")
			onBook(func(o metav1.Object) {
				o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "library.xos-knative.dev/v1alpha1", Kind: "Shelf", Name: s.Name, UID: s.UID}})
			})(f)
			steptest.Change(f.World, "fiction", func(s *shelf) { s.Finalizers = append(s.Finalizers, tt.finalizers...) })
			steptest.Delete[*shelf](f.World, "fiction")
			f.Settle()
			f.wantCalls(tt.want)
		})
	}
}

// TestOvertaken has a run that used an older shelf than another one, of another process, that was faster. Its
// call may have reached the backend last.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	f := newAll(t)
	var labels []string
	f.sync = func(ctx context.Context, b *book) (string, error) {
		s, err := step.Dependency[*shelf](ctx)
		if err != nil {
			return "", err
		}
		if labels = append(labels, s.Spec.Label); len(labels) == 1 {
			acknowledge(f, steptest.Change(f.World, "fiction", func(s *shelf) { s.Spec.Label = "Novels" }), model.StateOK)
			acknowledge(f, b, model.StateOK)
		}
		return "", nil
	}
	retitle(f)
	f.Settle()
	if want := []string{"Fiction", "Novels"}; !slices.Equal(labels, want) {
		t.Errorf("want calls with the labels %v, got %v", want, labels)
	}
}

// TestItself has a kind that depends on itself, and an object that names itself.
func TestItself(t *testing.T) {
	t.Parallel()
	f := newAll(t)
	k := &model.Kind{GVK: steptest.Snapshot[*shelf](f.World, "fiction").Kind.GVK, Steps: []model.Step{model.StepSync},
		DependsOn: []model.DependsOn{{GroupKind: steptest.Snapshot[*shelf](f.World, "fiction").Kind.GVK.GroupKind(), Path: "metadata.name"}}}
	s, err := k.SnapshotOf(liveObject(f, f.shelf("fiction")))
	if err != nil {
		t.Fatal(err)
	}
	if s.Refs[0] != "" || s.Problem != "metadata.name: expected the name of another Shelf, got the object itself" {
		t.Errorf("want no dependency and the reason, got %q, %q", s.Refs, s.Problem)
	}
}

// TestAPIHangs has an API server that does not answer: the run ends all the same, and another one does the
// work.
func TestAPIHangs(t *testing.T) {
	t.Parallel()
	f := newAll(t)
	retitle(f)
	ends := make(chan time.Duration, 10)
	f.before = func(r *http.Request) error {
		deadline, ok := r.Context().Deadline()
		if !ok {
			return errors.New("the request has no deadline")
		}
		ends <- time.Until(deadline)
		return context.DeadlineExceeded
	}
	f.wants(wake(f, f.book("a")), 503, "", "deadline exceeded")
	close(ends)
	for got := range ends {
		if got > 30*time.Second {
			t.Errorf("want a request to end within 30 s, got %s", got)
		}
	}
	f.before = nil
	f.Settle()
	f.wantCalls("sync Emma")
}
