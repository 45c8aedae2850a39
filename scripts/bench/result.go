package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// result is what one load took with one side. Numbers of requests and events, and ms of CPU, are for each model.
type result struct {
	Side, Load   string
	Models       int
	Repetition   int
	Seconds      float64
	Milliseconds []float64 `json:",omitempty"` // of single changes
	Requests     map[string]float64
	Events       float64
	CPU          map[string]float64
	Others       float64 // how many cores the rest of the machine used
}

// peak is how much memory the programs of a session had at most.
type peak struct {
	Side   string
	Models int
	MiB    map[string]int
}

// rate is models per second.
func (r result) rate() float64 { return float64(r.Models) / r.Seconds }

func (r result) single() bool { return len(r.Milliseconds) > 0 }

// title names a load in the tables.
func (r result) title() string { return fmt.Sprintf("%d %s", r.Models, r.Load) }

// line is what is shown while the bench runs.
func (r result) line() string {
	if r.single() {
		return fmt.Sprintf("%-8s %s: p50 %.1f ms, p99 %.1f ms (others %.1f cores)", r.Side, r.title(), percentile(r.Milliseconds, 50), percentile(r.Milliseconds, 99), r.Others)
	}
	return fmt.Sprintf("%-8s %s: %.1f/s (others %.1f cores)", r.Side, r.title(), r.rate(), r.Others)
}

// percentile is the smallest of the values that p percent of them do not exceed.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(p/100*float64(len(sorted))))-1)]
}

// median is the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// group is all repetitions of one load with one side.
type group []result

// groups are the results by load and side, in the order of the first of each load, the sides in turn.
func groups(results []result) (all []group) {
	var titles []string
	bySide := map[string][]group{}
	for _, r := range results {
		title := r.title()
		if !slices.Contains(titles, title) {
			titles = append(titles, title)
		}
		n := slices.IndexFunc(bySide[title], func(g group) bool { return g[0].Side == r.Side })
		if n < 0 {
			bySide[title] = append(bySide[title], group{r})
			continue
		}
		bySide[title][n] = append(bySide[title][n], r)
	}
	for _, title := range titles {
		all = append(all, bySide[title]...)
	}
	return all
}

// all are the values of one kind.
func (g group) all(value func(result) float64) (values []float64) {
	for _, r := range g {
		values = append(values, value(r))
	}
	return values
}

func (g group) median(value func(result) float64) float64 { return median(g.all(value)) }

// ratio compares with another side: the median of the ratios of each repetition. NaN if there is nothing to compare with.
func (g group) ratio(all []result, side string, value func(result) float64) float64 {
	var ratios []float64
	for _, r := range g {
		for _, other := range all {
			if other.Side == side && other.title() == r.title() && other.Repetition == r.Repetition {
				ratios = append(ratios, value(r)/value(other))
			}
		}
	}
	return median(ratios)
}

// keys are all keys of some maps, sorted.
func keys[V any](ms ...map[string]V) []string {
	all := map[string]bool{}
	for _, m := range ms {
		for k := range m {
			all[k] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
