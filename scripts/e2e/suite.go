package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// suite is what the checks share.
type suite struct {
	options
	rows     []row
	measures []measure
	links    []*link

	// restore undoes, last first, what a check did to things that are not ours.
	restore []func(context.Context) error

	// mu protects following.
	mu sync.Mutex
	// peak is the most that a container was seen to use, by program.
	peak map[string]usage
}

// onEnd has something undone at the end, also of a run that failed.
func (s *suite) onEnd(f func(context.Context) error) { s.restore = append(s.restore, f) }

func (s *suite) restoreAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var errs []error
	for _, f := range slices.Backward(s.restore) {
		errs = append(errs, f(ctx))
	}
	s.restore = nil
	return errors.Join(errs...)
}

// functions are the names of all functions of the project: one file for each.
func functions() ([]string, error) {
	files, err := filepath.Glob("config/functions/*.yaml")
	if err == nil && len(files) == 0 {
		err = errors.New("config/functions: no YAML files; e2e runs in the folder of the project")
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".yaml"))
	}
	return names, err
}

// has tells whether the project has the function.
func has(function string) bool {
	_, err := os.Stat("config/functions/" + function + ".yaml")
	return err == nil
}

// needs is errSkipped, wrapped, if the project lacks one of the functions.
func needs(names ...string) error {
	for _, n := range names {
		if !has(n) {
			return fmt.Errorf("%w: there is no function %s", errSkipped, n)
		}
	}
	return nil
}

// programOf says which program a pod runs: the function, or the Deployment's app.
func programOf(pod *corev1.Pod) string {
	for _, label := range []string{"serving.knative.dev/service", "app"} {
		if name := pod.Labels[label]; name != "" {
			return name
		}
	}
	if pod.Labels["sources.knative.dev/containerSource"] != "" || strings.HasPrefix(pod.Name, "modelsource") {
		return "modelsource"
	}
	return pod.Name
}

// running lists the programs that have pods, each once, those of pods that are
// about to end included.
func running(ctx context.Context) ([]string, error) {
	pods, err := get[corev1.PodList](ctx, "pods")
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range pods.Items {
		if phase := pods.Items[i].Status.Phase; phase != corev1.PodSucceeded && phase != corev1.PodFailed {
			names = append(names, programOf(&pods.Items[i]))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// always are the programs that have pods when nothing is due.
var always = []string{"greeter", "modelsource"}

// atRest waits until only those that always run have pods.
func atRest(ctx context.Context) error {
	return until(ctx, "only the model source and the greeter have pods", func() error {
		names, err := running(ctx)
		if err != nil {
			return err
		}
		return expect(slices.Equal(names, always), "pods of %v", names)
	})
}

// diagnose shows what somebody would look at first after a failure.
func (s *suite) diagnose(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, ns := range []string{namespace, second} {
		if found, err := output(ctx, "", "kubectl", "get", "namespace", ns, "--ignore-not-found", "-o", "name"); found != "" || err != nil {
			diagnoseNamespace(ctx, ns)
		}
	}
}

func diagnoseNamespace(ctx context.Context, ns string) {
	fmt.Printf("\n=== The state of namespace %s after the failure\n", ns)
	for _, args := range [][]string{
		{"get", "pods", "-o", "wide"},
		{"get", "ksvc,brokers,triggers,sources,deployments"},
		{"get", "models"},
		{"get", "events", "--field-selector", "type!=Normal", "--sort-by", "lastTimestamp"},
		{"logs", "-l", "sources.knative.dev/containerSource", "--tail", "40"},
		{"logs", "-l", "serving.knative.dev/service", "-c", "user-container", "--tail", "20", "--prefix"},
		{"logs", "-l", "app=greeter", "--tail", "20"},
	} {
		show("kubectl", append([]string{"-n", ns}, args...)...)
		out, err := output(ctx, "", "kubectl", append([]string{"-n", ns}, args...)...)
		if lines := strings.Split(out, "\n"); len(lines) > 60 {
			out = strings.Join(lines[:60], "\n") + fmt.Sprintf("\n... %d more lines", len(lines)-60)
		}
		fmt.Println(out)
		if err != nil {
			fmt.Println(err)
		}
	}
}
