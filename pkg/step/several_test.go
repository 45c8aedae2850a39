package step_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// several is one event for the books.
func several(f *fixture, books ...*book) cloudevents.Event {
	f.Helper()
	var wakes []model.Wake
	for _, b := range books {
		wakes = append(wakes, model.Wake{Object: live(f, b), Attempt: 1})
	}
	return model.WakeEvent(model.StepSync, now, wakes[0], wakes[1:]...)
}

// TestSeveral checks that one event for several objects is handled for each as if it had come alone.
func TestSeveral(t *testing.T) {
	t.Parallel()
	f, first := newBook(t)
	books := []*book{first, save(f, f.book("b")), save(f, f.book("fails")), save(f, f.book("gone"))}
	event := several(f, books...)
	remove(f, books[3])

	// All are called before one of them returns.
	var all sync.WaitGroup
	all.Add(3)
	f.sync = func(_ context.Context, b *book) (string, error) {
		all.Done()
		all.Wait()
		if b.Name == "fails" {
			return "", errors.New("no paper")
		}
		return "", nil
	}
	f.wants(f.post(event), 200, "")
	for _, b := range books[:2] {
		wantStatus(f, b, model.StateOK)
	}
	wantStatus(f, books[2], model.StateFailed, "no paper")

	f.takeCalls()
	f.wants(f.post(event), 200, "")
	f.wantCalls("") // What is acknowledged, or waits for its next attempt, is not due.
}

// TestSeveralComeAgain has the API refuse one of several outcomes: the event comes again, and only that step runs again.
func TestSeveralComeAgain(t *testing.T) {
	t.Parallel()
	f, first := newBook(t)
	second := save(f, f.book("b"))
	event := several(f, first, second)
	f.Intercept(func(r *http.Request) error {
		if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/books/b/status") {
			return errors.New("etcd is away")
		}
		return nil
	})
	f.wants(f.post(event), 503, "", "etcd is away")
	f.Intercept(nil)
	wantStatus(f, first, model.StateOK)
	if s := live(f, second).Status.Step(model.StepSync); s != nil {
		t.Errorf("expected no outcome, got %+v", s)
	}
	f.takeCalls()
	f.wants(f.post(event), 200, "")
	f.wantCalls("sync Dune")
	wantStatus(f, second, model.StateOK)
}

// TestSeveralRefused checks that nothing is done if one of the objects cannot be meant.
func TestSeveralRefused(t *testing.T) {
	t.Parallel()
	f, first := newBook(t)
	event := several(f, first, save(f, f.book("b")))
	event.DataEncoded = []byte(strings.Replace(string(event.Data()), `"kind":"Book"`, `"kind":"Cook"`, 1))
	f.wants(f.post(event), 422, "", "data.kind", "Cook")
	f.wantCalls("")
}
