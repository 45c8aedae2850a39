package main

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/xos-knative/synchronizer/scripts/bench/report"
)

// command is how the bench was called.
func command() string { return strings.Join(append([]string{"bench"}, os.Args[1:]...), " ") }

// machine says what the figures are from.
func (b *bench) machine() string {
	own, _ := debug.ReadBuildInfo()
	text := fmt.Sprintf("%d cores, %s, %s", runtime.NumCPU(), runtime.Version(), version(own, "k8s.io/apiserver"))
	if operator, err := buildinfo.ReadFile(b.peerProgram()); err == nil {
		text += ", " + version(operator, "sigs.k8s.io/controller-runtime")
	}
	return text
}

func version(info *debug.BuildInfo, module string) string {
	if n := slices.IndexFunc(info.Deps, func(d *debug.Module) bool { return d.Path == module }); n >= 0 {
		module += " " + info.Deps[n].Version
	}
	return module
}

// print writes the tables.
func (b *bench) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s; %s\n", command(), b.machine())
	report.Rates(w, b.results)
	report.Latencies(w, b.results)
	report.Matrix(w, "REQUESTS PER MODEL", b.results, 2, func(r report.Result) map[string]float64 { return r.Requests })
	report.Matrix(w, "CPU MS PER MODEL", b.results, 2, func(r report.Result) map[string]float64 { return r.CPU })
	report.Matrix(w, "PEAK MIB", b.peaks, 0, func(r report.Result) map[string]float64 { return r.Peak })
	b.printStartups(w)
	b.printGrowth(w)
	if len(b.left) > 0 {
		fmt.Fprintf(w, "\nleft out, because of -within %s: %s\n", b.within, strings.Join(b.left, ", "))
	}
}
