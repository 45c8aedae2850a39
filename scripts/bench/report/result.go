// Package report keeps what was measured of several sides that do the same job, and prints it side by side.
package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// Result is what one load took with one side. Requests, events and ms of CPU are for each model.
type Result struct {
	Side, Load   string
	Models       int
	Repetition   int
	Seconds      float64
	Milliseconds []float64          `json:",omitempty"` // of single changes
	Requests     map[string]float64 `json:",omitempty"` // by verb, with their sum and the events that functions got
	CPU          map[string]float64 `json:",omitempty"` // by program
	Others       float64            // how many cores the rest of the machine used
	Peak         map[string]float64 `json:",omitempty"` // MiB by program, of a whole session
}

func (r Result) rate() float64   { return float64(r.Models) / r.Seconds } // models per second
func (r Result) p50() float64    { return percentile(r.Milliseconds, 50) }
func (r Result) p99() float64    { return percentile(r.Milliseconds, 99) }
func (r Result) others() float64 { return r.Others }
func (r Result) single() bool    { return len(r.Milliseconds) > 0 }

// Title names a load in the tables.
func (r Result) Title() string { return fmt.Sprintf("%d %s", r.Models, r.Load) }

// Line is what is shown while the bench runs.
func (r Result) Line() string {
	took := fmt.Sprintf("%.1f/s", r.rate())
	if r.single() {
		took = fmt.Sprintf("p50 %.1f ms, p99 %.1f ms", r.p50(), r.p99())
	}
	return fmt.Sprintf("%-8s %s: %s (others %.1f cores)", r.Side, r.Title(), took, r.Others)
}

// PerModel is what was added to sums for each of n models, and all of that together.
func PerModel(before, now map[string]float64, n int) map[string]float64 {
	each := map[string]float64{}
	for name := range now {
		each[name] = (now[name] - before[name]) / float64(n)
		each["all"] += each[name]
	}
	return each
}

// percentile is the smallest of the values that p percent of them do not exceed. NaN if there are none.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return slices.Sorted(slices.Values(values))[max(0, int(math.Ceil(p/100*float64(len(values))))-1)]
}

// Median is the value in the middle, or between the two in the middle. NaN if there is none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted, n := slices.Sorted(slices.Values(values)), len(values)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// group is all repetitions of one load with one side.
type group []Result

// groups are the results by load and side, each in the order of the first one.
func groups(results []Result) (all []group) {
	loads, sides := map[string]int{}, map[string]int{}
	found := map[[2]int]group{}
	for _, r := range results {
		key := [2]int{place(loads, r.Title()), place(sides, r.Side)}
		found[key] = append(found[key], r)
	}
	for _, key := range slices.SortedFunc(maps.Keys(found), func(a, b [2]int) int { return slices.Compare(a[:], b[:]) }) {
		all = append(all, found[key])
	}
	return all
}

// place is the order in which a name came first.
func place(order map[string]int, name string) int {
	if _, ok := order[name]; !ok {
		order[name] = len(order)
	}
	return order[name]
}

// Values are one value of each result.
func Values(results []Result, value func(Result) float64) (values []float64) {
	for _, r := range results {
		values = append(values, value(r))
	}
	return values
}

func (g group) median(value func(Result) float64) float64 { return Median(Values(g, value)) }

// ratio compares with another side: the median of the ratios of each repetition. NaN if there is nothing to compare with.
func (g group) ratio(all []Result, side string, value func(Result) float64) float64 {
	var ratios []float64
	for _, r := range g {
		for _, other := range all {
			if other.Side == side && other.Title() == r.Title() && other.Repetition == r.Repetition {
				ratios = append(ratios, value(r)/value(other))
			}
		}
	}
	return Median(ratios)
}
