package step_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/step/steptest"
)

type pullFunc func(ctx context.Context, round *step.Round) error

func (f pullFunc) Pull(ctx context.Context, round *step.Round) error { return f(ctx, round) }

// answer is an answer of the function. A reply has a type, and its data as the body.
type answer struct {
	Code       int
	Type, Body string
}

// post sends an event with this data.
func post(t *testing.T, url, eventType, data string) answer {
	t.Helper()
	a := steptest.Post(t, url, steptest.Event(eventType, data))
	if a.Reply != nil {
		return answer{a.Code, a.Reply.Type(), string(a.Reply.Data())}
	}
	return answer{a.Code, "", a.Body}
}

// serve serves a function of steps that need no API.
func serve(t *testing.T, options []step.Option, steps ...step.Registration) string {
	t.Helper()
	f, err := step.New(t.Context(), nil, steps, options...)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := f.HTTP()
	if err != nil {
		t.Fatal(err)
	}
	return functiontest.Serve(t, handler)
}

func TestPull(t *testing.T) {
	record := func(round *step.Round, results ...step.PullResult) {
		for _, r := range results {
			round.Record(string(r), func() (step.PullResult, error) { return r, nil })
		}
	}
	cases := map[string]struct {
		reason    string
		pull      pullFunc
		eventType string
		code      int
		body      string // In an answer without a reply.
		counts    *step.PullCounts
	}{
		"Counts": {
			reason: "A complete round replies its counts",
			pull: func(_ context.Context, round *step.Round) error {
				record(round, step.PullCreated, step.PullUpdated, step.PullUpdated, step.PullUnchanged, step.PullDrifted, step.PullOrphaned)
				return nil
			},
			code: 200, counts: &step.PullCounts{Created: 1, Updated: 2, Unchanged: 1, Drifted: 1, Orphaned: 1},
		},
		"BadRecords": {
			reason: "An error or a panic of one record is counted, and the round goes on",
			pull: func(_ context.Context, round *step.Round) error {
				round.Record("error", func() (step.PullResult, error) { return step.PullCreated, errors.New("no") })
				round.Record("panic", func() (step.PullResult, error) { panic("no") })
				record(round, step.PullCreated)
				return nil
			},
			code: 200, counts: &step.PullCounts{Created: 1, Failed: 2},
		},
		"Incomplete": {
			reason: "An incomplete round is answered with 503 and the reason",
			pull: func(_ context.Context, round *step.Round) error {
				record(round, step.PullCreated)
				return errors.New("page 2 is missing")
			},
			code: 503, body: "the round is incomplete: page 2 is missing",
		},
		"Panic":     {reason: "After a panic the round is incomplete", pull: func(context.Context, *step.Round) error { panic("no") }, code: 503, body: "panic: no"},
		"Deadline":  {reason: "A round that takes too long is incomplete, even if it returns no error", pull: func(ctx context.Context, _ *step.Round) error { <-ctx.Done(); return nil }, code: 503, body: "did not end within 50ms"},
		"WrongType": {reason: "Events of other types are refused", eventType: "dev.xos-knative.model.created", code: 422, body: `type: expected dev.knative.sources.ping, got "dev.xos-knative.model.created"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			deadline := time.Minute
			if name == "Deadline" {
				deadline = 50 * time.Millisecond
			}
			url := serve(t, []step.Option{step.WithDeadline(deadline)}, step.Pull(tc.pull))
			if tc.eventType == "" {
				tc.eventType = step.EventPing
			}
			got := post(t, url, tc.eventType, "")
			if got.Code != tc.code || !strings.Contains(got.Body, tc.body) {
				t.Fatalf("%s: want %d %q, got %+v", tc.reason, tc.code, tc.body, got)
			}
			if tc.counts == nil {
				return
			}
			counts := &step.PullCounts{}
			if err := json.Unmarshal([]byte(got.Body), counts); err != nil || got.Type != step.EventPullCompleted {
				t.Fatalf("%s: want a reply of type %s, got %+v (%v)", tc.reason, step.EventPullCompleted, got, err)
			}
			if diff := cmp.Diff(tc.counts, counts, cmpopts.IgnoreFields(step.PullCounts{}, "Seconds")); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestPullOneRoundAtATime(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	url := serve(t, nil, step.Pull(pullFunc(func(_ context.Context, round *step.Round) error {
		entered <- struct{}{}
		<-leave
		return nil
	})))

	first := make(chan answer)
	go func() { first <- post(t, url, step.EventPing, "") }()
	<-entered
	if diff := cmp.Diff(answer{Code: 200}, post(t, url, step.EventPing, "")); diff != "" {
		t.Errorf("a tick during a round is skipped at once: -want +got:\n%s", diff)
	}
	leave <- struct{}{}
	if got := <-first; got.Type != step.EventPullCompleted {
		t.Errorf("the round under way is completed: got %+v", got)
	}

	// If the sender hangs up the round goes on, and there is still one round at a time.
	impatient, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		req, err := cloudevents.NewHTTPRequestFromEvent(impatient, url, steptest.Event(step.EventPing, nil))
		if err != nil {
			t.Error(err)
			return
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-entered
	cancel()
	<-gone
	if diff := cmp.Diff(answer{Code: 200}, post(t, url, step.EventPing, "")); diff != "" {
		t.Errorf("the round outlives its request: -want +got:\n%s", diff)
	}
	leave <- struct{}{}
}
