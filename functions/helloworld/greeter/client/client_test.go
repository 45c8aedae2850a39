package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/greetertest"
)

func TestNew(t *testing.T) {
	tests := map[string]struct {
		reason string
		url    string
		ok     bool
	}{
		"Cluster":  {"as in a cluster", "http://greeter.helloworld.svc.cluster.local", true},
		"Path":     {"behind a prefix", "https://example.com/greeter/", true},
		"Empty":    {"not set", "", false},
		"NoScheme": {"an address is not a URL", "greeter:8080", false},
		"Scheme":   {"only HTTP", "unix:///run/greeter", false},
		"Query":    {"a query would be lost", "http://greeter/?a=b", false},
		"Broken":   {"not a URL", "http://[", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := client.New(tc.url); (err == nil) != tc.ok {
				t.Errorf("%s: got %v, want ok %t", tc.reason, err, tc.ok)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	g := greetertest.Start(t)
	ctx := t.Context()
	put := api.PutRequest{Name: "n", HelloFrom: "f", HelloTo: "t", Generation: 2, Model: &api.ModelRef{Namespace: "ns", Name: "m", UID: "u"}}
	first, err := g.Client.Put(ctx, "u", put)
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Client.Get(ctx, "u")
	if diff := cmp.Diff(first, got); err != nil || diff != "" {
		t.Errorf("get returns what was put: %v, -want, +got:\n%s", err, diff)
	}

	put.Generation = 1
	_, err = g.Client.Put(ctx, "u", put)
	if !client.IsConflict(err) || !strings.Contains(err.Error(), "cannot put greeting u: the greeter answered 409 Conflict: generation: 1 is older than 2") {
		t.Errorf("a stale put: got %v", err)
	}
	if err := g.Client.Delete(ctx, "u", 1); !client.IsConflict(err) {
		t.Errorf("a stale delete: got %v", err)
	}
	if err := g.Client.Delete(ctx, "u", 2); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := g.Client.Get(ctx, "u"); !client.IsNotFound(err) {
		t.Errorf("get after delete: got %v", err)
	}
	put.HelloTo = strings.Repeat("x", api.MaxText+1)
	if _, err := g.Client.Put(ctx, "u", put); !client.IsInvalid(err) || !strings.Contains(err.Error(), "hello_to: expected at most 253 characters") {
		t.Errorf("an invalid put: got %v", err)
	}
	if err := g.Client.Delete(ctx, "u", -1); !client.IsInvalid(err) {
		t.Errorf("an invalid generation: got %v", err)
	}
}

func TestIDs(t *testing.T) {
	g := greetertest.Start(t)
	g.Misbehave(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("a bad id must not become a path: %s", r.URL) })
	})
	for _, id := range []string{"", ".", "..", "a/b", "../a", "a b", "ä", strings.Repeat("a", 129)} {
		_, getErr := g.Client.Get(t.Context(), id)
		_, putErr := g.Client.Put(t.Context(), id, api.PutRequest{Name: "n", HelloTo: "t"})
		for _, err := range []error{getErr, putErr, g.Client.Delete(t.Context(), id, 0)} {
			if err == nil || !strings.Contains(err.Error(), "id: expected 1 to 128") {
				t.Errorf("%q: got %v", id, err)
			}
		}
	}
}

func answering(contentType, body string) greetertest.Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			_, _ = w.Write([]byte(body))
		})
	}
}

