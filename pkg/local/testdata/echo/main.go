// Echo is a program for the tests of the local runner: a function, a daemon and a sink in one, which does what a request
// tells it to.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// told is what the program knows about itself and about the request.
type told struct {
	PID     int
	Host    string
	Path    string
	Env     map[string]string
	Args    []string
	Headers map[string]string
	Body    string
}

var (
	mu       sync.Mutex
	inFlight int
	most     int
)

func main() {
	if text := os.Getenv("SAY"); text != "" {
		fmt.Println(text)
	}
	if os.Getenv("FAIL_TO_START") != "" {
		fmt.Println("I do not want to start")
		os.Exit(3)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/most", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprint(w, most)
	})
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	mux.HandleFunc("/get", func(w http.ResponseWriter, r *http.Request) {
		resp, err := http.Get(r.URL.Query().Get("url"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	})
	mux.HandleFunc("/keep", keep)
	mux.HandleFunc("/", echo)

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		os.Exit(0)
	}()
	if err := http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// keep stores events, one file each, under KEEP, so that a test can look at what has come. It answers what the event's
// extension "answer" says: a status, "event" for a reply, or "text" for a body that is none.
func keep(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	t := tell(r, string(body))
	b, _ := json.Marshal(t)
	dir := os.Getenv("KEEP")
	_ = os.MkdirAll(dir, 0o755)
	name := fmt.Sprintf("%s-%d", strings.ReplaceAll(r.Header.Get("Ce-Id"), "/", "_"), time.Now().UnixNano())
	// By renaming, so that nobody reads half a file.
	if os.WriteFile(filepath.Join(dir, "."+name), b, 0o644) == nil {
		_ = os.Rename(filepath.Join(dir, "."+name), filepath.Join(dir, name))
	}
	switch answer := r.Header.Get("Ce-Answer"); {
	case answer == "event":
		w.Header().Set("Ce-Specversion", "1.0")
		w.Header().Set("Ce-Id", r.Header.Get("Ce-Id")+"-reply")
		w.Header().Set("Ce-Type", "reply")
		w.Header().Set("Ce-Source", "/echo")
		w.WriteHeader(http.StatusOK)
	case answer == "text":
		_, _ = w.Write([]byte("not an event"))
	case answer != "":
		status, _ := strconv.Atoi(answer)
		http.Error(w, "because I was told to", status)
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	mu.Lock()
	inFlight++
	most = max(most, inFlight)
	mu.Unlock()
	defer func() {
		mu.Lock()
		inFlight--
		mu.Unlock()
	}()
	if d, err := time.ParseDuration(r.URL.Query().Get("sleep")); err == nil {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
	}
	body, _ := io.ReadAll(r.Body)
	if status, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil {
		w.WriteHeader(status)
	}
	_ = json.NewEncoder(w).Encode(tell(r, string(body)))
}

func tell(r *http.Request, body string) told {
	t := told{PID: os.Getpid(), Host: r.Host, Path: r.URL.Path, Args: os.Args[1:], Body: body, Env: map[string]string{}, Headers: map[string]string{}}
	for _, e := range os.Environ() {
		k, v, _ := strings.Cut(e, "=")
		t.Env[k] = v
	}
	for k := range r.Header {
		t.Headers[k] = r.Header.Get(k)
	}
	return t
}
