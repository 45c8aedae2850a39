//go:build !linux

package process

import (
	"os/exec"
	"syscall"
)

// attributes keep a terminal's Ctrl-C away from the child: the runner decides who stops when. Other systems than Linux
// have no way to bind a child's life to its parent's.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func spawn(cmd *exec.Cmd) error { return cmd.Start() }
