package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"knative.dev/pkg/apis"

	"github.com/xos-knative/synchronizer/functions/deadletter/envelope"
	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

// api counts the function's requests about letters, and can do something before each.
type api struct {
	// mu protects following.
	mu       sync.Mutex
	requests []string
	before   func(*http.Request)
}

func (a *api) observe(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.URL.Path, "/deadletters") {
		return nil, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.before != nil {
		a.before(r)
	}
	_, metadata, _ := strings.Cut(r.Header.Get("Accept"), "as=")
	as, _, _ := strings.Cut(metadata, ";")
	what := r.Method
	if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/deadletters") {
		what = "LIST " + as
	}
	a.requests = append(a.requests, what)
	return nil, nil
}

// take returns how many requests of each kind there were since the last time.
func (a *api) take() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	counts := map[string]int{}
	for _, r := range a.requests {
		counts[r]++
	}
	a.requests = nil
	return counts
}

func observed(t *testing.T, env ...string) (*world, *api) {
	config := functionConfig(t)
	a := &api{}
	config.Wrap(instead(a.observe))
	return newWorldOn(t, config, env...), a
}

func (w *world) numbered(i int, change ...func(*cloudevents.Event)) cloudevents.Event {
	return w.event(append(change, func(e *cloudevents.Event) { e.SetID(fmt.Sprint(i)) })...)
}

// TestOneWrite is about what a letter costs before a human looks at it.
func TestOneWrite(t *testing.T) {
	w, api := observed(t)
	letter := w.stored(w.event())
	if s := letter.Status.Sync; s == nil || s.Generation != letter.Generation || s.State != model.StateOK || !letter.Status.GetCondition(apis.ConditionReady).IsTrue() || len(letter.Finalizers) > 0 {
		t.Errorf("a new letter is synced and ready: got %+v", letter)
	}
	if v := model.Due(model.StepSync, steptest.Snapshot[*v1alpha1.DeadLetter](w.World, letter.Name), model.Neighbours{}, time.Now()); v.Due() {
		t.Errorf("and wakes no step: got %+v", v)
	}
	w.stored(w.event())
	if got := api.take(); got["POST"] != 1 || got["PATCH"]+got["PUT"]+got["DELETE"] != 0 {
		t.Errorf("want one write for an event, also if it comes twice, got %v", got)
	}
	_, err := model.For[*v1alpha1.DeadLetter](w.Models).Create(t.Context(), &v1alpha1.DeadLetter{
		ObjectMeta: steptest.Meta("replayed"), Spec: v1alpha1.DeadLetterSpec{Event: letter.Spec.Event, Replay: true}})
	if err == nil {
		t.Error("a new letter that asks for a replay would never be due")
	}
}

// TestFewLists stores many more letters than are kept.
func TestFewLists(t *testing.T) {
	w, api := observed(t, "MAX_DEAD_LETTERS=20")
	for i := range 60 {
		w.stored(w.numbered(i))
	}
	if n := len(steptest.List[*v1alpha1.DeadLetter](w.World)); n < 18 || n > 20 {
		t.Errorf("want at most 20 letters, and not many fewer, got %d", n)
	}
	got := api.take()
	if n := got["LIST PartialObjectMetadataList"]; n == 0 || n > 30 || got["LIST "] != 0 {
		t.Errorf("want metadata listed now and then, got %v", got)
	}
}

// TestBytes stores few letters, but large ones.
func TestBytes(t *testing.T) {
	w := newWorld(t, "MAX_DEAD_LETTER_BYTES=3000000")
	for i := range 6 {
		w.stored(w.numbered(i, data("application/octet-stream", make([]byte, 700<<10))))
	}
	left := steptest.List[*v1alpha1.DeadLetter](w.World)
	newest := envelope.Of(w.numbered(5)).Name
	if n := len(left); n < 2 || n > 3 || w.get(newest) == nil {
		t.Errorf("want no more letters than have 3,000,000 bytes, and the newest: got %d", n)
	}
}

// TestPace stores more than may be written in a while.
func TestPace(t *testing.T) {
	w := newWorld(t, "DEAD_LETTER_BYTES_PER_SECOND=1")
	large := data("application/octet-stream", make([]byte, 700<<10))
	for i := range 2 {
		w.give(w.numbered(i, large)) // On a slow machine one may fail; it counts all the same.
	}
	a := w.give(w.numbered(2, large))
	if a.Code != http.StatusServiceUnavailable || !strings.Contains(a.Body, "namespace "+w.Namespace+": expected at most 1 bytes of dead letters a second") {
		t.Errorf("what comes too fast has to come again: got %+v", a)
	}
	if n := len(steptest.List[*v1alpha1.DeadLetter](w.World)); n > 2 {
		t.Errorf("and is not written: got %d letters", n)
	}
}

// TestSenderHangsUp has the sender go when the letter is about to be stored.
func TestSenderHangsUp(t *testing.T) {
	w, api := observed(t)
	ctx, hangUp := context.WithCancel(t.Context())
	stored := make(chan struct{})
	api.before = func(r *http.Request) {
		if r.Method == http.MethodPost {
			hangUp()
			<-(<-w.requests).Done() // The function knows.
			close(stored)
		}
	}
	event := w.event()
	req, err := cloudevents.NewHTTPRequestFromEvent(ctx, w.URL+"/letters/"+w.Namespace, event)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		t.Fatalf("the sender is gone, and got %d", resp.StatusCode)
	}
	<-stored
	w.until("the letter is there all the same", func() bool { return w.get(envelope.Of(event).Name) != nil })
}

// TestCorrectedMeanwhile has a human correct a letter while the same event comes again.
func TestCorrectedMeanwhile(t *testing.T) {
	w, api := observed(t)
	letter := w.stored(w.event())
	api.before = func(r *http.Request) {
		if r.Method == http.MethodPatch {
			api.before = nil
			w.change(letter.Name, func(l *v1alpha1.DeadLetter) { l.Spec.Event.Type, l.Spec.Replay = "corrected", true })
		}
	}
	got := w.stored(w.event(func(e *cloudevents.Event) { e.SetExtension(envelope.ExtensionCode, 503) }))
	if s := got.Spec; s.Event.Type != "corrected" || !s.Replay || s.Code != 503 {
		t.Errorf("want the correction and the newest reason, got %+v", s)
	}
}
