package steptest_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// ShelfSyncer writes the labels of shelves into a micro-service.
type ShelfSyncer struct{ URL string }

func (s ShelfSyncer) Sync(ctx context.Context, shelf *v1alpha1.Shelf) (string, error) {
	body := strings.NewReader(fmt.Sprintf(`{"label":%q,"generation":%d}`, shelf.Spec.Label, shelf.Generation))
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.URL+"/shelves/"+shelf.Name, body)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the micro-service answered %s", resp.Status)
	}
	return shelf.Name, nil
}

// steps are what the function's main hands to step.Main.
func steps(context.Context, *model.Client) ([]step.Registration, error) {
	return []step.Registration{step.Sync(ShelfSyncer{URL: os.Getenv("BACKEND_URL")})}, nil
}

func TestMain(m *testing.M) { steptest.Main(m, "../../testdata/library/config/crds") }

func TestShelf(t *testing.T) {
	backend := steptest.NewBackend(t)
	t.Setenv("BACKEND_URL", backend.URL)
	w := steptest.New(t, steps, v1alpha1.AddToScheme)

	steptest.Given(w, &v1alpha1.Shelf{ObjectMeta: steptest.Meta("a"), Spec: v1alpha1.ShelfSpec{Label: "Novels"}})
	w.Settle()
	if diff := cmp.Diff([]string{`PUT /shelves/a {"label":"Novels","generation":1}`}, backend.Calls()); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}

	backend.Answer(http.StatusServiceUnavailable, "")
	steptest.Change(w, "a", func(s *v1alpha1.Shelf) { s.Spec.Label = "Poems" })
	w.Settle()
	shelf, _ := steptest.Get[*v1alpha1.Shelf](w, "a")
	if got := shelf.Status.Sync; got.State != model.StateFailed || got.Message != "the micro-service answered 503 Service Unavailable" {
		t.Errorf("a failure is in the status: got %+v", got)
	}

	backend.Answer(http.StatusOK, "")
	w.After(2 * step.FailedInterval) // When the next attempt is due.
	w.Settle()
	if shelf, _ = steptest.Get[*v1alpha1.Shelf](w, "a"); shelf.Status.Sync.State != model.StateOK {
		t.Errorf("it is tried again: got %+v", shelf.Status.Sync)
	}
}

// Example shows the whole file: a step, how the function makes it, and its test.
func Example() {}
