package step_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// crowd is how many books there are, and maxBytes what a round may keep of each.
const crowd, maxBytes = 10_000, 300

// copies is an API that has many copies of one book, and otherwise what the real one has.
type copies struct {
	http.RoundTripper
	// book is one of them as JSON, with the UID crowdUID(0) and the name crowdName(0).
	book string
}

func crowdUID(i int) string  { return fmt.Sprintf("%08x-7c5e-4f5a-9d3e-2b1f0c9a8d7e", i) }
func crowdName(i int) string { return fmt.Sprintf("book-%08d-of-the-library", i) }

func (c copies) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/books") {
		return c.RoundTripper.RoundTrip(r)
	}
	start, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil {
		return nil, fmt.Errorf("expected a list by pages, got %s", r.URL)
	}
	end, next := min(start+limit, crowd), ""
	if end < crowd {
		next = strconv.Itoa(end)
	}
	items := make([]string, 0, limit)
	for i := start; i < end; i++ {
		items = append(items, strings.NewReplacer(crowdUID(0), crowdUID(i), crowdName(0), crowdName(i)).Replace(c.book))
	}
	body := fmt.Sprintf(`{"apiVersion":%q,"kind":"BookList","metadata":{"continue":%q},"items":[%s]}`, v1alpha1.GroupVersion, next, strings.Join(items, ","))
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// heap is what is in use after a collection. The second one frees what finalizers and pools have held.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMemory measures what a round keeps of a model that has feedback: the heap when all models are read,
// less the heap after the round. Whatever else the process does in between counts too, so there are up to
// three rounds.
func TestMemory(t *testing.T) {
	c := newCatalogue(t)
	c.observe(func(b *book) {
		b.Status.Observed = v1alpha1.BookObserved{Place: "desk in the hall", Lent: 12, Condition: "worn"}
	})
	c.Settle()
	template := liveObject(c.fixture, c.fixture.book("a"))
	template.SetUID(types.UID(crowdUID(0)))
	template.SetName(crowdName(0))
	raw, err := json.Marshal(template)
	if err != nil {
		t.Fatal(err)
	}
	config := kubeapitest.Shared(t).Config()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return copies{next, string(raw)} })
	models, err := model.NewClient(config, v1alpha1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	var full int64
	comparison := c.comparison()
	comparison.Items = func(context.Context) iter.Seq2[volume, error] {
		full = heap()
		return func(yield func(volume, error) bool) {
			for i := range crowd {
				if !yield(volume{uid: crowdUID(i), title: "Dune", shelf: "Fiction", place: "desk in the hall"}, nil) {
					return
				}
			}
		}
	}
	f, err := step.New(t.Context(), models, []step.Registration{step.Compare(comparison)}, step.WithClock(c.Clock))
	if err != nil {
		t.Fatal(err)
	}
	best := int64(1 << 62)
	for i := 0; i < 3 && (best > maxBytes || best < 50); i++ {
		reply, result := f.Handle(t.Context(), steptest.Event(step.EventPing, nil))
		var got step.PullCounts
		if result != nil || reply.DataAs(&got) != nil {
			t.Fatalf("want a complete round, got %v", result)
		}
		if diff := cmp.Diff(step.PullCounts{Unchanged: crowd}, got, cmpopts.IgnoreFields(step.PullCounts{}, "Seconds")); diff != "" {
			t.Fatalf("all books are as they must be: -want +got:\n%s", diff)
		}
		best = (full - heap()) / crowd
	}
	t.Logf("a round keeps %d bytes of each model", best)
	if best > maxBytes || best < 50 {
		t.Errorf("a round keeps at most %d bytes of each model: got %d", maxBytes, best)
	}
}
