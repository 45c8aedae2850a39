package steptest_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// labels is a backend that prints the labels of shelves.
type labels struct {
	*steptest.Backend

	// mu protects following.
	mu      sync.Mutex
	printed map[string]string
	n       int
}

func newLabels(t *testing.T) *labels {
	l := &labels{Backend: steptest.NewBackend(t), printed: map[string]string{}}
	l.Do(func(w http.ResponseWriter, r *http.Request) {
		label, _ := io.ReadAll(r.Body)
		l.mu.Lock()
		defer l.mu.Unlock()
		switch r.Method {
		case http.MethodPost:
			l.n++
			l.printed[fmt.Sprintf("%s#%d", r.URL.Path, l.n)] = string(label)
		case http.MethodPut:
			l.printed[r.URL.Path] = string(label)
		case http.MethodDelete:
			delete(l.printed, r.URL.Path)
		}
	})
	return l
}

// printing is a sync that prints labels. It can be wrong: it can print each time another one, and not take them away.
type printing struct {
	backend *labels
	method  string
	keeps   bool
}

func (p printing) Sync(ctx context.Context, s *v1alpha1.Shelf) (string, error) {
	return "", p.call(ctx, p.method, s)
}

func (p printing) Delete(ctx context.Context, s *v1alpha1.Shelf) error {
	if p.keeps {
		return nil
	}
	return p.call(ctx, http.MethodDelete, s)
}

func (p printing) call(ctx context.Context, method string, s *v1alpha1.Shelf) error {
	r, err := http.NewRequestWithContext(ctx, method, p.backend.URL+"/"+string(s.UID), strings.NewReader(s.Spec.Label))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the printer answered %s", resp.Status)
	}
	return nil
}

// failing is a test that is to fail.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// chaos runs a synchronizer under faults, and returns what is wrong with it.
func chaos(t *testing.T, p printing, seed uint64) string {
	t.Helper()
	w := steptest.NewWith(t, []step.Option{step.WithDeadline(500 * time.Millisecond)}, step.Of(step.Sync(p)), v1alpha1.AddToScheme)
	f := &failing{TB: t}
	users := *w
	w.TB = f
	ended := make(chan bool)
	go func() {
		defer close(ended)
		w.Chaos(steptest.Chaos{Seed: seed, Rounds: 30, Backend: p.backend.Backend, Slow: true,
			Change: func(r *rand.Rand) { change(&users, r) },
			Check: func() error {
				want := map[string]string{}
				for _, s := range steptest.List[*v1alpha1.Shelf](&users) {
					want["/"+string(s.UID)] = s.Spec.Label
				}
				p.backend.mu.Lock()
				defer p.backend.mu.Unlock()
				if diff := cmp.Diff(want, p.backend.printed); diff != "" {
					return fmt.Errorf("labels, -declared, +printed:\n%s", diff)
				}
				return nil
			}})
	}()
	<-ended
	return f.message
}

// change makes, changes or deletes one of five shelves.
func change(w *steptest.World, r *rand.Rand) {
	name, label := fmt.Sprintf("shelf-%d", r.IntN(5)), fmt.Sprintf("label-%d", r.IntN(1000))
	s, there := steptest.Get[*v1alpha1.Shelf](w, name)
	switch {
	case !there:
		steptest.Given(w, &v1alpha1.Shelf{ObjectMeta: steptest.Meta(name), Spec: v1alpha1.ShelfSpec{Label: label}})
	case s.DeletionTimestamp != nil:
	case r.IntN(3) == 0:
		steptest.Delete[*v1alpha1.Shelf](w, name)
	default:
		steptest.Change(w, name, func(s *v1alpha1.Shelf) { s.Spec.Label = label })
	}
}

func TestChaos(t *testing.T) {
	for name, tt := range map[string]struct {
		step printing
		want string
	}{
		"Right":     {printing{method: http.MethodPut}, ""},
		"PrintsTwo": {printing{method: http.MethodPost}, "labels, -declared, +printed"},
		"Keeps":     {printing{method: http.MethodPut, keeps: true}, "labels, -declared, +printed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.step.backend = newLabels(t)
			message := chaos(t, tt.step, 7)
			if (message == "") != (tt.want == "") || !strings.Contains(message, tt.want) {
				t.Errorf("want %q, got %s", tt.want, message)
			}
			if message != "" && (!strings.Contains(message, "Seed: 7") || !strings.Contains(message, "crash before") && !strings.Contains(message, "lost: ")) {
				t.Errorf("a failure tells the seed and what has happened, got %s", message)
			}
		})
	}
}
