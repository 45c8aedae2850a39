// Package pagetest runs the page "Your own synchronizer" (scripts/synchronizer/README.md) as it stands.
package pagetest

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/tools/imports"
)

// The page promises a minute. Only a machine that does nothing else can hold it to that.
var limit = flag.Duration("limit", 0, "how long it may take from nothing to a model that is Ready")

// runs is the command on the page that does not end.
const runs = "go tool synchronizer run"

// reader does what a reader of the page does.
type reader struct {
	testing.TB
	home string
	env  []string
	dir  string
	// stop ends what runs in the first terminal.
	stop func()
}

func TestPage(t *testing.T) {
	if *limit == 0 {
		t.Skip("it needs -limit: \"make test\" runs it when nothing else runs")
	}
	if _, err := exec.LookPath("kubectl"); err != nil {
		t.Skip("the page needs kubectl")
	}
	took := follow(t, false)
	if took > *limit {
		// The build cache may have been cold. Now it is not.
		took = follow(t, true)
	}
	if took > *limit {
		t.Errorf("from nothing to a model that is Ready: expected at most %s, it took %s", *limit, took)
	}
}

// follow does what the page says, all of it or until the model is Ready, and returns how long that took.
func follow(t *testing.T, untilReady bool) (took time.Duration) {
	t.Helper()
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t)
	defer func() { r.stop() }()
	began := time.Now()
	for _, block := range regexp.MustCompile("(?ms)^```(sh|go)\n(.*?)^```").FindAllSubmatch(page, -1) {
		text := string(block[2])
		switch {
		case string(block[1]) == "sh":
			r.shell(text)
		case strings.Contains(text, "func "):
			r.edit(text)
		}
		if took == 0 && strings.Contains(text, "--for=condition=Ready") {
			took = time.Since(began).Round(100 * time.Millisecond)
			t.Logf("from nothing to a model that is Ready: %s", took)
			if untilReady {
				return took
			}
		}
	}
	if took == 0 {
		t.Error("the page: expected that it waits for an object to be Ready")
	}
	return took
}

func newReader(t *testing.T) *reader {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{TB: t, home: t.TempDir(), dir: root, stop: func() {}}
	r.env = append(os.Environ(), "HOME="+r.home, "TMPDIR="+t.TempDir())
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} { // They are below the home of others.
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		r.env = append(r.env, name+"="+strings.TrimSpace(string(out)))
	}
	return r
}

// shell runs the commands of a block. What follows the one that does not end is done in another terminal.
func (r *reader) shell(commands string) {
	r.Helper()
	if before, after, ok := strings.Cut(commands, runs+"\n"); ok {
		r.shell(before)
		r.stop()
		r.stop = r.start()
		commands = after
	}
	file := filepath.Join(r.home, ".where")
	cmd := exec.CommandContext(r.Context(), "bash", "-euo", "pipefail", "-c", commands+"\npwd >"+file+"; export -p >"+file+".env")
	cmd.Dir, cmd.Env = r.dir, r.env
	began := time.Now()
	out, err := cmd.CombinedOutput()
	r.Logf("%s: %s", time.Since(began).Round(100*time.Millisecond), commands)
	if err != nil {
		r.Fatalf("%s\n%v\n%s", commands, err, out)
	}
	where, err := os.ReadFile(file)
	if err != nil {
		r.Fatal(err)
	}
	r.dir = strings.TrimSpace(string(where))
	// A reader exports KUBECONFIG once.
	if found := regexp.MustCompile(`export KUBECONFIG=~(\S+)`).FindStringSubmatch(commands); found != nil {
		r.env = append(r.env, "KUBECONFIG="+r.home+found[1])
	}
}

// start runs what does not end, and returns when it says that kubectl can be used.
func (r *reader) start() (stop func()) {
	r.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "bash", "-c", "exec "+runs+" --port 0")
	cmd.Dir, cmd.Env = r.dir, r.env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	said, began := &bytes.Buffer{}, time.Now()
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
		_ = in.Close()
	}()
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			select {
			case <-ready:
			default:
				fmt.Fprintln(said, lines.Text())
				if strings.Contains(lines.Text(), "kubectl get models") {
					close(ready)
				}
			}
		}
	}()
	select {
	case <-ready:
		r.Logf("%s: %s", time.Since(began).Round(100*time.Millisecond), runs)
	case <-ended:
		r.Fatalf("%s has ended:\n%s", runs, said)
	case <-r.Context().Done():
	}
	return func() {
		cancel()
		<-ended
	}
}

// edit puts the functions of a block into the file that its first line names, in place of those of the same name.
func (r *reader) edit(block string) {
	r.Helper()
	name, code, _ := strings.Cut(block, "\n")
	path := filepath.Join(r.dir, strings.TrimPrefix(name, "// "))
	content, err := os.ReadFile(path)
	if err != nil {
		r.Fatal(err)
	}
	if lines := strings.Count(strings.TrimSpace(code), "\n"); lines > 15 {
		r.Errorf("%s: expected at most 15 lines to write, got %d", name, lines)
	}
	positions := token.NewFileSet()
	file, err := parser.ParseFile(positions, path, content, parser.SkipObjectResolution)
	if err != nil {
		r.Fatal(err)
	}
	for i := len(file.Decls) - 1; i >= 0; i-- { // From the end, so that positions stay right.
		f, ok := file.Decls[i].(*ast.FuncDecl)
		if ok && strings.Contains(code, ") "+f.Name.Name+"(") {
			from, to := positions.Position(f.Pos()).Offset, positions.Position(f.End()).Offset
			content = append(content[:from:from], content[to:]...)
		}
	}
	content = append(content, code...)
	if content, err = imports.Process(path, content, nil); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		r.Fatal(err)
	}
}
