package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/scripts/bench/drive"
	"github.com/xos-knative/synchronizer/scripts/bench/report"
)

// patience is how long a load of n models may take.
func patience(n int) time.Duration { return 2*time.Minute + time.Duration(n)*200*time.Millisecond }

// measure lets write change models, and says what it took until n of them met a condition.
func (s *session) measure(ctx context.Context, name string, n int, met drive.Condition, write func(ctx context.Context) error) (report.Result, error) {
	return s.around(ctx, name, n, func(ctx context.Context) (time.Duration, []float64, error) {
		took, err := s.watch.Until(ctx, n, met, write)
		return took, nil, err
	})
}

// measureEach makes n changes, each after before has returned, and says how long each took until it was ready.
func (s *session) measureEach(ctx context.Context, name string, n int, before func(ctx context.Context) error) (report.Result, error) {
	return s.around(ctx, name, n, func(ctx context.Context) (time.Duration, []float64, error) {
		return s.watch.Each(ctx, n, s.count, before, s.update)
	})
}

// around does something and adds what was used meanwhile, also by what goes on for a moment after it.
func (s *session) around(ctx context.Context, name string, n int, do func(ctx context.Context) (time.Duration, []float64, error)) (r report.Result, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience(n), fmt.Errorf("not done after %s", patience(n)))
	defer cancel()
	// The metrics of the API take so much CPU that they are read outside of the rest.
	requests, err := s.Requests(ctx, forModels)
	if err != nil {
		return r, err
	}
	before, err := s.settled(ctx)
	if err != nil {
		return r, err
	}
	took, each, err := do(ctx)
	if err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	after, err := s.settled(ctx)
	if err != nil {
		return r, err
	}
	r = report.Result{Load: name, Models: n, Seconds: took.Seconds(), Milliseconds: each, CPU: after.cpuSince(before, n), Others: after.othersSince(before)}
	now, err := s.Requests(ctx, forModels)
	r.Requests = report.PerModel(requests, now, n)
	r.Requests["(events)"] = float64(after.events-before.events) / float64(n)
	return r, err
}

// forModels leaves out what programs ask for themselves.
func forModels(group string) bool {
	return group != "apiextensions.k8s.io" && group != "coordination.k8s.io"
}

// settled is what was used when all programs are idle, but for what an idle API does.
func (s *session) settled(ctx context.Context) (usage, error) {
	const idle = 0.04 // seconds of CPU between two looks
	for last := -1.0; ; {
		now, err := s.usage(ctx)
		if err != nil || last >= 0 && now.total()-last <= idle {
			return now, err
		}
		last = now.total()
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return now, err
		}
	}
}

// untilZero waits until no function runs.
func (s *session) untilZero(ctx context.Context) error {
	for {
		programs, err := s.functions(ctx)
		if err != nil || !slices.ContainsFunc(programs, func(p local.ProgramStats) bool { return p.Function && p.Running() }) {
			return err
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// wait returns after some time, with an error if the context has ended.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
