package step_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// wantEvents checks all Kubernetes Events in the namespace.
func (f *fixture) wantEvents(reason string, want ...string) {
	f.Helper()
	if diff := cmp.Diff(want, f.Events()); diff != "" {
		f.Errorf("%s: -want, +got:\n%s", reason, diff)
	}
}

// fails makes the steps of books return an error, nil for none.
func (f *fixture) fails(err error) {
	f.sync = func(context.Context, *book) (string, error) { return "", err }
	f.clean = func(context.Context, *book) error { return err }
}

var errDown = errors.New("the library is closed")

func TestEvents(t *testing.T) {
	t.Parallel()
	const failed = "Warning Failed Book/a: the library is closed"
	tests := map[string]struct {
		reason string
		given  func(*fixture)
		want   []string
	}{
		"Failed": {
			reason: "A failure is news once, however often it is tried again with the same result.",
			given: func(f *fixture) {
				f.fails(errDown)
				for range 4 {
					f.Settle()
					f.After(time.Minute)
				}
			},
			want: []string{failed},
		},
		"Other": {
			reason: "Another error is news.",
			given: func(f *fixture) {
				f.fails(errDown)
				f.Settle()
				f.fails(errors.New("no room"))
				f.After(time.Minute)
				f.Settle()
			},
			want: []string{failed, "Warning Failed Book/a: the library is closed // no room"},
		},
		"Synced": {
			reason: "So is a success after a failure, also if the step was deferred in between; not what comes after it.",
			given: func(f *fixture) {
				for _, err := range []error{errDown, step.Deferred("soon"), nil, nil} {
					f.fails(err)
					f.Settle()
					f.After(time.Minute)
				}
				save(f, changed(f, f.book("a"), func(o *book) { o.Spec.Title = "Emma" }))
				f.Settle()
			},
			want: []string{failed, "Normal Synced Book/a: OK"},
		},
		"Permanent": {
			reason: "A failure that is not tried again is told apart.",
			given: func(f *fixture) {
				f.fails(step.Permanent(errDown))
				f.Settle()
			},
			want: []string{"Warning FailedPermanently Book/a: the library is closed"},
		},
		"Again": {
			reason: "An event that comes again is counted.",
			given: func(f *fixture) {
				for _, err := range []error{errDown, nil, errDown} {
					f.fails(err)
					save(f, changed(f, f.book("a"), func(o *book) { o.Spec.Title += "." }))
					f.Settle()
					f.Events() // So that it is written before it comes again.
				}
			},
			want: []string{failed + " (x2)", "Normal Synced Book/a: OK"},
		},
		"Waiting": {
			reason: "A step that waits says for whom; when it goes on nobody needs to be told.",
			given: func(f *fixture) {
				save(f, changed(f, f.book("a"), func(o *book) { o.Spec.Shelf.Name = "poems" }))
				f.Settle()
				save(f, f.shelf("poems"))
				wake(f, f.shelf("poems"))
				f.Settle()
			},
			want: []string{"Normal Waiting Book/a: waiting for Shelf poems, which does not exist"},
		},
		"CleanedUp": {
			reason: "A clean-up is told if it has failed before.",
			given: func(f *fixture) {
				f.Settle()
				f.fails(errDown)
				remove(f, f.book("a"))
				f.Settle()
				f.fails(nil)
				f.After(time.Minute)
				f.Settle()
			},
			want: []string{failed, "Normal CleanedUp Book/a: OK"},
		},
		"WaitedAndCleanedUp": {
			reason: "Or has waited.",
			given: func(f *fixture) {
				save(f, f.shelf("poems"))
				f.Settle()
				save(f, changed(f, f.book("a"), func(o *book) { o.Spec.Shelf.Name = "poems" }))
				f.Settle()
				remove(f, f.shelf("poems"))
				wake(f, f.shelf("poems"))
				remove(f, f.book("a"))
				f.Settle()
			},
			want: []string{"Normal Waiting Shelf/poems: waiting for Book a, which still depends on it, to be deleted", "Normal CleanedUp Shelf/poems: OK"},
		},
		"FailedBefore": {
			reason: "A clean-up that succeeds at once is no news, also if the sync had failed.",
			given: func(f *fixture) {
				f.fails(errDown)
				f.Settle()
				f.fails(nil)
				remove(f, f.book("a"))
				f.Settle()
			},
			want: []string{failed},
		},
		"Finalizer": {
			reason: "A finalizer that somebody has removed is put back, also together with a change.",
			given: func(f *fixture) {
				f.Settle()
				f.loseFinalizer(f.book("a"))
				f.Settle()
				f.loseFinalizer(changed(f, f.book("a"), func(o *book) { o.Spec.Title = "Emma" }))
				f.Settle()
				f.Events()
			},
			want: []string{"Normal FinalizerRestored Book/a: finalizer synchronizer.xos-knative.dev/sync had been removed (x2)"},
		},
		"Author": {
			reason: "A step can record what it likes.",
			given: func(f *fixture) {
				f.sync = func(ctx context.Context, obj *book) (string, error) {
					step.Event(ctx, obj, "Shelved", "%s is on %s", obj.Spec.Title, obj.Spec.Shelf.Name)
					return "", nil
				}
				f.Settle()
			},
			want: []string{"Normal Shelved Book/a: Dune is on fiction"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := newBook(t)
			tt.given(f)
			f.wantEvents(tt.reason, tt.want...)
		})
	}
}

