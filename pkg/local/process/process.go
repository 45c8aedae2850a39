package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// drainOutput is how long a process's output is read after its end: a child that it has left may hold the pipe.
const drainOutput = 2 * time.Second

// Spec says what to run.
type Spec struct {
	// Name is what messages and the pid file call it.
	Name string
	// Path is the program.
	Path string
	Args []string
	// Env is the whole environment, as NAME=value.
	Env []string
	// Dir is the working directory.
	Dir string
	// Output takes both stdout and stderr. It is written to by one goroutine.
	Output io.Writer
	// Grace is how long it may take to end after SIGTERM before it is killed.
	Grace time.Duration
	// PIDFile holds the process id as long as the process lives, so that a human can kill it. Empty: none.
	PIDFile string
}

// Process is a running program, or one that has ended.
type Process struct {
	spec Spec
	cmd  *exec.Cmd
	done chan struct{}
	err  error // set before done is closed

	stop sync.Once
}

// Start runs a program. The error names the program.
func Start(spec Spec) (*Process, error) {
	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Env, cmd.Dir = spec.Env, spec.Dir
	cmd.Stdout, cmd.Stderr = spec.Output, spec.Output
	cmd.WaitDelay = drainOutput
	cmd.SysProcAttr = attributes()

	if err := spawn(cmd); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", spec.Name, err)
	}
	p := &Process{spec: spec, cmd: cmd, done: make(chan struct{})}
	if spec.PIDFile != "" {
		// It only helps humans, so an error does not matter.
		_ = os.MkdirAll(filepath.Dir(spec.PIDFile), 0o755)
		_ = os.WriteFile(spec.PIDFile, []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o644)
	}
	go func() {
		err := cmd.Wait()
		if errors.Is(err, exec.ErrWaitDelay) {
			err = nil
		}
		if spec.PIDFile != "" {
			_ = os.Remove(spec.PIDFile)
		}
		p.err = err
		close(p.done)
	}()
	return p, nil
}

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how it ended, such as "signal: killed" or "exit status 1". Nil while it runs and for status 0.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Kill ends it with SIGKILL, without a chance to finish what it is doing, and returns when it is gone.
func (p *Process) Kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// Stop asks it to end with SIGTERM, kills it after Spec.Grace, and returns when it is gone.
func (p *Process) Stop() {
	p.stop.Do(func() { p.signal(syscall.SIGTERM) })
	select {
	case <-p.done:
	case <-time.After(p.spec.Grace):
		p.Kill()
	}
}

// signal fails only if the process has ended, which is what was wanted.
func (p *Process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }
