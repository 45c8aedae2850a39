package local

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/xos-knative/synchronizer/pkg/local/manifest"
	"github.com/xos-knative/synchronizer/pkg/local/process"
)

// inherited are the variables of the runner that its programs get.
var inherited = []string{"PATH", "HOME", "TMPDIR", "TZ", "LANG", "GOCOVERDIR", "GORACE", "GODEBUG"}

// maxLog is the size at which a program's log is put aside before its next start.
const maxLog = 20 << 20

// spec turns a program into a process on a free port, in the environment that it would have in its container. Pods of a
// program are counted from 0.
func (s *System) spec(p manifest.Program, pod int) (spec process.Spec, address string, err error) {
	port, err := freePort()
	if err != nil {
		return spec, "", err
	}
	address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	mounts, err := s.mounts(p, pod)
	if err != nil {
		return spec, "", err
	}

	var env []string
	for _, name := range inherited {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for _, e := range p.Env {
		env = append(env, e.Name+"="+relocate(e.Value, mounts))
	}
	// Later ones win, so that no file can change a program's port or its way to the API and to others.
	env = append(env, s.o.Env...)
	env = append(env,
		"PORT="+strconv.Itoa(port),
		"LISTEN_ADDRESS=127.0.0.1",
		"KUBECONFIG="+s.programKubeconfig(),
		"HTTP_PROXY=http://"+s.inside,
		"NO_PROXY=127.0.0.1,localhost",
	)
	spec = process.Spec{
		Name:    p.Key().String(),
		Path:    s.executable(p.Package),
		Env:     env,
		Dir:     s.o.Root,
		Grace:   p.Grace,
		PIDFile: filepath.Join(s.o.Dir, "pids", p.Namespace, p.Name+suffix(pod)),
	}
	for _, a := range p.Args {
		spec.Args = append(spec.Args, relocate(a, mounts))
	}
	if spec.Output, err = s.logs.open(p.Key(), s.label(p.Key())); err != nil {
		return spec, "", err
	}
	return spec, address, nil
}

// mounts makes the directories of a pod of a program, and returns the directory of each mount path.
func (s *System) mounts(p manifest.Program, pod int) (map[string]string, error) {
	dirs := map[string]string{}
	for i, m := range p.Mounts {
		dir := s.volume(p.Namespace, m.Claim)
		if m.Claim == "" {
			// A new container has it empty.
			dir = filepath.Join(s.scratch(p.Key()), strconv.Itoa(i)+suffix(pod))
			if err := os.RemoveAll(dir); err != nil {
				return nil, fmt.Errorf("cannot empty a volume of %s: %w", p.Key(), err)
			}
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("cannot make a volume of %s: %w", p.Key(), err)
		}
		dirs[m.Path] = dir
	}
	return dirs, nil
}

// suffix tells the pods of a program apart. The first one has none.
func suffix(pod int) string {
	if pod == 0 {
		return ""
	}
	return "-" + strconv.Itoa(pod)
}

// relocate replaces a mount path at the start of a value by its directory. Of mounts inside of each other the innermost
// counts.
func relocate(value string, mounts map[string]string) string {
	best := ""
	for at := range mounts {
		if (value == at || strings.HasPrefix(value, strings.TrimSuffix(at, "/")+"/")) && len(at) > len(best) {
			best = at
		}
	}
	if best == "" {
		return value
	}
	return filepath.Join(mounts[best], strings.TrimPrefix(value, best))
}

// freePort asks the operating system for a port. If another process takes it before the program does, the program fails,
// and gets another one at its next start.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("no free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}
