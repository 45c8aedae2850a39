package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
)

// measure is one number of the report.
type measure struct{ subject, what, value string }

func (s *suite) measured(subject, what string, d time.Duration) {
	s.note(subject, what, seconds(d))
}

func (s *suite) note(subject, what, value string) {
	s.measures = append(s.measures, measure{subject, what, value})
	fmt.Printf("  measured: %s, %s: %s\n", subject, what, value)
}

func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func (s *suite) printMeasures() {
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "OF\tMEASURED\tVALUE")
	for _, m := range s.measures {
		fmt.Fprintf(w, "%s\t%s\t%s\n", m.subject, m.what, m.value)
	}
	w.Flush()
}

// nothing are curl's arguments for an event that no function handles.
var nothing = []string{"-X", "POST", "-H", "ce-specversion: 1.0", "-H", "ce-id: e2e", "-H", "ce-source: /e2e", "-H", "ce-type: dev.xos-knative.e2e.nothing"}

// warmCalls is how many calls the warm latency is taken from.
const warmCalls = 20

// latency calls each function at zero pods, and then again and again. What it
// sends is well formed and asks for nothing, so this is the cost of the way:
// ingress, activator, pod, function.
func (s *suite) latency(ctx context.Context) error {
	all, err := functions()
	if err != nil {
		return err
	}
	for _, f := range all {
		l, err := s.linkToAddressable(ctx, f.ns, "ksvc", f.name)
		if err != nil {
			return err
		}
		// The port-forward must not be part of the measurement.
		if err := l.open(ctx); err != nil {
			return err
		}
		var cold *answer
		// A function that must not be called like this answers 4xx; also that is an answer.
		args := nothing
		if f.name == "tosca" {
			args = []string{"-X", "POST"}
		}
		cold, err = l.call(ctx, "/", args...)
		if err != nil {
			return err
		}
		if cold.code >= http.StatusInternalServerError {
			return fmt.Errorf("%s: %d %s", f.name, cold.code, cold.body)
		}
		var warm []time.Duration
		for range warmCalls {
			a, err := l.call(ctx, "/", args...)
			if err != nil {
				return err
			}
			warm = append(warm, a.took)
		}
		slices.Sort(warm)
		s.note("function "+f.name, fmt.Sprintf("first answer from zero pods; median of %d more", warmCalls),
			seconds(cold.took)+"; "+seconds(warm[len(warm)/2]))
	}
	return nil
}

// usage is what one container needs.
type usage struct{ workingSetBytes, nanoCores uint64 }

// summary is the part of kubelet's answer that is used.
type summary struct {
	Pods []struct {
		PodRef     struct{ Name, Namespace string }
		Containers []struct {
			Name string
			CPU  struct {
				Time                                 time.Time
				UsageNanoCores, UsageCoreNanoSeconds uint64
			}
			Memory struct{ WorkingSetBytes uint64 }
		}
	}
}

// sampleUsage notes the peaks of the containers of the project; kubelet itself
// looks every ten seconds or so, and says what CPU was used since.
func (s *suite) sampleUsage(ctx context.Context) error {
	program, err := podPrograms(ctx)
	if err != nil {
		return err
	}
	return summaries(ctx, func(stats *summary) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range stats.Pods {
			name, ours := program[types.NamespacedName{Namespace: p.PodRef.Namespace, Name: p.PodRef.Name}]
			if !ours {
				continue
			}
			for _, c := range p.Containers {
				// A sidecar of Knative is not the function's doing.
				if c.Name != "queue-proxy" {
					peak := s.peak[name]
					s.peak[name] = usage{max(peak.workingSetBytes, c.Memory.WorkingSetBytes), max(peak.nanoCores, c.CPU.UsageNanoCores)}
				}
			}
		}
	})
}

// podPrograms are the programs of the pods of the core and of hello-world.
func podPrograms(ctx context.Context) (map[types.NamespacedName]string, error) {
	all, err := pods(ctx)
	program := map[types.NamespacedName]string{}
	for i := range all {
		program[types.NamespacedName{Namespace: all[i].Namespace, Name: all[i].Name}] = programOf(&all[i])
	}
	return program, err
}

// summaries calls f with what the kubelet of each node says.
func summaries(ctx context.Context, f func(*summary)) error {
	nodes, err := output(ctx, "", "kubectl", "get", "nodes", "-o", "name")
	if err != nil {
		return err
	}
	for node := range strings.Lines(nodes) {
		node = strings.TrimPrefix(strings.TrimSpace(node), "node/")
		out, err := output(ctx, "", "kubectl", "get", "--raw", "/api/v1/nodes/"+node+"/proxy/stats/summary")
		if err != nil {
			return err
		}
		stats := &summary{}
		if err := json.Unmarshal([]byte(out), stats); err != nil {
			return err
		}
		f(stats)
	}
	return nil
}

// containerName names a container of a pod.
type containerName struct{ ns, pod, name string }

