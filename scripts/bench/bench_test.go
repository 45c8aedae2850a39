package main

import (
	"context"
	"encoding/xml"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/scripts/bench/report"
)

// TestMain makes the test binary the children of a bench, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && children[os.Args[1]] != nil {
		main()
	}
	os.Exit(m.Run())
}

func TestChosenSides(t *testing.T) {
	got, err := chosenSides("ours, floor")
	if err != nil || len(got) != 2 || got[0].name != "ours" || got[1].name != report.Floor {
		t.Errorf("want ours and floor, got %v, %v", got, err)
	}
	if _, err := chosenSides("theirs"); err == nil || !strings.Contains(err.Error(), "floor,peer,peer 32,ours") {
		t.Errorf("the error lists the sides, got %v", err)
	}
}

func TestParseSizes(t *testing.T) {
	tests := map[string]struct {
		reason, text string
		want         []int
		err          bool
	}{
		"Some":    {"Numbers that grow, with spaces or without", "1000, 20000,300000", []int{1000, 20000, 300000}, false},
		"None":    {"Nothing is to be measured", "", nil, false},
		"Shrinks": {"Models are added, not taken away", "10,5", nil, true},
		"Zero":    {"Without models nothing grows", "0,5", nil, true},
		"Word":    {"Only numbers", "10,many", nil, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseSizes(tt.text)
			if diff := cmp.Diff(tt.want, got); !tt.err && diff != "" || tt.err != (err != nil) || err != nil && !strings.Contains(err.Error(), "-growth") {
				t.Errorf("%s: -want, +got:\n%s%v", tt.reason, diff, err)
			}
		})
	}
}

// TestRounds has some rounds that take no time, and leaves out what would take too long, going by those.
func TestRounds(t *testing.T) {
	chosen, err := chosenSides("floor,ours")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{models: 5, repeat: 2, many: 50, repeatMany: 1, dependents: 50, starts: 1, zeros: 1, sizes: []int{10}, within: time.Hour}
	var got []string
	rounds := b.rounds(chosen)
	for n, r := range rounds {
		got = append(got, r.title)
		rounds[n].run = func(context.Context) error { return nil }
		if r.work <= 0 {
			t.Errorf("%s is some work, got %d", r.title, r.work)
		}
	}
	want := []string{"5 models (1 of 2)", "5 models (2 of 2)", "starts of programs", "growth", "changes from zero (1 of 1)", "50 models (1 of 1)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what takes longest comes last: -want, +got:\n%s", diff)
	}
	began := time.Now()
	if err := b.measure(t.Context(), began, rounds); err != nil || len(b.left) > 0 {
		t.Errorf("want all rounds in an hour, %v left out, %v", b.left, err)
	}
	if err := b.measure(t.Context(), began.Add(-time.Hour), rounds); err != nil || !slices.Equal(b.left, want[1:]) {
		t.Errorf("want all but the first one left out when there is no time, got %v, %v", b.left, err)
	}
}

func TestExponent(t *testing.T) {
	for want, more := range map[float64]float64{1: 50, 2: 500, 0: 5, 0.5: 5 * math.Sqrt(10)} {
		if got := exponent(100, 1000, 5, more); math.Abs(got-want) > 1e-9 {
			t.Errorf("from 5 to %v with ten times the models: want %v, got %v", more, want, got)
		}
	}
}

// TestPicture draws what grows linearly: the line of the source lies on the dotted one.
func TestPicture(t *testing.T) {
	p := panel{Left: 10, Lines: []line{{Name: "source", values: []float64{0.2, 2, 20}}, {Name: "other", values: []float64{0.1, 1, 20}}}}
	p.plot([]int{100, 1000, 10000})
	points := map[string]string{}
	for _, l := range p.Lines {
		points[l.Name] = l.Points
	}
	if points["source"] != points["linear"] || points["other"] == points["linear"] {
		t.Errorf("want a line that lies on the dotted one, and one that does not, got %v", points)
	}
	if a, b := p.Lines[0].TextY, p.Lines[1].TextY; b-a < 14 {
		t.Errorf("want the names of lines that end at one place apart, got them at %d and %d", a, b)
	}
	b := &bench{picture: "any.svg"}
	if err := b.draw(); err == nil || !strings.Contains(err.Error(), "-growth") {
		t.Errorf("want an error that says what is missing for a picture, got %v", err)
	}
}

// TestBench measures a few models with the floor and with ours, and looks at what the tables say.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("starts whole systems")
	}
	chosen, err := chosenSides("floor,ours")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{root: root(t), dir: t.TempDir(), self: self, dependents: 4, sizes: []int{2, 7}, within: time.Hour}
	b.picture = filepath.Join(b.dir, "growth.svg")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // On a busy machine; it takes one.
	defer cancel()
	if err := b.build(ctx, chosen); err != nil {
		t.Fatal(err)
	}
	for _, s := range chosen {
		if err := b.session(ctx, s, 0, newInstances(6), changedInstances, changedService, deletedInstances); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.grow(ctx); err != nil {
		t.Fatal(err)
	}
	type row struct {
		Side, Title        string
		Patches, HasEvents bool
	}
	var got []row
	cpu := 0.0
	for _, r := range b.results {
		got = append(got, row{r.Side, r.Title(), r.Requests["PATCH"] > 0, r.Requests["(events)"] > 0})
		cpu += r.CPU["api"] // A load can take less than the 10 ms that the system counts in.
		if r.Seconds <= 0 || r.Load == "new" && r.Requests["POST"] < 1 {
			t.Errorf("%s of %s takes time, and each new model a POST: got %+v", r.Title(), r.Side, r)
		}
	}
	want := []row{
		{report.Floor, "6 new", true, false}, {report.Floor, "6 changed", true, false}, {report.Floor, "4 service changed", true, false}, {report.Floor, "4 deleted", true, false},
		{"ours", "6 new", true, true}, {"ours", "6 changed", true, true}, {"ours", "4 service changed", true, true}, {"ours", "4 deleted", true, true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("each load with its requests and events: -want, +got:\n%s", diff)
	}
	if cpu <= 0 {
		t.Error("the API server has used CPU, got none")
	}
	var out strings.Builder
	b.print(&out)
	for _, text := range []string{"PER SECOND", "6 new", "4 service changed", "runner", "SOURCE READY"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("the tables have %q, got:\n%s", text, &out)
		}
	}
	for n, g := range b.growths {
		if g.Models != b.sizes[n] || g.start() <= 0 || g.read() <= 0 || g.MiB <= 0 || g.Peak < g.MiB || g.Heap <= 0 || g.Bytes <= int64(g.Models*1000) {
			t.Errorf("with %d models the source takes time and memory, got %+v", b.sizes[n], g)
		}
	}
	if len(b.growths) != len(b.sizes) {
		t.Errorf("want the source measured at %v models, got %+v", b.sizes, b.growths)
	}
	if err := b.draw(); err != nil {
		t.Fatal(err)
	}
	drawn, err := os.ReadFile(b.picture)
	if err != nil || xml.Unmarshal(drawn, &struct{}{}) != nil || !strings.Contains(string(drawn), "bare read") {
		t.Errorf("want a picture with the lines' names, got %v:\n%s", err, drawn)
	}
}

// root is the project.
func root(t *testing.T) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(wd, "/scripts/bench")
}
