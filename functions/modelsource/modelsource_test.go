package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
)

// patience bounds every wait for what has to come, on a slow, busy machine.
const patience = 2 * time.Minute

// childMode in the environment makes the test binary the program.
const childMode = "MODELSOURCE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childMode) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program is the running model source.
type program struct {
	*testing.T
	url string

	// mu protects following.
	mu  sync.Mutex
	log []line
}

// line is what matters here of a line of the log.
type line struct {
	Message string `json:"message"`
	Address string `json:"address"`
}

// token is the one that the program comes with.
const token = "modelsource-token"

// start runs the program against an API, until the test ends.
func start(t *testing.T, api *kubeapi.Server) *program {
	t.Helper()
	kubeconfig, err := kubeapitest.Kubeconfig(api, token)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childMode+"=yes", "KUBECONFIG="+file, "LISTEN_ADDRESS=127.0.0.1", "PORT=0", "K_SINK=http://127.0.0.1:1")
	out, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{T: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.read(out)
	}()
	t.Cleanup(func() {
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		<-ended
		if err := c.Wait(); err != nil {
			t.Errorf("want a clean end, got %v", err)
		}
	})
	p.until("the program listens", func() bool { return p.url != "" })
	return p
}

// read reads the log to its end.
func (p *program) read(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			continue // What is no line of the log is shown by those that wait in vain.
		}
		p.mu.Lock()
		if p.log = append(p.log, l); l.Address != "" {
			p.url = "http://" + l.Address
		}
		p.mu.Unlock()
	}
}

// until waits for a condition, which is called with mu held.
func (p *program) until(what string, condition func() bool) {
	p.Helper()
	err := wait.PollUntilContextTimeout(p.Context(), 10*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return condition(), nil
	})
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.Fatalf("waiting until %s: %v; the log is %+v", what, err, p.log)
	}
}

// said counts the lines that begin with the text. The caller holds mu.
func (p *program) said(text string) (n int) {
	for _, l := range p.log {
		if strings.HasPrefix(l.Message, text) {
			n++
		}
	}
	return n
}

// untilReadyzSays waits for an answer of GET /readyz.
func (p *program) untilReadyzSays(want int) {
	p.Helper()
	p.until(fmt.Sprintf("GET /readyz answers %d", want), func() bool {
		resp, err := http.Get(p.url + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == want
	})
}

const (
	core    = "../../config/core/crds"
	library = "../../pkg/testdata/library/config/crds"
)

func TestStarts(t *testing.T) {
	cases := map[string]struct {
		reason string
		crds   []string
		models int
		// alone: there is no synchronizer.
		alone bool
	}{
		"Nothing": {"A cluster without any model is one in which there is nothing to do", nil, 0, true},
		"Core":    {"The core starts without a synchronizer, and says so", []string{core}, 2, true},
		"Library": {"With one it does not", []string{core, library}, 4, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := start(t, kubeapitest.StartServer(t, kubeapi.Options{CRDs: tc.crds, Tokens: map[string]string{token: "modelsource"}}))
			p.untilReadyzSays(http.StatusOK)
			p.until(tc.reason, func() bool {
				return p.said("Watching a model") == tc.models && (p.said("No synchronizer is installed") == 1) == tc.alone
			})
		})
	}
}

// The source has the rights of config/core, and each synchronizer brings those to read its own
// models. Without them the source does not know what there is, and says that it is not ready.
func TestRights(t *testing.T) {
	var rights kubeapitest.Rights
	if err := rights.Grant("../../config/core/modelsource.yaml", "../../config/core/model-definitions.yaml"); err != nil {
		t.Fatal(err)
	}
	api := kubeapitest.StartServer(t, kubeapi.Options{
		CRDs: []string{core}, Tokens: map[string]string{token: "modelsource"}, Authorizer: &rights,
	})
	p := start(t, api)
	p.untilReadyzSays(http.StatusOK)

	if err := api.ApplyCRDs(t.Context(), library); err != nil {
		t.Fatal(err)
	}
	p.untilReadyzSays(http.StatusServiceUnavailable)

	role := filepath.Join(t.TempDir(), "role.yaml")
	if err := os.WriteFile(role, []byte(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: library-modelsource, labels: {synchronizer.xos-knative.dev/aggregate-to-modelsource: "true"}}
rules:
- {apiGroups: [library.xos-knative.dev], resources: [shelves, books], verbs: [get, list, watch]}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rights.Grant(role); err != nil {
		t.Fatal(err)
	}
	p.untilReadyzSays(http.StatusOK)
}

// TestSettings has settings that cannot work: the error names the variable.
func TestSettings(t *testing.T) {
	good := settings{Window: 64, Objects: 16, VisibilityTimeout: 30 * time.Second}
	tests := map[string]struct {
		change func(*settings)
		want   string
	}{
		"ShorterThanAStep": {func(s *settings) { s.VisibilityTimeout = 25 * time.Second }, "VISIBILITY_TIMEOUT: expected more than 25s"},
		"NoWindow":         {func(s *settings) { s.Window = 0 }, "WINDOW: expected at least 1, got 0"},
		"NoObjects":        {func(s *settings) { s.Objects = 0 }, "OBJECTS_PER_EVENT: expected 1 to 64, got 0"},
		"ManyObjects":      {func(s *settings) { s.Objects = 65 }, "OBJECTS_PER_EVENT: expected 1 to 64, got 65"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := good
			tt.change(&s)
			if _, err := build(t.Context(), s); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("want an error with %q, got %v", tt.want, err)
			}
		})
	}
}
