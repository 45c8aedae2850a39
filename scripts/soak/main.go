// Soak runs the local system as real processes, with several of each function, while users change models, a killer ends
// and stops processes, and the network between all of them loses, delays, doubles and cuts. Then the faults end, and
// everything has to converge. It prints what was done and what is wrong then; the exit code is 0 only if nothing is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"knative.dev/pkg/signals"

	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/console"
)

// soak is one run.
type soak struct {
	root, dir       string
	duration, bound time.Duration
	seed            uint64
	pods, users     int
	verbose         bool

	faults, changes tally
	converged       time.Duration
}

func main() {
	s := &soak{}
	flag.StringVar(&s.root, "root", ".", "the project: its config/ and eventing/ are run")
	flag.StringVar(&s.dir, "dir", "", "where to keep data and logs (default a temporary folder, which is kept if something is wrong)")
	flag.DurationVar(&s.duration, "duration", time.Minute, "how long there are changes and faults")
	flag.DurationVar(&s.bound, "bound", 2*time.Minute, "how long everything may take to converge after that")
	flag.Uint64Var(&s.seed, "seed", rand.Uint64(), "of what is random; the order of what happens at the same time is not repeated")
	flag.IntVar(&s.pods, "pods", 2, "how many processes of a function share its requests")
	flag.IntVar(&s.users, "users", 4, "how many users change models")
	flag.BoolVar(&s.verbose, "verbose", false, "show what the system prints")
	flag.Parse()
	if err := s.run(signals.NewContext()); err != nil {
		fmt.Fprintf(os.Stderr, "soak: FAILED: %s\n", console.EscapeLines(err.Error()))
		os.Exit(1)
	}
}

func (s *soak) run(ctx context.Context) (err error) {
	fmt.Printf("soak: changes and faults for %s, -seed %d\n", s.duration, s.seed)
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "synchronizer-soak-"); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				fmt.Printf("soak: data and logs are in %s\n", s.dir)
				return
			}
			err = os.RemoveAll(s.dir)
		}()
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	out, err := os.Create(filepath.Join(s.dir, "console.log"))
	if err != nil {
		return err
	}
	defer out.Close()
	var shown io.Writer = out
	if s.verbose {
		shown = io.MultiWriter(os.Stdout, out)
	}
	network := newNetwork(s.seed, maxDelay, &s.faults)
	system, err := local.Start(ctx, local.Options{
		Root: s.root, Dir: s.dir, Out: shown, Only: []string{"helloworld"}, Idle: 2 * time.Second, Pods: s.pods, Network: network.between,
		Without: []string{"pingsource/pull"}, // The visitor ticks.
	})
	if err != nil {
		return err
	}
	v, err := s.play(ctx, system, network)
	if err := errors.Join(err, system.Stop()); err != nil {
		return err
	}
	s.print(v)
	if !v.clean() {
		return errors.New("the table says what is wrong")
	}
	return nil
}

// play has users change and faults happen, and then waits until nothing is wrong any more.
func (s *soak) play(ctx context.Context, system *local.System, network *network) (verdict, error) {
	w, err := newWorld(system)
	if err != nil {
		return nil, err
	}
	var users []*user
	for n := range s.users {
		users = append(users, newUser(w, fmt.Sprintf("%s%d", userPrefix, n), s.seed+uint64(n), &s.changes))
	}
	if err := users[0].host(ctx, home); err != nil {
		return nil, err
	}
	visitor := &visitor{world: w, rng: rand.New(rand.NewPCG(s.seed, 3)), changes: &s.changes}
	killer := &killer{system: system, faults: &s.faults, rng: rand.New(rand.NewPCG(s.seed, 4))}

	soaking, cancel := context.WithTimeout(ctx, s.duration)
	defer cancel()
	all, soaking := errgroup.WithContext(soaking)
	network.failing.Store(true)
	for _, u := range users {
		all.Go(func() error { return u.run(soaking) })
	}
	all.Go(func() error { return visitor.run(soaking) })
	all.Go(func() error { killer.run(soaking); return nil })
	all.Go(func() error { network.run(soaking); return nil })
	watcher := &watcher{world: w}
	all.Go(func() error { watcher.run(soaking); return nil })
	err = all.Wait()
	network.failing.Store(false)
	if err != nil {
		return nil, err
	}
	v, err := s.converge(ctx, w, users, visitor)
	if err == nil && len(watcher.older) > 0 {
		v[older] = watcher.older
	}
	return v, err
}

// converge waits until nothing is wrong, for as long as it may take.
func (s *soak) converge(ctx context.Context, w *world, users []*user, v *visitor) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, s.bound)
	defer cancel()
	began, last, pulled := time.Now(), verdict(nil), false
	for n := 0; ; n++ {
		if n%10 == 0 {
			// An instance or a dead letter may just have come by an event.
			if err := errors.Join(settle(ctx, w, users, &s.changes), replay(ctx, w, &s.changes)); err != nil {
				return last, err
			}
		}
		now, err := judge(ctx, w, users, v, pulled)
		if s.converged = time.Since(began); err == nil {
			last = now
		}
		// Pull comes last: it would put right what the others have done wrong.
		switch {
		case err == nil && now.clean() && pulled:
			return now, nil
		case err == nil && now.clean(), pulled && n%10 == 0:
			w.tick(ctx)
			pulled = true
		}
		select {
		case <-ctx.Done():
			if last == nil {
				return nil, err
			}
			return last, nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// print writes the table.
func (s *soak) print(v verdict) {
	table := newTable(os.Stdout)
	s.faults.print(table, "fault")
	s.changes.print(table, "change")
	for _, f := range faults {
		fmt.Fprintf(table, "result\t%s\t%d\n", f, len(v[f]))
	}
	fmt.Fprintf(table, "result\tseconds until all had converged\t%.0f\n", s.converged.Seconds())
	_ = table.Flush()
	for _, f := range faults {
		for _, what := range v[f] {
			fmt.Printf("%s: %s\n", f, console.Escape(what))
		}
	}
}