func TestTrouble(t *testing.T) {
	const appJSON = "application/json"
	get := func(ctx context.Context, c *client.Client) error {
		_, err := c.Get(ctx, "a")
		return err
	}
	put := func(ctx context.Context, c *client.Client) error {
		_, err := c.Put(ctx, "a", api.PutRequest{Name: "n", HelloTo: "t"})
		return err
	}
	list := func(ctx context.Context, c *client.Client) error {
		for _, err := range c.All(ctx, client.ListOptions{Limit: 1}) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	remove := func(ctx context.Context, c *client.Client) error { return c.Delete(ctx, "a", 1) }

	tests := map[string]struct {
		reason string
		fault  greetertest.Fault
		call   func(context.Context, *client.Client) error
		want   string
	}{
		"Failing":       {"the status and the reason", greetertest.Failing(500), get, "something that is not the greeter answered 500 Internal Server Error: the greeter is out of order"},
		"FailingDelete": {"a failed deletion is an error", greetertest.Failing(503), remove, "503 Service Unavailable"},
		"FailingList":   {"a failed list is not an empty list", greetertest.Failing(502), list, "502 Bad Gateway"},
		"NotTheGreeter": {"a 404 of something in front does not mean that the greeting is missing", greetertest.Failing(404), get, "something that is not the greeter answered 404"},
		"Broken":        {"half an answer", greetertest.BrokenJSON(), put, "answer: cannot be decoded"},
		"BrokenList":    {"half a list", greetertest.BrokenJSON(), list, "answer: cannot be decoded"},
		"Lost":          {"no answer", greetertest.AnswerLost(), put, "EOF"},
		"Slow":          {"the deadline is the caller's", greetertest.Slow(time.Hour), get, "context deadline exceeded"},
		"HTML":          {"a web page is no answer", answering("text/html", "<html>"), get, "expected Content-Type application/json, got \"text/html\""},
		"OtherGreeting": {"the wrong greeting", answering(appJSON, `{"id":"b"}`), get, `the answer is not the greeting but has id "b"`},
		"OtherShape":    {"the wrong shape", answering(appJSON, `{"items":[]}`), put, `the answer is not the greeting but has id ""`},
		"WrongType":     {"the wrong shape", answering(appJSON, `[]`), get, "answer: cannot be decoded"},
		"NoItems":       {"no list is not an empty list: that would mean that all greetings are gone", answering(appJSON, `{}`), list, "items: expected a list in the answer, got none"},
		"NullItems":     {"null is not an empty list either", answering(appJSON, `{"items":null}`), list, "items: expected a list in the answer, got none"},
		"BadItem":       {"an item without an id", answering(appJSON, `{"items":[{"name":"x"}]}`), list, "items[0].id: expected 1 to 128"},
		"Loop":          {"the same page again and again", answering(appJSON, `{"items":[{"id":"a"}],"continue":"x"}`), list, "expected them in the order of ids, got a after a"},
		"EmptyLoop":     {"an empty page again and again", answering(appJSON, `{"items":[],"continue":"x"}`), list, "the next page starts where this one does"},
		"Large":         {"an answer that does not end", answering(appJSON, `{"items":[`+strings.Repeat(" ", api.MaxPage)+`]}`), list, "answer: expected at most 16777216 bytes"},
		"Redirect": {"the greeter never redirects", func(http.Handler) http.Handler { return http.RedirectHandler("/elsewhere", http.StatusFound) }, put,
			"something that is not the greeter answered 302 Found"},
	}
	g := greetertest.Start(t)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g.Misbehave(tc.fault)
			timeout := 20 * time.Second
			if name == "Slow" {
				timeout = 20 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			err := tc.call(ctx, g.Client)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%s: got %v, want %q in it", tc.reason, err, tc.want)
			}
			if client.IsNotFound(err) || client.IsConflict(err) || client.IsInvalid(err) {
				t.Errorf("%s: %v is not the greeter's answer", tc.reason, err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("an error is one line: %q", err)
			}
		})
	}

	g.Misbehave(nil)
	if _, err := g.Client.Put(t.Context(), "a", api.PutRequest{Name: "n", HelloTo: "t"}); err != nil {
		t.Errorf("after the trouble: %v", err)
	}
}

func TestAllStops(t *testing.T) {
	g := greetertest.Start(t)
	for i := range 10 {
		if _, err := g.Client.Put(t.Context(), fmt.Sprint(i), api.PutRequest{Name: "n", HelloTo: "t"}); err != nil {
			t.Fatal(err)
		}
	}
	requests := 0
	g.Misbehave(func(greeter http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests++
			greeter.ServeHTTP(w, r)
		})
	})
	for item, err := range g.Client.All(t.Context(), client.ListOptions{Limit: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		if item.ID == "3" {
			break
		}
	}
	if requests != 2 {
		t.Errorf("a page is fetched only when it is needed: got %d, want 2", requests)
	}

	// The second page fails.
	pages := 0
	g.Misbehave(func(greeter http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if pages++; pages == 2 {
				greeter = greetertest.Failing(500)(greeter)
			}
			greeter.ServeHTTP(w, r)
		})
	})
	seen := 0
	var last error
	for _, err := range g.Client.All(t.Context(), client.ListOptions{Limit: 2}) {
		if last = err; err == nil {
			seen++
		}
	}
	var status *client.StatusError
	if seen != 2 || !errors.As(last, &status) || status.StatusCode != 500 {
		t.Errorf("the list ends with the error of the page that fails: got %d and %v", seen, last)
	}
}

func TestOptions(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path != "/behind/it/greetings/a" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write([]byte(`{"id":"a","of_a_newer_greeter":true}`))
	}))
	t.Cleanup(srv.Close)
	mine := &http.Client{}
	c, err := client.New(srv.URL+"/behind/it/", client.WithHTTPClient(mine))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if mine.CheckRedirect != nil {
		t.Error("the caller's HTTP client must stay as it is")
	}
}
