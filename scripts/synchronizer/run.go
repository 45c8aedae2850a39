package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/modfile"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/console"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/generate"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/scaffold"
)

// running are the flags of run.
type running struct {
	local.Options
	// root is the flag: where the project is.
	root string
	// author: the project is not the framework itself.
	author bool
	// watch has what is saved built and applied.
	watch bool
	// projects are the synchronizers that are generated, by their directories.
	projects map[string]*generate.Project
}

func runCommand(streams genericiooptions.IOStreams) *cobra.Command {
	r := &running{Options: local.Options{Out: streams.Out}}
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the core and synchronizers on this machine until Ctrl-C",
		Long: `Run the core and synchronizers on this machine until Ctrl-C, with the YAML that a cluster gets, on a real Kubernetes API
and Knative's own event handling. Started again it goes on where it stopped.

In the repository of a synchronizer that one runs. In the framework's repository all synchronizers of config/ and
eventing/ run. What is saved is made, built and applied while it runs; after an error what ran before goes on. What is
added and removed is remembered in the data directory: the next run has it too, whatever --only and --add say.`,
		Example: `  go tool synchronizer run
  export KUBECONFIG=.run/kubeconfig   # in another terminal
  kubectl get models -A

  # Beside another synchronizer, with functions that stop after a minute without a request
  go tool synchronizer run --add ../zones --idle 1m`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := r.locate(c.Context()); err != nil {
				return err
			}
			return r.run(c.Context())
		},
	}
	flags := c.PersistentFlags()
	flags.StringVar(&r.root, "root", ".", "the `folder` of the project")
	flags.StringVar(&r.Dir, "dir", "", "where to keep data, logs and kubeconfig (default .run below the project)")
	own := c.Flags()
	own.StringSliceVar(&r.Only, "only", nil, "the `names` of the project's synchronizers to run, separated by commas; core for none of them (default all)")
	own.StringArrayVar(&r.Add, "add", nil, "run the synchronizer in this `directory` too; can be repeated")
	own.StringVar(&r.Bin, "bin", "", "where the programs are, each under its import path in the module (default they are built)")
	own.IntVar(&r.Port, "port", 8080, "port of functions and brokers, 0 = any free one")
	own.DurationVar(&r.Idle, "idle", local.DefaultIdle, "how long functions stay without a request, 0 = what their annotations say")
	own.IntVar(&r.Pods, "pods", 1, "how many processes of a function share its requests, at most as its annotation max-scale says")
	own.StringVar(&r.Debug, "debug", "", "run the `function`, as NAME or NAMESPACE/NAME, under the debugger Delve, and print its address")
	own.StringArrayVar(&r.Without, "without", nil, "leave a resource out, as `kind/name` such as trigger/helloworld-policy; can be repeated")
	own.BoolVarP(&r.Verbose, "verbose", "v", false, "show more")
	own.BoolVar(&r.watch, "watch", true, "build and apply what is saved")
	c.AddCommand(runAddCommand(streams, r), runRemoveCommand(streams, r))
	return c
}

func runAddCommand(streams genericiooptions.IOStreams, r *running) *cobra.Command {
	return &cobra.Command{
		Use:     "add NAME|DIRECTORY",
		Short:   "Add a synchronizer to what runs",
		Example: "  go tool synchronizer run add ../zones",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return r.remote(c.Context(), streams, func(runner *local.Remote) (string, error) {
				return runner.Add(c.Context(), absolute(args[0]))
			})
		},
	}
}

func runRemoveCommand(streams genericiooptions.IOStreams, r *running) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Short:   "Delete the models of a synchronizer, wait until its steps have cleaned up, and remove it from what runs",
		Example: "  go tool synchronizer run remove zones",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return r.remote(c.Context(), streams, func(runner *local.Remote) (string, error) {
				return runner.Remove(c.Context(), args[0])
			})
		},
	}
}

