package local

import (
	"io"
	"os"
	"path/filepath"
	"time"
)

// DefaultIdle is how long a function stays without a request if neither Options.Idle nor its own annotation
// autoscaling.knative.dev/window says so. Short, as somebody is waiting to see it go; a cluster's default is a minute.
const DefaultIdle = 10 * time.Second

// Options say what a System runs. The zero value runs the project in the current directory on a free port.
type Options struct {
	// Root is the project: resources are read from config/ and eventing/ below it, and its programs are built in it.
	// Default: the current directory.
	Root string

	// Resources are the directories to read instead of config/ and eventing/, relative to Root.
	Resources []string

	// Dir keeps everything of a run: API data, kubeconfig, volumes, logs, pids, programs. A later Start over the same Dir
	// goes on where it stopped, also after a SIGKILL. Only one System at a time can use it.
	// Default: .run below Root.
	Dir string

	// Port of the one address on 127.0.0.1. Default (0): any free one.
	Port int

	// APIPort of the Kubernetes API on 127.0.0.1. Default (0): the one of the last run over Dir, or any free one.
	APIPort int

	// Idle is how long functions stay without a request, whatever their annotations say.
	// Default (0): the annotation autoscaling.knative.dev/window, or DefaultIdle.
	Idle time.Duration

	// Without leaves out resources, as "kind/name" or "kind/namespace/name" in any case, such as "trigger/policy".
	Without []string

	// Bin is a directory that has the programs already, each under the last element of its import path.
	// Default: they are built.
	Bin string

	// Env is added to the environment of all programs, as NAME=value.
	Env []string

	// Fsync makes the API's data survive the death of the machine, and not only of the runner. Slower.
	Fsync bool

	// Out takes what a human wants to see. Default: nothing is shown.
	Out io.Writer

	// Verbose shows more: debug lines of the programs, each failed delivery, what was accepted without an effect.
	Verbose bool
}

// withDefaults fills in what is not set, and makes paths absolute.
func (o Options) withDefaults() (Options, error) {
	var err error
	if o.Root, err = filepath.Abs(o.Root); err != nil {
		return o, err
	}
	if o.Dir == "" {
		o.Dir = filepath.Join(o.Root, ".run")
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return o, err
	}
	if o.Resources == nil {
		o.Resources = []string{"config", "eventing"}
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	return o, nil
}

// resourceDirs are the directories to read. A project may do without one of them.
func (o Options) resourceDirs() []string {
	var dirs []string
	for _, d := range o.Resources {
		if !filepath.IsAbs(d) {
			d = filepath.Join(o.Root, d)
		}
		if _, err := os.Stat(d); err == nil {
			dirs = append(dirs, d)
		}
	}
	return dirs
}
