package main

import (
	"context"
	"os"
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
	b := &bench{root: root(t), dir: t.TempDir(), self: self, many: 6, repeatMany: 1, dependents: 4, within: time.Hour}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := b.build(ctx, chosen); err != nil {
		t.Fatal(err)
	}
	if err := b.measure(ctx, time.Now(), b.rounds(chosen)); err != nil {
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
	for _, text := range []string{"PER SECOND", "6 new", "4 service changed", "runner"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("the tables have %q, got:\n%s", text, &out)
		}
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
