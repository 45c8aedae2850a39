package local

import (
	"io"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
)

// DefaultIdle is how long a function stays without a request if neither Options.Idle nor its own annotation
// autoscaling.knative.dev/window says so. Short, as somebody is waiting to see it go; a cluster's default is a minute.
const DefaultIdle = 10 * time.Second

// Options say what a System runs. The zero value runs the core and all synchronizers of the project in the current
// directory on a free port.
type Options struct {
	// Root is the project. The core is in config/core and eventing/core below it. Each other folder NAME of config/ or
	// eventing/, except overlays and samples, is part of the synchronizer NAME.
	// Default: the current directory.
	Root string

	// Only are the names of the project's synchronizers to run, "core" for none of them: the core always runs.
	// Default (nil): all.
	Only []string

	// Add are synchronizers from elsewhere: directories with config/ and eventing/ below them. Each has the name of its
	// directory.
	Add []string

	// Dir keeps everything of a run: API data, kubeconfig, volumes, logs, pids, programs, and which synchronizers were
	// added and removed while it ran. A later Start over the same Dir goes on where the last one stopped, also after a
	// SIGKILL. Only one System at a time can use it.
	// Default: .run below Root.
	Dir string

	// Port of the one address on 127.0.0.1. Default (0): any free one.
	Port int

	// API is a Kubernetes API of package kubeapi that another process has started, as its administrator reaches it. It
	// stays when the System ends, and so do the objects in it; its garbage collector is up to the other process.
	// Default (nil): the System has its own, below Dir.
	API *rest.Config

	// APIPort of the Kubernetes API on 127.0.0.1. Default (0): the one of the last run over Dir, or any free one.
	APIPort int

	// Idle is how long functions stay without a request, whatever their annotations say.
	// Default (0): the annotation autoscaling.knative.dev/window, or DefaultIdle.
	Idle time.Duration

	// Pods is how many processes of a function share its requests, as on a cluster that has scaled out, at most as many as
	// its annotation autoscaling.knative.dev/max-scale allows.
	// Default (0): 1.
	Pods int

	// Network stands between the programs and what they talk to, for tests with a network that fails. For the address
	// (host and port) of the System, to which programs, Brokers and Triggers send their requests, and for that of its API
	// it returns the address that they get instead. It is called once for each of the two, in this order.
	// Default: they talk to each other directly.
	Network func(address string) (string, error)

	// Debug is the name of a function that runs under the debugger Delve, as NAME or NAMESPACE/NAME. It is not stopped when
	// it is idle, and a request may take as long as it takes.
	Debug string

	// Without leaves out resources, as "kind/name" or "kind/namespace/name" in any case, such as "trigger/policy".
	Without []string

	// Bin is a directory that has the programs already, as Build makes it. Default: they are built.
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
	o.Pods = max(1, o.Pods)
	if o.Out == nil {
		o.Out = io.Discard
	}
	return o, nil
}
