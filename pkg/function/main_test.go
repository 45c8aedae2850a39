package function

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/wait"
	"knative.dev/pkg/logging"
)

// childMode in the environment makes the test binary a program under test.
const childMode = "FUNCTION_TEST_CHILD"

type childSettings struct {
	Word   string `envconfig:"WORD" required:"true"`
	Number int    `envconfig:"NUMBER"`
}

func TestMain(m *testing.M) {
	switch os.Getenv(childMode) {
	case "":
		os.Exit(m.Run())
	case "serve":
		Main("child", func(ctx context.Context, _ struct{}) (http.Handler, error) {
			logging.FromContext(ctx).Info("built")
			return http.NotFoundHandler(), nil
		})
	case "fail":
		Main("child", func(context.Context, struct{}) (http.Handler, error) { return nil, errors.New("no set-up") })
	case "set":
		Main("child", func(_ context.Context, s childSettings) (http.Handler, error) {
			return nil, fmt.Errorf("the word is %s", s.Word)
		})
	}
}

// serving runs serve on a free port until the test ends it.
type serving struct {
	url  string
	stop context.CancelFunc
	done chan error
}

func newServing(t *testing.T, drain time.Duration, handler http.Handler) serving {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(logging.WithLogger(context.Background(), zap.NewNop().Sugar()))
	s := serving{url: "http://" + listener.Addr().String(), stop: stop, done: make(chan error, 1)}
	go func() { s.done <- serve(ctx, listener, Settings{DrainTimeout: drain, Metrics: true}, handler) }()
	t.Cleanup(stop)
	return s
}

// refuses waits until no new connection is taken any more.
func (s serving) refuses(t *testing.T) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err == nil {
			_ = c.Close()
		}
		return err != nil, nil
	})
	if err != nil {
		t.Fatal("it still takes connections")
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestServe(t *testing.T) {
	s := newServing(t, time.Minute, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Method+" "+r.URL.Path)
	}))
	tests := map[string]struct {
		reason string
		path   string
		says   string
	}{
		"Health":  {"It lives.", "/healthz", "ok"},
		"Ready":   {"And is ready.", "/readyz", "ok"},
		"Metrics": {"It can be measured.", "/metrics", "go_goroutines"},
		"Handler": {"All else is the program's.", "/any/path", "GET /any/path"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if code, body := get(t, s.url+tt.path); code != 200 || !strings.Contains(body, tt.says) {
				t.Errorf("\n%s\ngot %d %q", tt.reason, code, body)
			}
		})
	}
	s.stop()
	if err := <-s.done; err != nil {
		t.Errorf("want a clean end, got %v", err)
	}
}

// Where everybody can reach the port there are no metrics on it.
func TestNoMetrics(t *testing.T) {
	server := httptest.NewServer(routes(http.NotFoundHandler(), new(atomic.Bool), false))
	defer server.Close()
	if code, body := get(t, server.URL+"/metrics"); code != http.StatusNotFound {
		t.Errorf("want the program's own answer, got %d %q", code, body)
	}
}

// waiting is a handler that is not ready while it has an error.
type waiting struct {
	http.Handler
	err error
}

func (w waiting) Ready() error { return w.err }

func TestReadiness(t *testing.T) {
	nothing := http.NotFoundHandler()
	tests := map[string]struct {
		reason   string
		handler  http.Handler
		stopping bool
		code     int
		says     string
	}{
		"Ready":    {"A program that listens is ready.", nothing, false, 200, "ok"},
		"Stopping": {"Until it stops.", nothing, true, 503, "stopping"},
		"Waits":    {"A program may say what it waits for.", waiting{nothing, errors.New("the kettle boils")}, false, 503, "the kettle boils"},
		"Waited":   {"And that it does no longer.", waiting{nothing, nil}, false, 200, "ok"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var stopping atomic.Bool
			stopping.Store(tt.stopping)
			h := routes(tt.handler, &stopping, true)
			if resp, body := send(t, h, httptest.NewRequest(http.MethodGet, "/readyz", nil)); resp.StatusCode != tt.code || !strings.Contains(body, tt.says) {
				t.Errorf("%s: want %d %q, got %d %q", tt.reason, tt.code, tt.says, resp.StatusCode, body)
			}
			if resp, body := send(t, h, httptest.NewRequest(http.MethodGet, "/healthz", nil)); resp.StatusCode != 200 {
				t.Errorf("it lives all the time, got %d %q", resp.StatusCode, body)
			}
		})
	}
}

