package outbox_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/util/wait"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/greetertest"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/outbox"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/store"
	"github.com/xos-knative/synchronizer/pkg/function"
)

// sink records what it accepts.
type sink struct {
	URL string

	// mu protects following.
	mu sync.Mutex
	// refuse, if set, returns the status to refuse an event with, 0 to accept it.
	refuse   func(data api.Request) int
	accepted []cloudevents.Event
	refused  int
}

func startSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event, err := cloudevents.NewEventFromHTTPRequest(r)
		data := api.Request{}
		if err == nil {
			err = event.DataAs(&data)
		}
		if err != nil {
			t.Errorf("expected a CloudEvent: %v", err)
			return
		}

		s.mu.Lock()
		defer s.mu.Unlock()
		if s.refuse != nil {
			if status := s.refuse(data); status != 0 {
				s.refused++
				w.Header().Set("Location", "/elsewhere")
				http.Error(w, "not now", status)
				return
			}
		}
		s.accepted = append(s.accepted, *event)
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(srv.Close)
	s.URL = srv.URL
	return s
}

func (s *sink) take(event cloudevents.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted = append(s.accepted, event)
}

func (s *sink) refusing(f func(api.Request) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

// state returns what was accepted so far, each as "name to", and the number of refusals.
func (s *sink) state(t *testing.T) (accepted []string, refused int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.accepted {
		data := api.Request{}
		if err := e.DataAs(&data); err != nil {
			t.Error(err)
		}
		accepted = append(accepted, data.Name+" "+data.HelloTo)
	}
	return accepted, s.refused
}

func accept(t *testing.T, s *store.Store, name, to string) (api.Greeting, store.Entry) {
	t.Helper()
	g, e, err := s.Accept(api.Request{Name: name, HelloTo: to})
	if err != nil {
		t.Fatal(err)
	}
	return g, e
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 30*time.Second, true,
		func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func config(url string) outbox.Config {
	return outbox.Config{Sink: function.SinkSettings{URL: url}, Source: "/greeter", Workers: 8, Timeout: 10 * time.Second}
}

// run runs a publisher until stop is called or the test ends.
func run(t *testing.T, s *store.Store, c outbox.Config) (p *outbox.Publisher, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(logging.WithLogger(t.Context(), zap.NewNop().Sugar()))
	p, err := outbox.New(ctx, s, c)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(stop)
	return p, stop
}

func pending(t *testing.T, s *store.Store) int {
	t.Helper()
	status, err := s.OutboxStatus()
	if err != nil {
		t.Fatal(err)
	}
	return status.Pending
}

func TestEvent(t *testing.T) {
	type request struct {
		Method string
		Header http.Header
		Body   string
	}
	got := make(chan request, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		header := http.Header{}
		for name, v := range r.Header {
			if strings.HasPrefix(name, "Ce-") || name == "Content-Type" {
				header[name] = v
			}
		}
		got <- request{r.Method, header, string(body)}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(srv.Close)

	s := greetertest.OpenStore(t)
	c := config(srv.URL)
	c.Sink.Overrides.Extensions = map[string]string{"cluster": "north", "tier": "1"}
	p, _ := run(t, s, c)
	g, e := accept(t, s, "Greeting of Arya", "Arya")
	p.Notify(e.Line())

	want := request{
		Method: "POST",
		Header: http.Header{
			"Content-Type":    {"application/json"},
			"Ce-Specversion":  {"1.0"},
			"Ce-Type":         {"dev.xos-knative.helloworld.greeting.requested"},
			"Ce-Source":       {"/greeter"},
			"Ce-Id":           {g.ID + "/1"},
			"Ce-Subject":      {g.ID},
			"Ce-Time":         {g.CreatedAt.Format(time.RFC3339Nano)},
			"Ce-Partitionkey": {fmt.Sprintf("%x", sha256.Sum256([]byte("Greeting of Arya")))}, // The same for all events of this name.
			"Ce-Cluster":      {"north"},
			"Ce-Tier":         {"1"},
		},
		Body: `{"name":"Greeting of Arya","hello_to":"Arya"}`,
	}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	eventually(t, "the entry leaves the outbox", func() bool { return pending(t, s) == 0 })
}

func TestRefused(t *testing.T) {
	for _, status := range []int{301, 307, 400, 404, 413, 422, 429, 500, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			to := startSink(t)
			to.refusing(func(data api.Request) int {
				if data.Name == "bad" && data.HelloTo == "1" {
					return status
				}
				return 0
			})
			s := greetertest.OpenStore(t)
			p, _ := run(t, s, config(to.URL))

			accept(t, s, "bad", "1")
			accept(t, s, "bad", "2")
			accept(t, s, "good", "1")
			_, e := accept(t, s, "good", "2")
			p.Notify(e.Line())
			_, e = accept(t, s, "bad", "3")
			p.Notify(e.Line())

			eventually(t, "it is tried again and again, and other names do not wait for it", func() bool {
				accepted, refused := to.state(t)
				return len(accepted) == 2 && refused >= 3
			})
			if accepted, _ := to.state(t); !cmp.Equal(accepted, []string{"good 1", "good 2"}) {
				t.Errorf("events of its own name wait for it: got %v", accepted)
			}
			eventually(t, "three wait, nothing is lost", func() bool { return pending(t, s) == 3 })

			to.refusing(nil)
			eventually(t, "all is published in the end", func() bool { return pending(t, s) == 0 })
			if accepted, _ := to.state(t); !cmp.Equal(accepted, []string{"good 1", "good 2", "bad 1", "bad 2", "bad 3"}) {
				t.Errorf("in order: got %v", accepted)
			}
		})
	}
}

// TestManyRefused has hundreds of events that the sink refuses, and one later that it accepts.
func TestManyRefused(t *testing.T) {
	const bad = 300
	to := startSink(t)
	to.refusing(func(data api.Request) int {
		if data.Name == "good" {
			return 0
		}
		return 400
	})
	s := greetertest.OpenStore(t)
	for i := range bad {
		accept(t, s, fmt.Sprint(i), "t")
	}
	p, _ := run(t, s, config(to.URL))
	eventually(t, "each was tried", func() bool {
		_, refused := to.state(t)
		return refused >= bad
	})
	_, before := to.state(t)
	_, e := accept(t, s, "good", "t")
	p.Notify(e.Line())
	eventually(t, "the good one is published", func() bool { return pending(t, s) == bad })
	if _, after := to.state(t); after-before > bad {
		t.Errorf("it does not wait for all others: %d were refused meanwhile", after-before)
	}
}

// TestOutage accepts a thousand greetings while the sink is down.
func TestOutage(t *testing.T) {
	const greetings, names = 1000, 100
	to := startSink(t)
	to.refusing(func(api.Request) int { return 503 })
	s := greetertest.OpenStore(t)
	p, _ := run(t, s, config(to.URL))
	for i := range greetings {
		_, e := accept(t, s, fmt.Sprint(i%names), fmt.Sprint(i/names))
		p.Notify(e.Line())
	}
	eventually(t, "the publisher notices that the sink is down", func() bool {
		_, refused := to.state(t)
		return refused >= 10
	})
	_, before := to.state(t)

	back := time.Now()
	to.refusing(nil)
	eventually(t, "the outbox is emptied", func() bool { return pending(t, s) == 0 })
	t.Logf("%d refusals before the sink came back, %s to publish %d greetings", before, time.Since(back), greetings)

	accepted, _ := to.state(t)
	if len(accepted) != greetings {
		t.Errorf("each is published once: got %d, want %d", len(accepted), greetings)
	}
	next := map[string]int{}
	for _, a := range accepted {
		name, to, _ := strings.Cut(a, " ")
		if to != fmt.Sprint(next[name]) {
			t.Errorf("name %s: got %s, want %d", name, to, next[name])
		}
		next[name]++
	}
}

// TestSlow has more events that the sink does not answer than are sent at once: a synchronous Broker answers an
// event when its subscriber has accepted it, or when it has given up.
func TestSlow(t *testing.T) {
	const slow = 20
	to := startSink(t)
	given, answer := make(chan string, 100), make(chan struct{})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event, err := cloudevents.NewEventFromHTTPRequest(r)
		data := api.Request{}
		if err == nil {
			err = event.DataAs(&data)
		}
		if err != nil {
			t.Error(err)
		}
		if data.Name != "good" {
			given <- data.Name + " " + data.HelloTo
			select {
			case <-answer:
			case <-r.Context().Done():
			}
		}
		to.take(*event)
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(front.Close)
	s := greetertest.OpenStore(t)
	for _, to := range []string{"1", "2"} {
		for i := range slow {
			accept(t, s, fmt.Sprint(i), to)
		}
	}
	p, _ := run(t, s, config(front.URL))
	eventually(t, "one event of each name is under way", func() bool { return len(given) == slow })
	seen := map[string]bool{}
	for range slow {
		seen[<-given] = true
	}
	_, e := accept(t, s, "good", "1")
	p.Notify(e.Line())
	eventually(t, "the others go on", func() bool { return pending(t, s) == 2*slow })
	if accepted, _ := to.state(t); !cmp.Equal(accepted, []string{"good 1"}) || len(seen) != slow || seen["0 2"] {
		t.Errorf("the second event of a name waits for the first: got %v, and %v under way", accepted, seen)
	}
	close(answer)
	eventually(t, "all is published in the end", func() bool { return pending(t, s) == 0 })
	accepted, _ := to.state(t)
	for i := range slow {
		if slices.Index(accepted, fmt.Sprintf("%d 1", i)) > slices.Index(accepted, fmt.Sprintf("%d 2", i)) {
			t.Errorf("in order: got %v", accepted)
		}
	}
}

func TestStop(t *testing.T) {
	s := greetertest.OpenStore(t)
	arrived, gone := make(chan string, 1), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // Only after the body the server notices that the caller hangs up.
		arrived <- r.Header.Get("Ce-Id")
		<-r.Context().Done()
		close(gone)
	}))
	t.Cleanup(srv.Close)
	accept(t, s, "n", "t")
	_, stop := run(t, s, config(srv.URL))
	id := <-arrived
	stop()
	<-gone
	if n := pending(t, s); n != 1 {
		t.Fatalf("an event that was not answered stays in the outbox: got %d that wait, want 1", n)
	}

	to := startSink(t)
	run(t, s, config(to.URL))
	eventually(t, "it is sent at the next start", func() bool { return pending(t, s) == 0 })
	if to.accepted[0].ID() != id {
		t.Errorf("with the same id: got %s, want %s", to.accepted[0].ID(), id)
	}
}

