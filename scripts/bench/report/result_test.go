package report

import (
	"math"
	"testing"
)

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	tests := map[string]struct {
		reason string
		values []float64
		p      float64
		want   float64
	}{
		"Middle":  {"Half of the values are not above it", hundred, 50, 50},
		"Last":    {"Of 100 values one is above the 99th percentile", hundred, 99, 99},
		"Highest": {"With few values it is the highest one", []float64{3, 1, 2}, 99, 3},
		"One":     {"One value is every percentile", []float64{7}, 50, 7},
		"None":    {"There is none of nothing", nil, 50, math.NaN()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := percentile(tt.values, tt.p); got != tt.want && !(math.IsNaN(got) && math.IsNaN(tt.want)) {
				t.Errorf("%s: want %v, got %v", tt.reason, tt.want, got)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for want, values := range map[float64][]float64{2: {3, 1, 2}, 2.5: {4, 1, 3, 2}, 5: {5}, 1.5: {2, 1}} {
		if got := Median(values); got != want {
			t.Errorf("of %v: want %v, got %v", values, want, got)
		}
	}
	if got := Median(nil); !math.IsNaN(got) {
		t.Errorf("there is none of nothing, got %v", got)
	}
}

// TestRatio compares repetitions with each other, not medians: the machine was slow in the second.
func TestRatio(t *testing.T) {
	results := []Result{
		{Side: Peer, Load: "new", Models: 10, Repetition: 0, Seconds: 1}, {Side: "ours", Load: "new", Models: 10, Repetition: 0, Seconds: 2},
		{Side: Peer, Load: "new", Models: 10, Repetition: 1, Seconds: 10}, {Side: "ours", Load: "new", Models: 10, Repetition: 1, Seconds: 40},
		{Side: Peer, Load: "new", Models: 10, Repetition: 2, Seconds: 1}, {Side: "ours", Load: "new", Models: 10, Repetition: 2, Seconds: 2},
		{Side: Peer, Load: "new", Models: 20, Repetition: 0, Seconds: 9},
	}
	for _, g := range groups(results) {
		want := map[string]float64{Peer: 1, "ours": 0.5}[g[0].Side]
		if got := g.ratio(results, Peer, Result.rate); got != want {
			t.Errorf("%s of %s: want %v, got %v", g[0].Title(), g[0].Side, want, got)
		}
		if got := g.ratio(results, "nobody", Result.rate); !math.IsNaN(got) {
			t.Errorf("there is no ratio to a side that was not measured, got %v", got)
		}
	}
}
