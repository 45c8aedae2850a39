//go:build !linux

package process

import (
	"os/exec"
	"syscall"
)

// attributes keep a terminal's Ctrl-C away from the child: the runner stops its children in order. Only Linux can kill a
// child when its parent dies.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func spawn(cmd *exec.Cmd) error { return cmd.Start() }
