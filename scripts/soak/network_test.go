package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"
)

// sent is how many requests are sent.
const sent = 1000

// sendAll sends them, and returns how many got no answer.
func sendAll(t *testing.T, url string) int64 {
	var failed atomic.Int64
	var all errgroup.Group
	all.SetLimit(16)
	for range sent {
		all.Go(func() error {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
			if err != nil {
				return err
			}
			req.Host = "greeter.helloworld"
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				failed.Add(1)
				return nil
			}
			return resp.Body.Close()
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	return failed.Load()
}

// TestNetwork counts what arrives of many requests.
func TestNetwork(t *testing.T) {
	var arrived atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/work" && r.Host == "greeter.helloworld" {
			arrived.Add(1)
		}
	}))
	defer server.Close()
	faults := &tally{}
	n := newNetwork(1, 50*time.Millisecond, faults)
	address, err := n.between(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	send := func() int64 { return sendAll(t, "http://"+address+"/work") }
	if failed := send(); arrived.Load() != sent || failed != 0 {
		t.Fatalf("without faults all arrives: %d of %d, %d failed", arrived.Load(), sent, failed)
	}
	arrived.Store(0)
	n.failing.Store(true)
	failed := send()
	for _, kind := range []string{"request lost", "answer lost", "request late", "request doubled", "request repeated late"} {
		if faults.count(kind) == 0 {
			t.Errorf("%s: it never happened", kind)
		}
	}
	want := int64(sent - faults.count("request lost") + faults.count("request doubled") + faults.count("request repeated late"))
	least := want - int64(faults.count("connection cut")) // A connection may be cut before anything has arrived.
	err = wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		return arrived.Load() >= least && arrived.Load() <= want, nil
	})
	if err != nil {
		t.Errorf("expected %d to %d to arrive, got %d", least, want, arrived.Load())
	}
	if lost := int64(faults.count("request lost") + faults.count("answer lost")); failed < lost {
		t.Errorf("expected at least %d without an answer, got %d", lost, failed)
	}
}
