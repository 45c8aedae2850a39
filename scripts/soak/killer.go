package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/xos-knative/synchronizer/pkg/local"
)

// killer ends and stops processes.
type killer struct {
	system *local.System
	faults *tally
	rng    *rand.Rand
	wg     sync.WaitGroup // of those that are stopped
}

const (
	// pause is the mean time between two faults of processes.
	pause = 1500 * time.Millisecond
	// shortStop and longStop are how long a process is stopped at most. The long one is longer than a step may take and than
	// the source waits for its outcome.
	shortStop = 3 * time.Second
	longStop  = 40 * time.Second
	// rest is how long what always runs is left alone: the runner, like a cluster, starts what ends again and again only
	// after growing waits.
	rest = 12 * time.Second
)

// run goes on until ctx ends. Then all processes run again.
func (k *killer) run(ctx context.Context) {
	defer k.wg.Wait()
	last := map[string]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(k.rng.ExpFloat64() * float64(pause))):
		}
		programs := slices.DeleteFunc(k.system.Programs(), func(p local.ProgramStats) bool {
			return !p.Running() || !p.Function && time.Since(last[p.Name]) < rest
		})
		if len(programs) == 0 {
			continue
		}
		p := programs[k.rng.IntN(len(programs))]
		last[p.Name] = time.Now()
		k.hit(ctx, p, p.PIDs[k.rng.IntN(len(p.PIDs))])
	}
}

// hit does something to one process.
func (k *killer) hit(ctx context.Context, p local.ProgramStats, pid int) {
	stop := shortStop
	switch draw := k.rng.IntN(10); {
	case draw < 5:
		k.faults.add("SIGKILL " + p.Name)
		_ = syscall.Kill(pid, syscall.SIGKILL)
		return
	case draw == 9:
		stop = longStop
	}
	k.faults.add("SIGSTOP " + p.Name)
	if syscall.Kill(pid, syscall.SIGSTOP) != nil {
		return
	}
	after := time.Duration(k.rng.Int64N(int64(stop)))
	k.wg.Go(func() {
		select {
		case <-time.After(after):
		case <-ctx.Done():
		}
		_ = syscall.Kill(pid, syscall.SIGCONT)
	})
}