func TestTimeout(t *testing.T) {
	s := greetertest.OpenStore(t)
	tries := make(chan struct{}, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		tries <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	c := config(srv.URL)
	c.Timeout = 20 * time.Millisecond
	accept(t, s, "n", "t")
	run(t, s, c)
	for range 2 {
		<-tries // After the timeout it is tried again.
	}
}

func TestNoSink(t *testing.T) {
	s := greetertest.OpenStore(t)
	core, logs := observer.New(zap.WarnLevel)
	ctx := logging.WithLogger(t.Context(), zap.New(core).Sugar())
	p, err := outbox.New(ctx, s, config(""))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, e := accept(t, s, "n", "t")
		p.Notify(e.Line())
	}
	p.Run(ctx) // It returns at once.
	if n := pending(t, s); n != 3 {
		t.Errorf("what is accepted stays in the outbox: got %d, want 3", n)
	}
	if entries := logs.All(); len(entries) != 1 || !strings.Contains(entries[0].Message, "K_SINK is not set") {
		t.Errorf("one warning: got %v", entries)
	}
}

// TestQuiet counts the log messages while the sink is down.
func TestQuiet(t *testing.T) {
	to := startSink(t)
	to.refusing(func(api.Request) int { return 500 })
	s := greetertest.OpenStore(t)
	for i := range 200 {
		accept(t, s, fmt.Sprint(i), "t")
	}
	core, logs := observer.New(zap.InfoLevel)
	ctx, cancel := context.WithCancel(logging.WithLogger(t.Context(), zap.New(core).Sugar()))
	p, err := outbox.New(ctx, s, config(to.URL))
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	eventually(t, "the sink is tried", func() bool {
		_, refused := to.state(t)
		return refused >= 20
	})
	to.refusing(nil)
	eventually(t, "the outbox is emptied", func() bool { return pending(t, s) == 0 })
	cancel()
	running.Wait()

	if n := logs.FilterMessageSnippet("does not accept").Len(); n < 1 || n > 30 {
		t.Errorf("the log says that the sink is down, but not for each event: got %d messages", n)
	}
	if n := logs.FilterMessageSnippet("accepts events again").Len(); n != 1 {
		t.Errorf("and once that it accepts events again: got %d messages", n)
	}
}

func TestConfig(t *testing.T) {
	tests := map[string]struct {
		reason string
		change func(*outbox.Config)
		want   string
	}{
		"Sink":    {"an address is not a URL", func(c *outbox.Config) { c.Sink.URL = "broker:80" }, "K_SINK: expected an http or https URL"},
		"Source":  {"required by CloudEvents", func(c *outbox.Config) { c.Source = "" }, "EVENT_SOURCE: does not make a valid event"},
		"Workers": {"nothing would ever be published", func(c *outbox.Config) { c.Workers = 0 }, "PUBLISH_WORKERS: expected 1 or more"},
		"Timeout": {"nothing could ever be published", func(c *outbox.Config) { c.Timeout = 0 }, "PUBLISH_TIMEOUT: expected more than 0"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := config("http://broker")
			tc.change(&c)
			_, err := outbox.New(t.Context(), greetertest.OpenStore(t), c)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: got %v, want %q in it", tc.reason, err, tc.want)
			}
		})
	}
}
