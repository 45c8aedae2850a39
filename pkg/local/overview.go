package local

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/xos-knative/synchronizer/pkg/local/broker"
	"github.com/xos-knative/synchronizer/pkg/local/manifest"
)

// Overview tells what runs where and how to talk to it, as a text for humans.
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

	var public, inside, always, brokers, pings []string
	for _, f := range s.functions {
		if f.spec.Public {
			public = append(public, fmt.Sprintf("%-14s %s", f.spec.Name, s.FunctionURL(f.spec.Namespace, f.spec.Name)))
			continue
		}
		inside = append(inside, fmt.Sprintf("%-14s curl -H 'Host: %s' %s", f.spec.Name, manifest.ServiceURL(f.spec.Namespace, f.spec.Name).Host, s.URL()))
	}
	for _, d := range s.daemons {
		line := d.spec.Name
		for _, back := range s.backends {
			if back.daemon == d {
				line = fmt.Sprintf("%-14s curl -H 'Host: %s' %s", d.spec.Name, manifest.ServiceURL(back.spec.Namespace, back.spec.Name).Host, s.URL())
			}
		}
		always = append(always, line)
	}
	for _, br := range s.set.Brokers {
		kind := "answers when delivered"
		if broker.Async(br) {
			kind = "answers before delivery"
		}
		brokers = append(brokers, fmt.Sprintf("%-14s %s (%s)", br.Name, s.BrokerURL(br.Namespace, br.Name), kind))
	}
	for _, p := range s.set.PingSources {
		pings = append(pings, fmt.Sprintf("%-14s %s", p.Name, p.Spec.Schedule))
	}
	section("functions, started by their first request:", public)
	section("functions inside of the cluster:", inside)
	section("always running:", always)
	section("brokers:", brokers)
	section("schedules:", pings)
	fmt.Fprintf(&b, "  kubernetes api:\n    export KUBECONFIG=%s\n    kubectl get models -A\n", shortPath(s.Kubeconfig()))
	fmt.Fprintf(&b, "  data and logs:\n    %s\n", shortPath(filepath.Join(s.o.Dir, "logs")))
	return b.String()
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
