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

// A process is the real greeter on a store of its own.
type process struct {
	url    string
	cmd    *exec.Cmd
	output *bytes.Buffer // complete once ended is closed
	ended  chan struct{}
}

func start(t *testing.T, binary string, env ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary), output: &bytes.Buffer{}, ended: make(chan struct{})}
	// Nothing of this environment: a proxy or a sink that is set here is not for the greeter.
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
		_ = p.cmd.Wait() // the exit code is read from ProcessState
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

// end the process and return its exit code, -1 after a signal that it does not catch.
func (p *process) end(s syscall.Signal) int {
	_ = p.cmd.Process.Signal(s) // it may have ended already
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
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

// TestKilled kills the greeter with SIGKILL while it accepts, publishes and writes, again and again. What it answered for is there in
// the end, and each greeting that it accepted is published.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	binary := goBuild(t)

	// The sink hangs up when it sees an event for the first time, and sometimes is away.
	var mu sync.Mutex // protects what follows
	published := map[string]sets.Set[string]{}
	seen := sets.New[string]()
	requests, away := 0, false
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data := api.Request{}
		err := json.NewDecoder(r.Body).Decode(&data)
		mu.Lock()
		defer mu.Unlock()
		requests++
		id := r.Header.Get("Ce-Id")
		isNew := !seen.Has(id)
		seen.Insert(id)
		if err != nil || away || isNew {
			panic(http.ErrAbortHandler)
		}
		if published[data.Name] == nil {
			published[data.Name] = sets.New[string]()
		}
		published[data.Name].Insert(id)
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(sink.Close)
	env := []string{"DATA_DIR=" + t.TempDir(), "K_SINK=" + sink.URL}

	const rounds, posters, each = 4, 8, 25
	var accepted, unknown sync.Map // names
	generation := int64(0)
	model := &api.ModelRef{Namespace: "ns", Name: "m", UID: "u"}
	for round := range rounds {
		mu.Lock()
		away = round%2 == 0
		mu.Unlock()
		p := start(t, binary, env...)
		c, err := client.New(p.url)
		if err != nil {
			t.Fatal(err)
		}
		halfway := make(chan struct{}, posters)
		var wg sync.WaitGroup
		for poster := range posters {
			wg.Go(func() {
				for i := range each {
					name := fmt.Sprintf("%d-%d-%d", round, poster, i)
					if err := post(p.url, name, "t"); err != nil {
						unknown.Store(name, true) // killed before the answer: accepted or not
						continue
					}
					accepted.Store(name, true)
					if i == each/2 {
						halfway <- struct{}{}
					}
				}
			})
		}
		wg.Go(func() {
			for {
				g, err := c.Put(t.Context(), "u", api.PutRequest{Name: "n", HelloFrom: "f", HelloTo: "t", Generation: generation + 1, Model: model})
				if err != nil {
					return
				}
				generation = g.Generation
			}
		})
		<-halfway
		p.end(syscall.SIGKILL)
		wg.Wait()
	}

	mu.Lock()
	away = false
	mu.Unlock()
	p := start(t, binary, env...)
	c, err := client.New(p.url)
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.Get(t.Context(), "u")
	// The last write may have been stored without its answer having come.
	if err != nil || g.Generation != generation && g.Generation != generation+1 {
		t.Errorf("every write that was answered is there: got %+v, %v, want generation %d", g, err, generation)
	}

	err = wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		resp, err := http.Get(p.url + "/outbox")
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		status := api.OutboxStatus{}
		err = json.NewDecoder(resp.Body).Decode(&status)
		return status.Pending == 0, err
	})
	if err != nil {
		t.Fatalf("the outbox is emptied: %v", err)
	}

	count := 0
	accepted.Range(func(name, _ any) bool {
		count++
		if n := published[name.(string)].Len(); n != 1 {
			t.Errorf("greeting %s is published under one id: got %d", name, n)
		}
		return true
	})
	for name, ids := range published {
		_, isUnknown := unknown.Load(name)
		_, isAccepted := accepted.Load(name)
		if ids.Len() != 1 || !isUnknown && !isAccepted {
			t.Errorf("greeting %s: published under %d ids, asked for: %t", name, ids.Len(), isUnknown || isAccepted)
		}
	}
	if count == 0 || generation == 0 {
		t.Errorf("the test tests something: got %d greetings and generation %d", count, generation)
	}
	t.Logf("%d greetings accepted, %d published, %d requests to the sink, %d generations", count, len(published), requests, generation)

	// A second greeter on the same store would ruin it.
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
		"Type":    {"a setting that is not what it should be", map[string]string{"PUBLISH_WORKERS": "many"}, "PUBLISH_WORKERS"},
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
