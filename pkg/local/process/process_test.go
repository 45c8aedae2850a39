package process_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/xos-knative/synchronizer/pkg/local/process"
)

// role in the environment makes the test binary the runner of a child, for a test that kills it.
const role = "PROCESS_TEST_RUNNER"

func TestMain(m *testing.M) {
	if os.Getenv(role) == "" {
		os.Exit(m.Run())
	}
	p, err := process.Start(shell("sleep 60"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	<-p.Done()
}

func shell(script string) process.Spec {
	return process.Spec{Name: "sh", Path: "/bin/sh", Args: []string{"-c", script}, Env: os.Environ(), Output: io.Discard, Grace: 10 * time.Second}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) { return f(), nil })
	if err != nil {
		t.Fatalf("it never happened that %s", what)
	}
}

func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	// A zombie is dead, but waits for whoever inherited it.
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestEnds(t *testing.T) {
	cases := map[string]struct {
		reason string
		script string
		end    func(*process.Process)
		want   string
	}{
		"ByItself":  {reason: "Status 0 is no error.", script: "exit 0", end: func(*process.Process) {}},
		"Status":    {reason: "Another status is told.", script: "exit 3", end: func(*process.Process) {}, want: "exit status 3"},
		"Killed":    {reason: "So is a signal.", script: "sleep 60", end: (*process.Process).Kill, want: "signal: killed"},
		"Stopped":   {reason: "A program may end in an orderly way.", script: "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done", end: (*process.Process).Stop},
		"Stubborn":  {reason: "One that does not want to is killed after its grace.", script: "trap '' TERM; echo up; while :; do sleep 0.01; done", end: (*process.Process).Stop, want: "signal: killed"},
		"StopAgain": {reason: "To stop what has ended does nothing.", script: "exit 0", end: func(p *process.Process) { <-p.Done(); p.Stop(); p.Kill() }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			out := &output{}
			spec := shell(tc.script)
			spec.Output, spec.PIDFile = out, filepath.Join(t.TempDir(), "pids", "sh")
			if name == "Stubborn" {
				spec.Grace = 50 * time.Millisecond
			}
			p, err := process.Start(spec)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(tc.script, "echo up") {
				eventually(t, "the program is up", func() bool { return out.String() != "" })
				if pid, _ := os.ReadFile(spec.PIDFile); strings.TrimSpace(string(pid)) != strconv.Itoa(p.PID()) {
					t.Errorf("the pid file must say %d, got %q", p.PID(), pid)
				}
			}
			tc.end(p)
			<-p.Done()
			got := ""
			if err := p.Err(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("\n%s\nwant %q, got %q", tc.reason, tc.want, got)
			}
			if _, err := os.Stat(spec.PIDFile); err == nil {
				t.Error("the pid file must go with the process")
			}
		})
	}
}

type output struct {
	mu sync.Mutex
	b  strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func TestCannotStart(t *testing.T) {
	_, err := process.Start(process.Spec{Name: "ghost", Path: "/no/such/program"})
	if err == nil || !strings.Contains(err.Error(), "cannot start ghost") {
		t.Errorf("the error must name the program, got %v", err)
	}
}

// TestDiesWithItsRunner kills a runner with SIGKILL, which leaves it no chance to clean up.
func TestDiesWithItsRunner(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux binds a child's life to its parent's")
	}
	runner := exec.Command(os.Args[0])
	runner.Env = append(os.Environ(), role+"=1")
	out, err := runner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = runner.Process.Kill() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatal("the child must run")
	}
	if err := runner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = runner.Wait()
	eventually(t, "the child dies with its runner", func() bool { return !alive(pid) })
}

func TestKeep(t *testing.T) {
	events := make(chan process.Event, 100)
	k := process.Keep(func() (*process.Process, error) { return process.Start(shell("exit 5")) }, func(e process.Event) { events <- e })
	var waits []time.Duration
	for len(waits) < 3 {
		if e := <-events; e.Ended {
			waits = append(waits, e.Wait)
			if e.Err == nil || e.Err.Error() != "exit status 5" {
				t.Errorf("the end must be told, got %v", e.Err)
			}
		}
	}
	k.Stop()
	if waits[1] != 2*waits[0] || waits[2] != 2*waits[1] {
		t.Errorf("the wait between starts must grow, got %v", waits)
	}
	if k.Starts() < 3 || k.Current() != nil {
		t.Errorf("want at least 3 starts and nothing left, got %d and %v", k.Starts(), k.Current())
	}
}

func TestKeepStop(t *testing.T) {
	started := make(chan process.Event, 1)
	k := process.Keep(func() (*process.Process, error) { return process.Start(shell("sleep 60")) }, func(e process.Event) { started <- e })
	pid := (<-started).Process.PID()
	if now := k.Current(); now == nil || now.PID() != pid {
		t.Errorf("want process %d, got %v", pid, now)
	}
	k.Stop()
	if alive(pid) {
		t.Error("Stop must return after the end of the process")
	}
}