// loseFinalizer stores an object without finalizers, as kubectl replace does.
func (f *fixture) loseFinalizer(obj *book) {
	f.Helper()
	there, _ := steptest.Get[*book](f.World, obj.Name)
	there.Spec, there.Finalizers = obj.Spec, nil
	save(f, there)
}

func TestPolicyEvents(t *testing.T) {
	t.Parallel()
	err := errDown
	f := newPolicy(t, step.PolicyFuncs[*book]{OnCreate: func(context.Context, *book) error { return err }})
	save(f, f.book("a"))
	f.Settle()
	err = nil
	f.After(time.Minute)
	f.Settle()
	f.wantEvents("policies make events, too", "Warning Failed Book/a: the library is closed", "Normal PolicyApplied Book/a: OK")
}

func TestNoEvents(t *testing.T) {
	t.Parallel()
	f := newSync(t)
	f.synced("fiction")
	name := func(i int) string { return fmt.Sprintf("book-%d", i) }
	for i := range 30 {
		save(f, f.book(name(i)))
	}
	f.Settle()
	for i := range 30 {
		save(f, changed(f, f.book(name(i)), func(o *book) { o.Spec.Title = "Emma" }))
	}
	f.Settle()
	for i := range 30 {
		remove(f, f.book(name(i)))
	}
	f.Settle()
	f.wantEvents("books that are made, changed and deleted without a failure make no events")
}

// startThrough starts a function whose requests about events end at answer, and returns its log.
func (f *fixture) startThrough(answer func(*http.Request) error) *observer.ObservedLogs {
	f.Helper()
	config := kubeapitest.Shared(f).Config()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return eventsTo{next, answer} })
	models, err := model.NewClient(config, v1alpha1.AddToScheme)
	if err != nil {
		f.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	ctx := logging.WithLogger(f.Context(), zap.New(core).Sugar())
	if f.Function, err = step.New(ctx, models, []step.Registration{step.Sync(f)}, step.WithClock(f.Clock)); err != nil {
		f.Fatal(err)
	}
	handler, err := f.Function.HTTP()
	if err != nil {
		f.Fatal(err)
	}
	f.URL = functiontest.Serve(f, handler)
	return logs
}

type eventsTo struct {
	http.RoundTripper
	answer func(*http.Request) error
}

func (e eventsTo) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/apis/events.k8s.io/") {
		return nil, e.answer(r)
	}
	return e.RoundTripper.RoundTrip(r)
}

// TestEventsCannotBeWritten runs steps whose events nobody takes.
func TestEventsCannotBeWritten(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		answer func(*http.Request) error
		says   string
	}{
		"Refused": {
			reason: "Without the right to write them the steps run, and the log says once why there are none.",
			answer: func(*http.Request) error {
				return apierrors.NewForbidden(schema.GroupResource{Group: "events.k8s.io", Resource: "events"}, "", errors.New("no role allows it"))
			},
			says: "no role allows it",
		},
		"Hanging": {
			reason: "If the API does not answer about events, neither the steps nor the end of the function wait for it.",
			answer: func(r *http.Request) error {
				<-r.Context().Done()
				return r.Context().Err()
			},
			says: context.DeadlineExceeded.Error(),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			logs := f.startThrough(tt.answer)
			f.synced("fiction")
			f.fails(errDown)
			for _, name := range []string{"a", "b", "c"} {
				save(f, f.book(name))
			}
			f.Settle()
			wantStatus(f, f.book("c"), model.StateFailed, errDown.Error())
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			f.Function.Drain(ctx)
			if got := logs.FilterMessageSnippet("Kubernetes Event").All(); len(got) != 1 || !strings.Contains(fmt.Sprint(got[0].ContextMap()["error"]), tt.says) {
				t.Errorf("%s: got the log %v", tt.reason, got)
			}
		})
	}
}

