// Package conformance runs the conformance suite of CloudEvents (github.com/cloudevents/conformance) for the tests of what
// takes events. The suite is no dependency: it has a module of its own in scripts/conformance, because its requirements
// would double go.sum. Its list of what the JSON format takes and refuses is in no release, so it is written down here.
package conformance

import (
	"bufio"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// suite is the suite with a listener.
type suite struct {
	// tool is its program.
	tool string
	// files are those of its module.
	files fs.FS
	// listener is the URL of a receiver of events.
	listener string
}

// files of events, by versions of CloudEvents.
var files = map[string][]string{"1.0": {"v1.yaml", "v1.0/*.yaml"}, "0.3": {"v03.yaml", "v0.3/*.yaml"}}

// lacking is what no event of the suite has. Its invoker knows dataschema only as an extension.
const lacking = `
ContextAttributes:
  specversion: 1.0
  type: io.cloudevents.attributes
  id: no-data
  source: "#fragment"
  subject: Hello, 🌎!
  Extensions:
    dataschema: https://example.com/schema`

// Run invokes a front door with all events of the suite, of versions 1.0 and 0.3, each in both content modes, and sends the
// requests of its scenarios of the HTTP binding. They have to be taken, and the suite's listener has to get each event once,
// the same as without the front door. Open makes the front door: it passes all events to the listener before it answers, and
// returns its own URL. Added are the names of extensions that it adds.
func Run(t *testing.T, open func(t *testing.T, listener string) string, added ...string) {
	s := newSuite(t)
	s.listen(t)
	to := open(t, s.listener)
	for version := range files {
		for _, mode := range []string{"binary", "structured"} {
			t.Run(version+" "+mode, func(t *testing.T) {
				want := s.send(t, s.listener, s.events(t, version, "binary"))
				got := s.send(t, to, s.events(t, version, mode))
				for _, name := range added {
					got = regexp.MustCompile(`(?im)^ +`+name+`: .*\n`).ReplaceAllString(got, "")
				}
				s.run(t, "", "diff", file(t, want), file(t, got))
			})
		}
	}
	s.features(t, to)
}

// Answers invokes a handler with all events of the suite, as Run does. It has to answer each with this code.
func Answers(t *testing.T, handler http.Handler, path string, code int) {
	s := newSuite(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		if answer.Code != code {
			t.Errorf("want %d, got %d %s for %v", code, answer.Code, answer.Body, r.Header)
		}
		w.WriteHeader(http.StatusAccepted) // For others the suite has no exit code of their own.
	}))
	defer srv.Close()
	for version := range files {
		for _, mode := range []string{"binary", "structured"} {
			s.invoke(t, srv.URL+path, s.events(t, version, mode))
		}
	}
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	in := func(dir, name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", cmd, err)
		}
		return strings.TrimSpace(string(out))
	}
	module := filepath.Join(in("", "go", "list", "-m", "-f", "{{.Dir}}"), "scripts/conformance")
	return &suite{
		tool:  in(module, "go", "tool", "-n", "cloudevents"), // It builds it, and keeps it in the build cache.
		files: os.DirFS(in(module, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/cloudevents/conformance")),
	}
}

// listen starts the listener.
func (s *suite) listen(t *testing.T) {
	t.Helper()
	// Its history goes with who reads it.
	listen := exec.CommandContext(t.Context(), s.tool, "listen", "--port", "0", "--retain=false")
	stderr, err := listen.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := listen.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listen.Wait() }) // The end of the context has killed it.
	out := bufio.NewReader(stderr)
	line, err := out.ReadString('\n')
	_, port, ok := strings.Cut(strings.TrimSpace(line), "listening on :")
	if !ok {
		t.Fatalf("%s: expected its port, got %q %v", listen, line, err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	s.listener = "http://127.0.0.1:" + port
}

// events are those of the suite's files as YAML, one a document, in a mode. Data is without the line break at its end:
// structured mode does not keep white space around JSON. In that mode the suite knows only data that is JSON, so text is
// quoted here.
func (s *suite) events(t *testing.T, version, mode string) []string {
	t.Helper()
	var all []string
	for _, pattern := range files[version] {
		names, err := fs.Glob(s.files, "yaml/"+pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no such files of the suite: %v", pattern, err)
		}
		for _, name := range names {
			all = append(all, strings.Split(s.read(t, name), "\n---\n")...)
		}
	}
	if version == "1.0" {
		all = append(all, lacking)
	}
	for i, event := range all {
		attributes, data, found := strings.Cut(event, "\nData: |\n")
		_, attributes, _ = strings.Cut(attributes, "ContextAttributes:")
		all[i] = "Mode: " + mode + "\nContextAttributes:" + attributes + "\n"
		if data = strings.TrimSpace(data); mode == "structured" && !json.Valid([]byte(data)) {
			data = strconv.Quote(data)
		}
		if found {
			all[i] += "Data: |-\n  " + data + "\n"
		}
	}
	return all
}

// send invokes a URL with events, and returns what the listener has then got.
func (s *suite) send(t *testing.T, to string, events []string) string {
	t.Helper()
	s.invoke(t, to, events)
	return s.history(t, len(events))
}

func (s *suite) invoke(t *testing.T, to string, events []string) {
	t.Helper()
	s.run(t, strings.Join(events, "---\n"), "invoke", to, "--filename", "-")
}

// history is what the listener has got since it was asked last, n events.
func (s *suite) history(t *testing.T, n int) string {
	t.Helper()
	client := http.Client{Timeout: 30 * time.Second} // The listener waits forever.
	resp, err := client.Get(s.listener + "/history?wait=" + strconv.Itoa(n))
	if err != nil {
		t.Fatalf("want %d events: %v", n, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if came := strings.Count("\n"+string(got), "\nMode:"); came != n {
		t.Fatalf("want %d events, got %d:\n%s", n, came, got)
	}
	return string(got)
}

func (s *suite) read(t *testing.T, name string) string {
	t.Helper()
	content, err := fs.ReadFile(s.files, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// run runs a command of the suite.
func (s *suite) run(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.tool, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cloudevents %s: %v\n%s", args[0], err, out)
	}
}

func file(t *testing.T, content string) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
