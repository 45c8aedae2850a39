package main

import (
	"context"
	"fmt"
	"time"
)

// patience is how long a load of n models may take.
func patience(n int) time.Duration { return 2*time.Minute + time.Duration(n)*200*time.Millisecond }

// measure lets write change models, and says what it took until n of them met a condition.
func (s *session) measure(ctx context.Context, name string, n int, met func(i *instance, gone bool) bool, write func(ctx context.Context) error) (result, error) {
	return s.around(ctx, name, n, func(ctx context.Context) (time.Duration, []float64, error) {
		e := s.watch.expect(n, met)
		began := time.Now()
		if err := write(ctx); err != nil {
			return 0, nil, err
		}
		end, err := s.watch.wait(ctx, e)
		return end.Sub(began), nil, err
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
			e := s.watch.expect(1, func(i *instance, gone bool) bool { return i.Name == which && greets(to)(i, gone) })
			began := time.Now()
			if err := s.update(ctx, which, to); err != nil {
				return 0, nil, err
			}
			end, err := s.watch.wait(ctx, e)
			if err != nil {
				return 0, nil, err
			}
			all += end.Sub(began)
			each = append(each, float64(end.Sub(began).Microseconds())/1000)
		}
		return all, each, nil
	})
}

// measureCall says how long a call takes that has to do with n models.
func (s *session) measureCall(ctx context.Context, name string, n int, call func(ctx context.Context) error) (result, error) {
	return s.around(ctx, name, n, func(ctx context.Context) (time.Duration, []float64, error) {
		began := time.Now()
		err := call(ctx)
		return time.Since(began), nil, err
	})
}

// around does something and adds what was used meanwhile, also by what goes on for a moment after it.
func (s *session) around(ctx context.Context, name string, n int, do func(ctx context.Context) (time.Duration, []float64, error)) (r result, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience(n), fmt.Errorf("not done after %s", patience(n)))
	defer cancel()
	requests, err := s.requests(ctx)
	if err != nil {
		return r, err
	}
	if err := s.settle(ctx); err != nil {
		return r, err
	}
	before, err := s.usage()
	if err != nil {
		return r, err
	}
	took, each, err := do(ctx)
	if err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	if err := s.settle(ctx); err != nil {
		return r, err
	}
	after, err := s.usage()
	if err != nil {
		return r, err
	}
	requestsAfter, err := s.requests(ctx)
	if err != nil {
		return r, err
	}
	r = result{Load: name, Models: n, Seconds: took.Seconds(), Milliseconds: each, Requests: map[string]float64{}, CPU: after.cpuSince(before, n),
		Events: float64(after.events-before.events) / float64(n), Others: after.othersSince(before)}
	for verb, count := range requestsAfter {
		if made := count - requests[verb]; made > 0 {
			r.Requests[verb] = made / float64(n)
		}
	}
	return r, nil
}

// settle waits until all programs are idle, but for what an idle API does.
func (s *session) settle(ctx context.Context) error {
	const interval, idle = 200 * time.Millisecond, 4 * tick
	for last := time.Duration(-1); ; {
		now, err := s.usage()
		if err != nil {
			return err
		}
		total := now.total()
		if last >= 0 && total-last <= idle {
			return nil
		}
		last = total
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(interval):
		}
	}
}

// untilZero waits until no function runs.
func (s *session) untilZero(ctx context.Context) error {
	for {
		programs, err := s.functions(ctx)
		if err != nil {
			return err
		}
		running := false
		for _, p := range programs {
			running = running || p.Function && p.Running()
		}
		if !running {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
