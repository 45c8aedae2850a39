package main

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"

	"k8s.io/apimachinery/pkg/util/sets"
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
	all := groups(b.results)
	b.printRates(w, slices.DeleteFunc(slices.Clone(all), func(g group) bool { return g[0].single() }))
	b.printLatencies(w, slices.DeleteFunc(slices.Clone(all), func(g group) bool { return !g[0].single() }))
	matrix(w, "REQUESTS PER MODEL", all, 2, func(r result) map[string]float64 { return r.Requests })
	matrix(w, "CPU MS PER MODEL", all, 2, func(r result) map[string]float64 { return r.CPU })
	matrix(w, "PEAK MIB", groups(b.peaks), 0, func(r result) map[string]float64 { return r.Peak })
	b.printStartups(w)
	b.printGrowth(w)
	if len(b.left) > 0 {
		fmt.Fprintf(w, "\nleft out, because of -within %s: %s\n", b.within, strings.Join(b.left, ", "))
	}
}

func table(w io.Writer, columns ...string) *tabwriter.Writer {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	row(t, columns...)
	return t
}

func row(t io.Writer, cells ...string) { fmt.Fprintln(t, strings.Join(cells, "\t")) }

// number is a cell. What is not there, or nothing, is a dash.
func number(v float64, digits int) string {
	if math.IsNaN(v) || v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.*f", digits, v)
}

// spread is two cells: the median of all repetitions, and their range.
func spread(values []float64) []string {
	return []string{number(median(values), 1), number(slices.Min(values), 1) + ".." + number(slices.Max(values), 1)}
}

func (b *bench) printRates(w io.Writer, all []group) {
	if len(all) == 0 {
		return
	}
	t := table(w, "MODELS", "SIDE", "PER SECOND", "MIN..MAX", "RATE TO PEER", "TO PEER 32", "TO FLOOR", "OTHERS")
	for _, g := range all {
		row(t, slices.Concat([]string{g[0].title(), g[0].Side}, spread(g.all(result.rate)), []string{
			number(g.ratio(b.results, peer, result.rate), 2), number(g.ratio(b.results, peer32, result.rate), 2),
			number(g.ratio(b.results, floor, result.rate), 2), number(g.median(result.others), 1)})...)
	}
	_ = t.Flush()
}

func (b *bench) printLatencies(w io.Writer, all []group) {
	if len(all) == 0 {
		return
	}
	t := table(w, "CHANGES", "SIDE", "P50 MS", "MIN..MAX", "P99 MS", "MIN..MAX", "P50 TO PEER", "OTHERS")
	for _, g := range all {
		row(t, slices.Concat([]string{g[0].title(), g[0].Side}, spread(g.all(result.p50)), spread(g.all(result.p99)), []string{
			number(g.ratio(b.results, peer, result.p50), 2), number(g.median(result.others), 1)})...)
	}
	_ = t.Flush()
}

// matrix has a column for each key that values have.
func matrix(w io.Writer, title string, all []group, digits int, values func(result) map[string]float64) {
	names := sets.New[string]()
	for _, g := range all {
		for _, r := range g {
			names = names.Union(sets.KeySet(values(r)))
		}
	}
	columns := sets.List(names)
	if len(columns) == 0 {
		return
	}
	t := table(w, append([]string{title, "SIDE"}, columns...)...)
	for _, g := range all {
		cells := []string{g[0].title(), g[0].Side}
		for _, name := range columns {
			cells = append(cells, number(g.median(func(r result) float64 { return values(r)[name] }), digits))
		}
		row(t, cells...)
	}
	_ = t.Flush()
}