// childMode in the environment makes the test binary a function of shelves. Its sync calls the backend of
// this URL.
const childMode = "STEP_TEST_CHILD"

// many is more than is written while the step runs.
const many = 150

func child(context.Context, *model.Client) ([]step.Registration, error) {
	return []step.Registration{step.Sync(recording{os.Getenv(childMode)})}, nil
}

// recording calls the backend, and records many events if there is none at the URL.
type recording struct{ url string }

func (r recording) Sync(ctx context.Context, obj *shelf) (string, error) {
	for i := 0; r.url == noBackend && i < many; i++ {
		step.Event(ctx, obj, "Counted", "%d", i)
	}
	if r.url == noBackend {
		return "", nil
	}
	resp, err := http.Post(r.url+"/"+obj.Spec.Label, "", nil)
	if err == nil {
		err = resp.Body.Close()
	}
	return "", err
}

const noBackend = "none"

// pod is a function in a process of its own.
type pod struct {
	*exec.Cmd
	url string
	out io.Reader
}

// startPod starts a pod whose sync calls the backend.
func startPod(t *testing.T, backend string) *pod {
	t.Helper()
	p := &pod{Cmd: exec.CommandContext(t.Context(), os.Args[0])}
	p.Env = append(os.Environ(), childMode+"="+backend, "LISTEN_ADDRESS=127.0.0.1", "PORT=0")
	out, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	var line struct{ Address string }
	for lines := bufio.NewScanner(out); line.Address == "" && lines.Scan(); {
		_ = json.Unmarshal(lines.Bytes(), &line) // Lines of other programs have no address.
	}
	p.url, p.out = "http://"+line.Address, out
	return p
}

// end tells the pod to end. It returns what it has logged.
func (p *pod) end(t *testing.T) string {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	log, _ := io.ReadAll(p.out)
	if err := p.Wait(); err != nil {
		t.Errorf("want a clean end, got %v\n%s", err, log)
	}
	return string(log)
}

// TestTwoPods has a run in one pod that hangs in the backend while another pod does the same step for a newer
// object. What the first one then brings there is older; the newest must win.
func TestTwoPods(t *testing.T) {
	f := newFixture(t)
	kubeapitest.LeadTo(t, kubeapitest.Shared(t))
	began, release := make(chan struct{}), make(chan struct{})
	labels := make(chan string, 10)
	backend := steptest.NewBackend(t)
	backend.Do(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/Fiction" {
			close(began)
			<-release
		}
		labels <- r.URL.Path
	})
	one, two := startPod(t, backend.URL), startPod(t, backend.URL)
	save(f, f.shelf("fiction"))
	wake := live(f, f.shelf("fiction")).WakeEvent(model.StepSync, 1, now)
	answered := make(chan steptest.Answer)
	go func() { answered <- steptest.Post(t, one.url, wake) }()
	<-began
	relabel := steptest.Change(f.World, "fiction", func(s *shelf) { s.Spec.Label = "Novels" })
	f.wants(steptest.Post(t, two.url, live(f, f.shelf("fiction")).WakeEvent(model.StepSync, 1, now)), http.StatusOK, "")
	close(release)
	if a := <-answered; a.Code != http.StatusOK {
		t.Errorf("want 200, got %d: %s", a.Code, a.Body)
	}
	for _, want := range []string{"/Novels", "/Fiction", "/Novels"} {
		if got := <-labels; got != want {
			t.Errorf("want the backend to get %s, got %s", want, got)
		}
	}
	if s := steptest.Snapshot[*shelf](f.World, "fiction").Status.Sync; s.State != model.StateOK || s.Generation != relabel.Generation {
		t.Errorf("want generation %d to be synced, got %+v", relabel.Generation, s)
	}
	one.end(t)
	two.end(t)
}

// TestEventsSurvive ends a function right after it has answered.
func TestEventsSurvive(t *testing.T) {
	f := newFixture(t)
	kubeapitest.LeadTo(t, kubeapitest.Shared(t))
	p := startPod(t, noBackend)
	save(f, f.shelf("fiction"))
	f.wants(steptest.Post(t, p.url, live(f, f.shelf("fiction")).WakeEvent(model.StepSync, 1, now)), http.StatusOK, "")
	log := p.end(t)
	if got := len(f.Events()); got != many {
		t.Errorf("want %d events after the end of the function, got %d\n%s", many, got, log)
	}
}
