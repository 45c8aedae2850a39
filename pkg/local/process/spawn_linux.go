package process

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// attributes make the kernel kill the child when the thread that started it ends, and keep a terminal's Ctrl-C away
// from it: the runner stops its children in order.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

var (
	spawner sync.Once
	spawns  = make(chan func())
)

// spawn starts cmd from one thread that lives as long as this whole process. A parent death signal is bound to the
// thread that forked, and Go may end any other thread.
func spawn(cmd *exec.Cmd) error {
	spawner.Do(func() {
		go func() {
			runtime.LockOSThread()
			for f := range spawns {
				f()
			}
		}()
	})
	result := make(chan error)
	spawns <- func() { result <- cmd.Start() }
	return <-result
}
