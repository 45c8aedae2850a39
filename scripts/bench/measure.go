package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/xos-knative/synchronizer/pkg/local"
)

// patience is how long a load of n models may take.
func patience(n int) time.Duration { return 2*time.Minute + time.Duration(n)*200*time.Millisecond }

// measure lets write change models, and says what it took until n of them met a condition.
func (s *session) measure(ctx context.Context, name string, n int, met condition, write func(ctx context.Context) error) (result, error) {
	return s.around(ctx, name, n, func(ctx context.Context) (time.Duration, []float64, error) {
		took, err := s.watch.until(ctx, n, met, write)
		return took, nil, err
	})
}

// measureEach makes n changes, each after before has returned, and says how long each took until it was ready.
func (s *session) measureEach(ctx context.Context, name string, n int, before func(ctx context.Context) error) (result, error) {
	return s.around(ctx, name, n, func(ctx context.Context) (all time.Duration, each []float64, err error) {
		for k := range n {
			if err := before(ctx); err != nil {
				return 0, nil, err
			}
			which, to := instanceName(k%s.count), fmt.Sprintf("%s %d", name, k)
			met := func(i *instance, gone bool) bool { return i.Name == which && greets(to)(i, gone) }
			took, err := s.watch.until(ctx, 1, met, func(ctx context.Context) error { return s.update(ctx, which, to) })
			if err != nil {
				return 0, nil, err
			}
			all += took
			each = append(each, float64(took.Microseconds())/1000)
		}
		return all, each, nil
	})
}

// around does something and adds what was used meanwhile, also by what goes on for a moment after it.
func (s *session) around(ctx context.Context, name string, n int, do func(ctx context.Context) (time.Duration, []float64, error)) (r result, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience(n), fmt.Errorf("not done after %s", patience(n)))
	defer cancel()
	// The metrics of the API take so much CPU that they are read outside of the rest.
	requests, err := s.requests(ctx)
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
	r = result{Load: name, Models: n, Seconds: took.Seconds(), Milliseconds: each, Requests: map[string]float64{}, CPU: after.cpuSince(before, n), Others: after.othersSince(before)}
	now, err := s.requests(ctx)
	for verb := range now {
		r.Requests[verb] = (now[verb] - requests[verb]) / float64(n)
		r.Requests["all"] += r.Requests[verb]
	}
	r.Requests["(events)"] = float64(after.events-before.events) / float64(n)
	return r, err
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
