package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"k8s.io/apimachinery/pkg/util/sets"
)

// The sides that others are compared with.
const (
	Floor  = "floor"
	Peer   = "peer"
	Peer32 = "peer 32"
)

// Table begins a table.
func Table(w io.Writer, columns ...string) *tabwriter.Writer {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	Row(t, columns...)
	return t
}

// Row adds a line to a table.
func Row(t io.Writer, cells ...string) { fmt.Fprintln(t, strings.Join(cells, "\t")) }

// Number is a cell. What is not there, or nothing, is a dash.
func Number(v float64, digits int) string {
	if math.IsNaN(v) || v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.*f", digits, v)
}

// Spread is two cells: the median of all repetitions, and their range.
func Spread(values []float64) []string {
	return []string{Number(Median(values), 1), Number(slices.Min(values), 1) + ".." + Number(slices.Max(values), 1)}
}

// Rates prints the loads that were one burst, as a table of models per second.
func Rates(w io.Writer, results []Result) {
	all := slices.DeleteFunc(groups(results), func(g group) bool { return g[0].single() })
	if len(all) == 0 {
		return
	}
	t := Table(w, "MODELS", "SIDE", "PER SECOND", "MIN..MAX", "RATE TO PEER", "TO PEER 32", "TO FLOOR", "OTHERS")
	for _, g := range all {
		Row(t, slices.Concat([]string{g[0].Title(), g[0].Side}, Spread(Values(g, Result.rate)), []string{
			Number(g.ratio(results, Peer, Result.rate), 2), Number(g.ratio(results, Peer32, Result.rate), 2),
			Number(g.ratio(results, Floor, Result.rate), 2), Number(g.median(Result.others), 1)})...)
	}
	_ = t.Flush()
}

// Latencies prints those that were single changes.
func Latencies(w io.Writer, results []Result) {
	all := slices.DeleteFunc(groups(results), func(g group) bool { return !g[0].single() })
	if len(all) == 0 {
		return
	}
	t := Table(w, "CHANGES", "SIDE", "P50 MS", "MIN..MAX", "P99 MS", "MIN..MAX", "P50 TO PEER", "OTHERS")
	for _, g := range all {
		Row(t, slices.Concat([]string{g[0].Title(), g[0].Side}, Spread(Values(g, Result.p50)), Spread(Values(g, Result.p99)), []string{
			Number(g.ratio(results, Peer, Result.p50), 2), Number(g.median(Result.others), 1)})...)
	}
	_ = t.Flush()
}

// Matrix prints a table with a column for each key that values have.
func Matrix(w io.Writer, title string, results []Result, digits int, values func(Result) map[string]float64) {
	all := groups(results)
	names := sets.New[string]()
	for _, g := range all {
		for _, r := range g {
			names = names.Union(sets.KeySet(values(r)))
		}
	}
	columns := sets.List(names)
	t := Table(w, append([]string{title, "SIDE"}, columns...)...)
	for _, g := range all {
		cells := []string{g[0].Title(), g[0].Side}
		for _, name := range columns {
			cells = append(cells, Number(g.median(func(r Result) float64 { return values(r)[name] }), digits))
		}
		Row(t, cells...)
	}
	_ = t.Flush()
}
