package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// check is one row of the table.
type check struct {
	name string
	run  func(*suite, context.Context) error
}

// errSkipped is wrapped by the error of a check that had nothing to check.
var errSkipped = errors.New("skipped")

// checks lists everything in the order of running; each builds on those before it.
func checks(o options) []check {
	list := []check{
		{"The cluster has Knative and nothing of ours", (*suite).empty},
		{"Install: the core, then hello-world with one command; everything gets Ready", (*suite).install},
		{"A second ko apply changes nothing", (*suite).installAgain},
		{"Pod Security restricted is enforced and kept", (*suite).podSecurity},
		{"The greeter's network policy selects the right pods", (*suite).networkPolicy},
		{"Each account may do what it needs, and nothing else", (*suite).rights},
		{"At rest only the model source and the greeter have pods", (*suite).rest},
		{"Cold and warm latency of each function", (*suite).latency},
		{"Tutorial 1-3: models are greeted (no policy yet)", (*suite).greeted},
		{"Tutorial 5: a change is synced again", (*suite).changed},
		{"Tutorial 6, 7: Tyrion is deferred again and again, Joffrey fails with growing waits", (*suite).retried},
		{"Tutorial 9: the policy deletes both", (*suite).policed},
		{"Tutorial 10: pull adopts a record that is never synced", (*suite).pulled},
		{"Tutorial 11: an event makes an instance, once", (*suite).evented},
		{"An event that cannot be handled is a DeadLetter; replayed, it works", (*suite).deadLettered},
		{"Tutorial 4: nothing happens until a model changes", (*suite).undisturbed},
		{"A model wakes exactly the functions that it needs, from zero", (*suite).woken},
		{"Tutorial 8: a deletion takes the greeting back, then the object is gone", (*suite).deleted},
		{"A TOSCA recipe is uploaded and deleted", (*suite).recipe},
		{"What users do to models: replaced, paused, opted out, waiting, owned", (*suite).habits},
		{"An ordinary user asks why, asks again, checks, and is told which right is missing", (*suite).operator},
		{"An object that cannot be read holds up no other", (*suite).unreadable},
		{"A second synchronizer comes, gets new versions, and goes while hello-world works", (*suite).another},
		{"Devices that are driven by events end in the same state in any order of them", (*suite).driven},
		{"Function pods are killed while steps run", (*suite).killFunctions},
		{"Source, broker and greeter restart during a burst", (*suite).restarts},
		{"A change made while the source is down", (*suite).withoutSource},
		{"A change made while the broker is down", (*suite).withoutBroker},
	}
	if o.overlays {
		list = append(list,
			check{"A second hello-world in another namespace", (*suite).elsewhere},
			check{"Sender identity: only the Trigger's events get in", (*suite).senderIdentity})
	}
	list = append(list, check{"Memory, CPU and image sizes", (*suite).sizes})
	if o.measure {
		list = []check{list[0], list[1], {"Hello-world beside an operator that does the same job", (*suite).compare}}
	}
	if !o.keep && o.measure {
		list = append(list, check{"Removing hello-world, then the core, leaves nothing behind", (*suite).uninstall})
	} else if !o.keep {
		list = append(list, check{"Removing hello-world, then the core, leaves nothing behind", (*suite).uninstallBusy})
	}
	if o.only != nil {
		list = slices.DeleteFunc(list, func(c check) bool { return !o.only.MatchString(c.name) })
	}
	return list
}

// row is the outcome of a check.
type row struct {
	name    string
	took    time.Duration
	outcome string
}

// runAll runs the checks until one fails.
func (s *suite) runAll(ctx context.Context, list []check) error {
	for i, c := range list {
		fmt.Printf("\n=== %d. %s\n", i+1, c.name)
		start := time.Now()
		err := c.run(s, ctx)
		r := row{c.name, time.Since(start), "ok"}
		switch {
		case errors.Is(err, errSkipped):
			r.outcome = err.Error()
		case err != nil:
			r.outcome = "FAILED"
		}
		s.rows = append(s.rows, r)
		fmt.Printf("--- %s (%.1f s)\n", r.outcome, r.took.Seconds())
		if r.outcome == "FAILED" {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// printTable prints what was checked, then what was measured.
func (s *suite) printTable() {
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CHECK\tSECONDS\tRESULT")
	var total time.Duration
	for _, r := range s.rows {
		total += r.took
		fmt.Fprintf(w, "%s\t%.1f\t%s\n", r.name, r.took.Seconds(), r.outcome)
	}
	fmt.Fprintf(w, "total\t%.1f\t\n", total.Seconds())
	w.Flush()
	s.printMeasures()
	if len(s.results) > 0 {
		s.printCompared()
	}
}
