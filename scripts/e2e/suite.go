package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/xos-knative/synchronizer/scripts/bench/report"
)

// suite is what the checks share.
type suite struct {
	options
	rows     []row
	measures []measure
	links    []*link

	// results and used are those of compare.
	results, used []report.Result

	// restore undoes what a check did to things that are not ours, the last one first.
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

// named is an object of a namespace: a function, or an account.
type named struct{ ns, name string }

// functions are those of the core and of hello-world, as their files have them.
func functions() ([]named, error) {
	var all []named
	for _, folder := range []string{"config/core", "config/helloworld"} {
		resources, err := readFolder(folder)
		if err != nil {
			return nil, fmt.Errorf("%w; e2e runs in the folder of the project", err)
		}
		for _, r := range resources {
			if r.GroupVersionKind().Group == "serving.knative.dev" {
				all = append(all, named{r.GetNamespace(), r.GetName()})
			}
		}
	}
	return all, nil
}

// programOf is the program that a pod runs: the function, or the Deployment's app.
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

// pods are those of the core and of hello-world.
func pods(ctx context.Context) ([]corev1.Pod, error) {
	var all []corev1.Pod
	for _, ns := range []string{system, namespace} {
		list, err := get[corev1.PodList](ctx, "pods", "-n", ns)
		if err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
	}
	return all, nil
}

// running lists the programs that have pods, each once, also those whose pods are about
// to end.
func running(ctx context.Context) ([]string, error) {
	all, err := pods(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range all {
		if phase := all[i].Status.Phase; phase != corev1.PodSucceeded && phase != corev1.PodFailed {
			names = append(names, programOf(&all[i]))
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
	for _, ns := range []string{system, namespace, second, library, workflow, peer} {
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
