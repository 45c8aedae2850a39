package main

import (
	"context"
	"fmt"
	"time"
)

// round is a part of the run, in which each of some sides has a session.
type round struct {
	title string
	work  int // as many new models take about as long
	run   func(ctx context.Context) error
}

// How many new models take about as long as the programs of a session to start, as a single change, and as one from zero.
const setUpWork, singleWork, zeroWork = 400, 3, 50

// growthWork is as much for some numbers of models. Most of it is that the API takes in what is written into etcd.
func growthWork(sizes []int) int { return sizes[len(sizes)-1] / 10 }

// rounds are all that is to be measured. What takes longest comes last.
func (b *bench) rounds(chosen []side) (all []round) {
	var ours []side
	for _, s := range chosen {
		if s.functions {
			ours = append(ours, s)
		}
	}
	// add has some sides take turns, repeat times.
	add := func(title string, repeat int, sides []side, work int, loads ...load) {
		for n := range repeat {
			if work <= 0 || len(sides) == 0 {
				return
			}
			all = append(all, round{fmt.Sprintf("%s (%d of %d)", title, n+1, repeat), (setUpWork + work) * len(sides), func(ctx context.Context) error {
				for _, s := range sides {
					if err := b.session(ctx, s, n, loads...); err != nil {
						return err
					}
				}
				return nil
			}})
		}
	}
	few := []load{newInstances(b.models), changedInstances}
	if b.changes > 0 {
		few = append(few, singleChanges(b.changes))
	}
	many := []load{newInstances(b.many)}
	if b.dependents > 0 {
		many = append(many, changedService, deletedInstances)
	}
	add(fmt.Sprintf("%d models", b.models), b.repeat, chosen, 2*b.models+singleWork*b.changes, few...)
	if b.starts > 0 {
		all = append(all, round{"starts of programs", 10 * b.starts, func(ctx context.Context) error { return b.processStarts(ctx, chosen) }})
	}
	if len(b.sizes) > 0 {
		all = append(all, round{"growth", setUpWork + growthWork(b.sizes), b.grow})
	}
	var idle []side
	for _, s := range ours {
		idle = append(idle, s.idle())
	}
	add("changes from zero", 1, idle, zeroWork*b.zeros, changesFromZero(b.zeros))
	add(fmt.Sprintf("%d models", b.many), b.repeatMany, chosen, b.many+2*min(b.many, b.dependents), many...)
	add("pull", 1, ours, b.pull, newInstances(b.pull), pullRound)
	return all
}

// measure goes through the rounds, but for those that would not end in time, going by those before.
func (b *bench) measure(ctx context.Context, began time.Time, rounds []round) error {
	first, done := time.Now(), 0
	for _, r := range rounds {
		if done > 0 && time.Since(began)+time.Since(first)*time.Duration(r.work)/time.Duration(done) > b.within {
			fmt.Printf("bench: left out, because of -within %s: %s\n", b.within, r.title)
			b.left = append(b.left, r.title)
			continue
		}
		if err := r.run(ctx); err != nil {
			return err
		}
		done += r.work
	}
	return nil
}