func (r *running) remote(ctx context.Context, streams genericiooptions.IOStreams, do func(*local.Remote) (string, error)) error {
	if err := r.locate(ctx); err != nil {
		return err
	}
	runner, err := local.Connect(r.Options)
	if err != nil {
		return err
	}
	answer, err := do(runner)
	if err == nil {
		fmt.Fprintln(streams.Out, answer)
	}
	return err
}

// absolute makes a directory absolute, because the runner may be in another one. A name has no separator in it.
func absolute(source string) string {
	if !strings.ContainsRune(source, filepath.Separator) && source != "." && source != ".." {
		return source
	}
	if abs, err := filepath.Abs(source); err == nil {
		return abs
	}
	return source
}

// locate finds out whether the project is the framework itself or a repository that is built with it. The core is the
// framework's in both cases.
func (r *running) locate(ctx context.Context) error {
	root, err := filepath.Abs(r.root)
	if err != nil {
		return err
	}
	for i, dir := range r.Add {
		if r.Add[i], err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	content, _ := os.ReadFile(filepath.Join(root, "go.mod"))
	if modfile.ModulePath(content) == scaffold.Framework || isCore(root) {
		r.Root = root
		return r.findProjects(append(r.Add, filepath.Join(root, "functions", "*"))...)
	}
	if _, err := generate.Load(root); err != nil {
		return err
	}
	if r.Only != nil {
		return errors.New("--only: expected none, as this repository has one synchronizer")
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", scaffold.Framework)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("finding the module %s that %s is built with: %w", scaffold.Framework, root, err)
	}
	r.Root, r.Only, r.author = strings.TrimSpace(string(out)), []string{"core"}, true
	r.Add = append(r.Add, root)
	if r.Dir == "" {
		r.Dir = filepath.Join(root, ".run")
	}
	return r.findProjects(r.Add...)
}

// isCore reports whether the resources of a core are there.
func isCore(root string) bool {
	_, err := os.Stat(filepath.Join(root, "config", "core"))
	return err == nil
}

// findProjects finds the synchronizers in some directories that are generated.
func (r *running) findProjects(patterns ...string) error {
	r.projects = map[string]*generate.Project{}
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(pattern, generate.File))
		if err != nil {
			return err
		}
		for _, file := range files {
			p, err := generate.Load(filepath.Dir(file))
			if err != nil {
				return err
			}
			r.projects[filepath.Dir(file)] = p
		}
	}
	return nil
}

func (r *running) run(ctx context.Context) error {
	if r.Bin == "" && r.author { // What was changed since the last run.
		if err := r.generateAll(ctx); err != nil {
			return err
		}
	}
	s, err := local.Start(ctx, r.Options)
	if err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C while starting is not a failure.
		}
		return err
	}
	s.PrintOverview()
	if r.watch && r.Bin == "" {
		stop, err := r.watchAll(ctx, s)
		if err != nil {
			return errors.Join(err, s.Stop())
		}
		defer stop()
	}
	select {
	case <-ctx.Done():
		fmt.Fprintln(r.Out, "stopping")
		return s.Stop()
	case <-s.Failed():
		return errors.Join(errors.New("the Kubernetes API has ended; its log is kubeapi.log in the data directory"), s.Stop())
	}
}

func (r *running) generateAll(ctx context.Context) error {
	for dir, p := range r.projects {
		changed, err := generate.Run(ctx, dir, false)
		if err != nil {
			return fmt.Errorf("synchronizer %s: %w", p.Name, err)
		}
		if len(changed) > 0 {
			fmt.Fprintf(r.Out, "%s: %d files were made\n", p.Name, len(changed))
		}
	}
	return nil
}

// problem shows an error that does not end the run.
func (r *running) problem(name string, err error) {
	fmt.Fprintf(r.Out, "%s: what is saved cannot be run, what ran before goes on:\n%s\n", name, console.EscapeLines(err.Error()))
}
