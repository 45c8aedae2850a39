package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// The namespaces, as in config/.
const (
	// system is that of the core.
	system = "synchronizer-system"
	// namespace is that of hello-world.
	namespace = "helloworld"
	// second is that of config/overlays/namespace.
	second = "greetings"
	// library is that of the small synchronizer in [libraryDir].
	library = "library"
	// workflow is that of the workflow driver in [workflowDir].
	workflow = "workflow"
)

// The synchronizers of the tests, each with a config/ and an eventing/.
const (
	libraryDir  = "pkg/testdata/library"
	workflowDir = "pkg/testdata/workflow"
)

// patience is how long a check waits for anything: a slow cluster is no failure.
const patience = 4 * time.Minute

// timeout is the patience of kubectl.
const timeout = "--timeout=4m"

// show prints a command as a user would type it.
func show(name string, args ...string) {
	var b strings.Builder
	b.WriteString("  $ " + name)
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " {}'\"|&$?*<>();\n") {
			a = "'" + a + "'"
		}
		b.WriteString(" " + a)
	}
	fmt.Println(b.String())
}

// output runs a command and returns what it writes to standard output. The
// error holds what it wrote to standard error.
func output(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), err
}

// kubectl shows and runs a command, in the namespace of hello-world unless it names
// another.
func kubectl(ctx context.Context, args ...string) (string, error) {
	return kubectlStdin(ctx, "", args...)
}

func kubectlStdin(ctx context.Context, stdin string, args ...string) (string, error) {
	if !slices.Contains(args, "-n") && !slices.Contains(args, "-A") {
		args = append([]string{"-n", namespace}, args...)
	}
	show("kubectl", args...)
	out, err := output(ctx, stdin, "kubectl", args...)
	if lines := strings.Split(out, "\n"); out != "" && len(lines) <= 12 {
		fmt.Println("    " + strings.Join(lines, "\n    "))
	}
	return out, err
}

// kubectlAll shows and runs commands without quotes, one after another.
func kubectlAll(ctx context.Context, commands ...string) error {
	for _, c := range commands {
		if _, err := kubectl(ctx, strings.Fields(c)...); err != nil {
			return err
		}
	}
	return nil
}

// get reads objects into a typed value and shows nothing: checks poll with it. The
// namespace is that of hello-world unless the arguments name another.
func get[T any](ctx context.Context, args ...string) (*T, error) {
	out, err := output(ctx, "", "kubectl", append([]string{"get", "-o", "json", "-n", namespace}, args...)...)
	if err != nil {
		return nil, err
	}
	into := new(T)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return nil, fmt.Errorf("kubectl get %s: %w", strings.Join(args, " "), err)
	}
	return into, nil
}

// until waits until the condition returns no error. If it never does, the error says
// what the condition said last.
func until(ctx context.Context, what string, condition func() error) error {
	start := time.Now()
	if err := untilQuietly(ctx, what, condition); err != nil {
		return err
	}
	fmt.Printf("  ok after %.1f s: %s\n", time.Since(start).Seconds(), what)
	return nil
}

// untilQuietly is until without a line about success.
func untilQuietly(ctx context.Context, what string, condition func() error) error {
	start := time.Now()
	var last error
	err := wait.PollUntilContextTimeout(ctx, 250*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = condition()
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting %s until %s: %w", time.Since(start).Round(time.Second), what, last)
	}
	return nil
}

// expect is a condition of until in one line.
func expect(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
