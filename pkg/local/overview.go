package local

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/local/broker"
	"github.com/xos-knative/synchronizer/pkg/local/manifest"
)

// Overview says what runs where and how to talk to it, as a text for humans.
func (s *System) Overview() string {
	var b strings.Builder
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		slices.Sort(lines)
		fmt.Fprintf(&b, "  %s\n", title)
		for _, l := range lines {
			fmt.Fprintf(&b, "    %s\n", l)
		}
	}
	fmt.Fprintf(&b, "  %s\n", s.summary())
	s.mu.RLock()
	r := s.running
	s.mu.RUnlock()
	public, inside := s.functionLines(r)
	section("functions, started by their first request:", public)
	section("functions inside of the cluster:", inside)
	section("always running:", s.daemonLines(r))
	section("brokers:", s.brokerLines(r))
	section("schedules:", s.scheduleLines(r))
	fmt.Fprintf(&b, "  kubernetes api:\n    export KUBECONFIG=%s\n    kubectl get models -A\n", shortPath(s.Kubeconfig()))
	fmt.Fprintf(&b, "  data and logs:\n    %s\n", shortPath(filepath.Join(s.o.Dir, "logs")))
	return b.String()
}

// summary says which synchronizers run.
func (s *System) summary() string {
	names := s.Synchronizers()
	if len(names) == 0 {
		return "only the core runs, and no synchronizer, so models are not synchronized; " + s.howToAdd()
	}
	return "synchronizers: " + strings.Join(names, ", ")
}

// called is a line about an object of that name.
func (s *System) called(namespace, name, format string, args ...any) string {
	return fmt.Sprintf("%-20s ", s.label(types.NamespacedName{Namespace: namespace, Name: name})) + fmt.Sprintf(format, args...)
}

// curl is how to send a request to a Service inside of the cluster.
func (s *System) curl(namespace, name string) string {
	return fmt.Sprintf("curl -H 'Host: %s' %s", manifest.ServiceURL(namespace, name).Host, s.URL())
}

func (s *System) functionLines(r running) (public, inside []string) {
	for key, f := range r.functions {
		if f.spec.Public {
			public = append(public, s.called(key.Namespace, key.Name, "%s", s.FunctionURL(key.Namespace, key.Name)))
		} else {
			inside = append(inside, s.called(key.Namespace, key.Name, "%s", s.curl(key.Namespace, key.Name)))
		}
	}
	return public, inside
}

func (s *System) daemonLines(r running) (lines []string) {
	for key, d := range r.daemons {
		line := s.label(key)
		for _, back := range r.backends {
			if back.daemon == d {
				line = s.called(key.Namespace, key.Name, "%s", s.curl(back.spec.Namespace, back.spec.Name))
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func (s *System) brokerLines(r running) (lines []string) {
	for _, b := range r.set.Brokers {
		kind := "answers when delivered"
		if broker.Async(b) {
			kind = "answers before delivery"
		}
		lines = append(lines, s.called(b.Namespace, b.Name, "%s (%s)", s.BrokerURL(b.Namespace, b.Name), kind))
	}
	return lines
}

func (s *System) scheduleLines(r running) (lines []string) {
	for _, p := range r.set.PingSources {
		lines = append(lines, s.called(p.Namespace, p.Name, "%s", p.Spec.Schedule))
	}
	return lines
}

// PrintOverview shows Overview on the console.
func (s *System) PrintOverview() { s.console.Print("\n" + s.Overview() + "\n") }

// shortPath is path as seen from the current directory, if that is shorter.
func shortPath(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(wd, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return rel
}