func TestDrain(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	var after error
	s := newServing(t, time.Minute, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-release
		after = r.Context().Err()
		_, _ = io.WriteString(w, "finished")
	}))
	type answer struct {
		code int
		body string
	}
	answered := make(chan answer, 1)
	go func() {
		code, body := get(t, s.url)
		answered <- answer{code, body}
	}()
	<-begun
	s.stop()
	s.refuses(t)

	close(release)
	if got := <-answered; got != (answer{200, "finished"}) {
		t.Errorf("a request under way must be finished, got %+v", got)
	}
	if after != nil {
		t.Errorf("its context must outlive the signal, got %v", after)
	}
	if err := <-s.done; err != nil {
		t.Errorf("want a clean end, got %v", err)
	}
}

// draining is a handler that is told of the end.
type draining struct {
	http.Handler
	drain func(context.Context)
}

func (d draining) Drain(ctx context.Context) { d.drain(ctx) }

func TestDrainer(t *testing.T) {
	answered, drained := false, false
	begun, release := make(chan struct{}), make(chan struct{})
	s := newServing(t, time.Minute, draining{http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-release
		answered = true
	}), func(ctx context.Context) {
		end, ok := ctx.Deadline()
		if drained = true; !answered || ctx.Err() != nil || !ok || time.Until(end) > LastTimeout {
			t.Errorf("it drains after the last request (%t), until a time that has not come yet (%v, %v)", answered, ctx.Err(), end)
		}
	}})
	go func() { _, _ = get(t, s.url) }()
	<-begun
	s.stop()
	close(release)
	if err := <-s.done; err != nil || !drained {
		t.Errorf("want a clean end after draining, got %v, drained %t", err, drained)
	}
}

func TestDrainTakesTooLong(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	s := newServing(t, time.Millisecond, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-release
	}))
	go func() {
		if resp, err := http.Get(s.url); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-begun
	s.stop()
	if err := <-s.done; err == nil || !strings.Contains(err.Error(), "still under way after 1ms") {
		t.Errorf("want an error that says so, got %v", err)
	}
}

func TestListenerFails(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	if err := serve(logging.WithLogger(t.Context(), zap.NewNop().Sugar()), listener, Settings{DrainTimeout: time.Second}, http.NotFoundHandler()); err == nil {
		t.Error("want an error")
	}
}

func TestSettings(t *testing.T) {
	for _, name := range []string{"PORT", "LOG_LEVEL", "DRAIN_TIMEOUT"} {
		t.Setenv(name, "")
		_ = os.Unsetenv(name)
	}
	got, err := Env[Settings]()
	if want := (Settings{Port: 8080, LogLevel: "info", DrainTimeout: 27 * time.Second, Metrics: true}); err != nil || got != want {
		t.Errorf("the defaults: want %+v, got %+v, %v", want, got, err)
	}
	t.Setenv("PORT", "many")
	if _, err := Env[Settings](); err == nil || !strings.Contains(err.Error(), "PORT") {
		t.Errorf("the error must name the variable, got %v", err)
	}
}

func TestProgram(t *testing.T) {
	child := func(t *testing.T, env ...string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), os.Args[0])
		c.Env = append(append(os.Environ(), "LISTEN_ADDRESS=127.0.0.1"), env...)
		return c
	}
	t.Run("EndsCleanly", func(t *testing.T) {
		c := child(t, childMode+"=serve", "PORT=0")
		out, err := c.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() && !strings.Contains(lines.Text(), `"Listening"`) {
		}
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(out)
		if err := c.Wait(); err != nil {
			t.Errorf("want exit code 0 after SIGTERM, got %v\n%s", err, rest)
		}
	})
	for name, tt := range map[string]struct {
		reason string
		env    []string
		says   string
	}{
		"SetUpFails":  {"The set-up's error is told.", []string{childMode + "=fail"}, "no set-up"},
		"BadSettings": {"A setting of every program that is wrong is named.", []string{childMode + "=serve", "PORT=many"}, "PORT"},
		"BadOwn":      {"One of its own as well.", []string{childMode + "=set", "WORD=a", "NUMBER=many"}, "NUMBER"},
		"MissingOwn":  {"Also if it is missing.", []string{childMode + "=set"}, "WORD"},
		"Own":         {"The set-up gets the settings.", []string{childMode + "=set", "WORD=cheese"}, "the word is cheese"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := child(t, tt.env...).CombinedOutput()
			if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), tt.says) {
				t.Errorf("%s: want exit code 1 and %q, got %v\n%s", tt.reason, tt.says, err, out)
			}
		})
	}
	t.Run("PortTaken", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		out, err := child(t, childMode+"=serve", "PORT="+port).CombinedOutput()
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "PORT") {
			t.Errorf("want exit code 1 and the reason, got %v\n%s", err, out)
		}
	})
}
