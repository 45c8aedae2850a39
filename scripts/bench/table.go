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
)

// command is how the bench was called.
func command() string { return strings.Join(append([]string{"bench"}, os.Args[1:]...), " ") }

// machine says what the figures are from.
func (b *bench) machine() string {
	versions := []string{fmt.Sprintf("%d cores", runtime.NumCPU()), runtime.Version()}
	own, _ := debug.ReadBuildInfo()
	versions = append(versions, version(own, "k8s.io/apiserver"))
	if operator, err := buildinfo.ReadFile(b.peerProgram()); err == nil {
		versions = append(versions, version(operator, "sigs.k8s.io/controller-runtime"))
	}
	return strings.Join(versions, ", ")
}

func version(info *debug.BuildInfo, module string) string {
	if info != nil {
		for _, d := range info.Deps {
			if d.Path == module {
				return d.Path + " " + d.Version
			}
		}
	}
	return module
}

// print writes the tables.
func (b *bench) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s; %s\n", command(), b.machine())
	all := groups(b.results)
	single := slices.DeleteFunc(slices.Clone(all), func(g group) bool { return !g[0].single() })
	many := slices.DeleteFunc(slices.Clone(all), func(g group) bool { return g[0].single() })
	b.printRates(w, many)
	b.printLatencies(w, single)
	b.printRequests(w, all)
	b.printCPU(w, all)
	b.printPeaks(w)
	b.printStartups(w)
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

func span(values []float64, digits int) string {
	return number(slices.Min(values), digits) + ".." + number(slices.Max(values), digits)
}

func others(r result) float64 { return r.Others }

func (b *bench) printRates(w io.Writer, all []group) {
	t := table(w, "MODELS", "SIDE", "PER SECOND", "MIN..MAX", "RATE TO PEER", "TO PEER 32", "TO FLOOR", "OTHERS")
	for _, g := range all {
		rates := g.all(result.rate)
		row(t, g[0].title(), g[0].Side, number(median(rates), 1), span(rates, 1), number(g.ratio(b.results, peer, result.rate), 2),
			number(g.ratio(b.results, peer32, result.rate), 2), number(g.ratio(b.results, floor, result.rate), 2), number(g.median(others), 1))
	}
	_ = t.Flush()
}

func (b *bench) printLatencies(w io.Writer, all []group) {
	p50 := func(r result) float64 { return percentile(r.Milliseconds, 50) }
	p99 := func(r result) float64 { return percentile(r.Milliseconds, 99) }
	t := table(w, "CHANGES", "SIDE", "P50 MS", "MIN..MAX", "P99 MS", "MIN..MAX", "P50 TO PEER", "OTHERS")
	for _, g := range all {
		row(t, g[0].title(), g[0].Side, number(g.median(p50), 1), span(g.all(p50), 1), number(g.median(p99), 1), span(g.all(p99), 1),
			number(g.ratio(b.results, peer, p50), 2), number(g.median(others), 1))
	}
	_ = t.Flush()
}

// printRequests shows requests to the API and events for each model.
func (b *bench) printRequests(w io.Writer, all []group) {
	var counts []map[string]float64
	for _, r := range b.results {
		counts = append(counts, r.Requests)
	}
	verbs := keys(counts...)
	t := table(w, append(append([]string{"REQUESTS PER MODEL", "SIDE"}, verbs...), "ALL", "EVENTS")...)
	for _, g := range all {
		cells := []string{g[0].title(), g[0].Side}
		sum := 0.0
		for _, verb := range verbs {
			n := g.median(func(r result) float64 { return r.Requests[verb] })
			sum += n
			cells = append(cells, number(n, 2))
		}
		row(t, append(cells, number(sum, 2), number(g.median(func(r result) float64 { return r.Events }), 2))...)
	}
	_ = t.Flush()
}

// printCPU shows the CPU of each program for each model.
func (b *bench) printCPU(w io.Writer, all []group) {
	var used []map[string]float64
	for _, r := range b.results {
		used = append(used, r.CPU)
	}
	programs := slices.DeleteFunc(keys(used...), func(p string) bool { return p == driver })
	t := table(w, append(append([]string{"CPU MS PER MODEL", "SIDE"}, programs...), "ALL", "(driver)")...)
	for _, g := range all {
		cells := []string{g[0].title(), g[0].Side}
		sum := 0.0
		for _, p := range programs {
			ms := g.median(func(r result) float64 { return r.CPU[p] })
			sum += ms
			cells = append(cells, number(ms, 2))
		}
		row(t, append(cells, number(sum, 1), number(g.median(func(r result) float64 { return r.CPU[driver] }), 1))...)
	}
	_ = t.Flush()
}

// printPeaks shows the most memory of each program, over all sessions with as many models.
func (b *bench) printPeaks(w io.Writer) {
	var most []peak
	for _, p := range b.peaks {
		n := slices.IndexFunc(most, func(m peak) bool { return m.Side == p.Side && m.Models == p.Models })
		if n < 0 {
			most = append(most, peak{Side: p.Side, Models: p.Models, MiB: map[string]int{}})
			n = len(most) - 1
		}
		for program, mib := range p.MiB {
			most[n].MiB[program] = max(most[n].MiB[program], mib)
		}
	}
	var all []map[string]int
	for _, p := range most {
		all = append(all, p.MiB)
	}
	programs := keys(all...)
	t := table(w, append([]string{"PEAK MIB, MODELS", "SIDE"}, programs...)...)
	for _, p := range most {
		cells := []string{fmt.Sprint(p.Models), p.Side}
		for _, program := range programs {
			cells = append(cells, number(float64(p.MiB[program]), 0))
		}
		row(t, cells...)
	}
	_ = t.Flush()
}
