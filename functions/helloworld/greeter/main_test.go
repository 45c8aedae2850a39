package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/pkg/function"
)

func goBuild(t *testing.T) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "greeter")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return binary
}

// process is the real greeter.
type process struct {
	url    string
	cmd    *exec.Cmd
	output *bytes.Buffer // Complete when ended is closed.
	ended  chan struct{}
}

func start(t *testing.T, binary string, env ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary), output: &bytes.Buffer{}, ended: make(chan struct{})}
	// Without the variables of this process: a proxy or a sink that is set here is not for the greeter.
	p.cmd.Env = append([]string{"PORT=0", "STORE_LOCK_TIMEOUT=500ms"}, env...)
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening := make(chan string, 1)
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			p.output.Write(append(lines.Bytes(), '\n'))
			line := struct{ Message, Address string }{}
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "Listening" {
				listening <- line.Address
			}
		}
	}()
	go func() {
		_ = p.cmd.Wait() // The exit code is read from ProcessState.
		_ = w.Close()
	}()
	t.Cleanup(func() { p.end(syscall.SIGKILL) })

	select {
	case address := <-listening:
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		p.url = "http://127.0.0.1:" + port
	case <-p.ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the greeter does not start")
	}
	return p
}

// end ends the process and returns its exit code: -1 after a signal that it does not catch.
func (p *process) end(s syscall.Signal) int {
	_ = p.cmd.Process.Signal(s) // It may have ended already.
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(p.url)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (p *process) outbox() (status api.OutboxStatus, err error) {
	resp, err := http.Get(p.url + "/outbox")
	if err != nil {
		return status, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&status)
	return status, err
}

func post(url, name, to string) error {
	body, err := json.Marshal(api.Request{Name: name, HelloTo: to})
	if err != nil {
		return err
	}
	resp, err := http.Post(url+"/greetings", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return errors.New(resp.Status)
	}
	return nil
}

// flakySink hangs up when it sees an event for the first time, and while it is away.
type flakySink struct {
	url string

	// mu protects following.
	mu        sync.Mutex
	away      bool
	requests  int
	seen      sets.Set[string]
	published map[string]sets.Set[string] // The ids of the events, by the name in the data.
}

func newFlakySink(t *testing.T) *flakySink {
	s := &flakySink{seen: sets.New[string](), published: map[string]sets.Set[string]{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func (s *flakySink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data := api.Request{}
	err := json.NewDecoder(r.Body).Decode(&data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	id := r.Header.Get("Ce-Id")
	isNew := !s.seen.Has(id)
	s.seen.Insert(id)
	if err != nil || s.away || isNew {
		panic(http.ErrAbortHandler)
	}
	if s.published[data.Name] == nil {
		s.published[data.Name] = sets.New[string]()
	}
	s.published[data.Name].Insert(id)
	w.WriteHeader(http.StatusAccepted)
}

func (s *flakySink) setAway(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// users ask the greeter for greetings, and one writes greetings as a synchronizer does.
type users struct {
	// accepted and unknown have the names that the greeter has accepted, and those that it may have
	// accepted: it was killed before it could answer.
	accepted, unknown sync.Map
	// generation of the last write that was answered.
	generation int64
}

// useAndKill kills the greeter in the middle of its work.
func (u *users) useAndKill(t *testing.T, p *process, round int) {
	t.Helper()
	const posters, each = 8, 25
	c := p.client(t)
	model := &api.ModelRef{Namespace: "ns", Name: "m", UID: "u"}
	halfway := make(chan struct{}, posters)
	var wg sync.WaitGroup
	for poster := range posters {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("%d-%d-%d", round, poster, i)
				if err := post(p.url, name, "t"); err != nil {
					u.unknown.Store(name, true)
					continue
				}
				u.accepted.Store(name, true)
				if i == each/2 {
					halfway <- struct{}{}
				}
			}
		})
	}
	wg.Go(func() {
		for {
			g, err := c.Put(t.Context(), "u", api.PutRequest{Name: "n", HelloFrom: "f", HelloTo: "t", Generation: u.generation + 1, Model: model})
			if err != nil {
				return
			}
			u.generation = g.Generation
		}
	})
	<-halfway
	p.end(syscall.SIGKILL)
	wg.Wait()
}

// check checks that what was answered is there, and that what was accepted is published.
func (u *users) check(t *testing.T, p *process, sink *flakySink) {
	t.Helper()
	g, err := p.client(t).Get(t.Context(), "u")
	// The last write may have been stored without an answer.
	if err != nil || g.Generation != u.generation && g.Generation != u.generation+1 {
		t.Errorf("every write that was answered is there: got %+v, %v, want generation %d", g, err, u.generation)
	}
	sink.mu.Lock()
	defer sink.mu.Unlock()
	count := 0
	u.accepted.Range(func(name, _ any) bool {
		count++
		if n := sink.published[name.(string)].Len(); n != 1 {
			t.Errorf("greeting %s is published under one id: got %d", name, n)
		}
		return true
	})
	for name, ids := range sink.published {
		_, isUnknown := u.unknown.Load(name)
		_, isAccepted := u.accepted.Load(name)
		if ids.Len() != 1 || !isUnknown && !isAccepted {
			t.Errorf("greeting %s: published under %d ids, requested: %t", name, ids.Len(), isUnknown || isAccepted)
		}
	}
	if count == 0 || u.generation == 0 {
		t.Errorf("the test tests something: got %d greetings and generation %d", count, u.generation)
	}
	t.Logf("%d greetings accepted, %d published, %d requests to the sink, %d generations", count, len(sink.published), sink.requests, u.generation)
}

// TestKilled kills the greeter with SIGKILL several times while it accepts, publishes and writes.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	binary, sink, u := goBuild(t), newFlakySink(t), &users{}
	env := []string{"DATA_DIR=" + t.TempDir(), "K_SINK=" + sink.url}
	for round := range 4 {
		sink.setAway(round%2 == 0)
		u.useAndKill(t, start(t, binary, env...), round)
	}
	sink.setAway(false)
	p := start(t, binary, env...)
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		status, err := p.outbox()
		return status.Pending == 0, err
	})
	if err != nil {
		t.Fatalf("the outbox is emptied: %v", err)
	}
	u.check(t, p, sink)

	// A second greeter on the same store would destroy it.
	second := start(t, binary, env...)
	if code := second.end(0); code != 1 || !strings.Contains(second.output.String(), "only one greeter at a time can run on a store") {
		t.Errorf("a second process: got exit code %d and %s", code, second.output)
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("SIGTERM: got exit code %d and %s", code, p.output)
	}
}

func TestSettings(t *testing.T) {
	tests := map[string]struct {
		reason string
		env    map[string]string
		want   string
	}{
		"DataDir": {"a setting of the store", map[string]string{"DATA_DIR": "/dev/null/x"}, "DATA_DIR: cannot make the folder"},
		"Sink":    {"a setting of the outbox", map[string]string{"K_SINK": "nowhere"}, "K_SINK: expected"},
		"Type":    {"a setting of the wrong type", map[string]string{"PUBLISH_WORKERS": "many"}, "PUBLISH_WORKERS"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DATA_DIR", t.TempDir())
			for k, v := range tc.env {
				t.Setenv(k, v)
			}
			env, err := function.Env[settings]()
			if err == nil {
				_, err = build(t.Context(), env)
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: got %v, want %q in it", tc.reason, err, tc.want)
			}
		})
	}
}