// reading is what each container has used by a time that its kubelet chose.
type reading map[containerName]containerUsage

type containerUsage struct {
	program  string
	at       time.Time
	cpu, mib float64 // ms so far; working set
}

// read takes what counts: ours, the operator, and Knative, by namespace. Its part beside a function is queue-proxy.
func (r reading) read(stats *summary, ours map[types.NamespacedName]string) {
	for _, p := range stats.Pods {
		program := ours[types.NamespacedName{Namespace: p.PodRef.Namespace, Name: p.PodRef.Name}]
		if ns := p.PodRef.Namespace; ns == peer || strings.HasPrefix(ns, "knative-") {
			program = ns
		}
		for _, c := range p.Containers {
			name := program
			if c.Name == "queue-proxy" {
				name = c.Name
			}
			// A kubelet has not looked at a container that has just begun.
			if program != "" && !c.CPU.Time.IsZero() {
				r[containerName{p.PodRef.Namespace, p.PodRef.Name, c.Name}] = containerUsage{name, c.CPU.Time,
					float64(c.CPU.UsageCoreNanoSeconds) / 1e6, float64(c.Memory.WorkingSetBytes) / (1 << 20)}
			}
		}
	}
}

// settled reads when all kubelets have looked once more.
func settled(ctx context.Context) (last reading, err error) {
	var first reading
	err = wait.PollUntilContextTimeout(ctx, 2*time.Second, patience, true, func(ctx context.Context) (bool, error) {
		ours, err := podPrograms(ctx)
		if err != nil {
			return false, err
		}
		last = reading{}
		if err := summaries(ctx, func(stats *summary) { last.read(stats, ours) }); err != nil {
			return false, err
		}
		if first == nil {
			first = last
		}
		return last.isLater(first), nil
	})
	return last, err
}

// isLater reports whether all containers that are in both have been looked at since.
func (r reading) isLater(first reading) bool {
	for c, now := range r {
		if before, ok := first[c]; ok && !now.at.After(before.at) {
			return false
		}
	}
	return true
}

// since is the CPU for each of n models since another reading, in ms, and the memory now, in MiB, by program. What a pod
// used that has ended meanwhile is not known.
func (r reading) since(before reading, n int) (cpu, mib map[string]float64) {
	cpu, mib = map[string]float64{}, map[string]float64{}
	for c, now := range r {
		ms := (now.cpu - before[c].cpu) / float64(n)
		cpu[now.program] += ms
		cpu["all"] += ms
		mib[now.program] += now.mib
		mib["all"] += now.mib
	}
	return cpu, mib
}

// watchUsage samples until it is stopped.
func (s *suite) watchUsage(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait.UntilWithContext(ctx, func(ctx context.Context) { _ = s.sampleUsage(ctx) }, 3*time.Second)
	}()
	return func() { cancel(); <-done }
}

// sizes reports the usage that was seen and the size of the images.
func (s *suite) sizes(ctx context.Context) error {
	if err := s.sampleUsage(ctx); err != nil {
		return fmt.Errorf("%w: the nodes do not say: %w", errSkipped, err)
	}
	for _, name := range slices.Sorted(maps.Keys(s.peak)) {
		peak := s.peak[name]
		s.note(name, "memory, largest working set seen", fmt.Sprintf("%.0f MiB", float64(peak.workingSetBytes)/(1<<20)))
		s.note(name, "CPU, most used between two looks of the kubelet", fmt.Sprintf("%.0f m", float64(peak.nanoCores)/1e6))
	}
	return s.imageSizes(ctx)
}

// imageSizes reports the size of each image that the core and hello-world run.
func (s *suite) imageSizes(ctx context.Context) error {
	nodes, err := get[corev1.NodeList](ctx, "nodes")
	if err != nil {
		return err
	}
	var used string
	for _, ns := range []string{system, namespace} {
		images, err := output(ctx, "", "kubectl", "get", "revisions,deployments", "-n", ns, "-o",
			`jsonpath={range .items[*]}{.spec.containers[*].image} {.spec.template.spec.containers[*].image}{"\n"}{end}`)
		if err != nil {
			return err
		}
		used += images + "\n"
	}
	seen := map[string]bool{}
	for _, n := range nodes.Items {
		for _, i := range n.Status.Images {
			for _, name := range i.Names {
				if !strings.Contains(used, name) || seen[name] {
					continue
				}
				seen[name] = true
				s.note(programOfImage(name), "image, as the registry sends it", fmt.Sprintf("%.1f MB", float64(i.SizeBytes)/1e6))
			}
		}
	}
	return nil
}

// programOfImage is the program in an image that ko has made.
func programOfImage(image string) string {
	program := image[strings.LastIndex(image, "/")+1:]
	program, _, _ = strings.Cut(program, "@")
	if cut := strings.LastIndex(program, "-"); cut > 0 {
		program = program[:cut] // ko's hash of the import path
	}
	return program
}
