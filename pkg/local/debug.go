package local

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/local/process"
)

// delve is the program of the debugger.
const delve = "dlv"

// debugs reports whether a function runs under the debugger.
func (s *System) debugs(function types.NamespacedName) bool {
	return s.o.Debug != "" && (s.o.Debug == function.Name || s.o.Debug == function.String())
}

// checkDebug checks that there are a debugger and something to debug.
func (s *System) checkDebug(next *plan) error {
	if s.o.Debug == "" {
		return nil
	}
	if _, err := exec.LookPath(delve); err != nil {
		return fmt.Errorf("--debug needs Delve on the PATH (go install github.com/go-delve/delve/cmd/dlv@latest): %w", err)
	}
	for key := range next.functions {
		if s.debugs(key) {
			return nil
		}
	}
	var names []string
	for key := range next.functions {
		names = append(names, key.String())
	}
	slices.Sort(names)
	return fmt.Errorf("--debug: expected one of the functions %q, got %q", names, s.o.Debug)
}

// debugFlags build a part so that a debugger shows its code as it is written: that of its own module only.
func (s *System) debugFlags(p *part) []string {
	module, err := moduleOf(p.root)
	if s.o.Debug == "" || err != nil {
		return nil
	}
	return []string{"-gcflags=" + module + "/...=-N -l"}
}

// debugged is a program under the debugger, which waits for clients and lets the program run meanwhile.
func (s *System) debugged(spec process.Spec) (process.Spec, error) {
	path, err := exec.LookPath(delve)
	if err != nil {
		return spec, errors.New("the debugger is gone")
	}
	port, err := freePort()
	if err != nil {
		return spec, err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	args := []string{"exec", "--headless", "--api-version=2", "--accept-multiclient", "--continue", "--listen=" + address, spec.Path, "--"}
	spec.Path, spec.Args = path, append(args, spec.Args...)
	s.console.Event(spec.Name, "under the debugger: dlv connect %s", address)
	return spec, nil
}
