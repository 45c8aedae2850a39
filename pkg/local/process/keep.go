package process

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// steady is how long a program has to live for its next end to count as the first one again.
const steady = 10 * time.Second

// firstBackoff is the wait before the first restart; it doubles up to maxBackoff. A cluster starts at 10 s, which is long
// for somebody who watches.
const (
	firstBackoff = 250 * time.Millisecond
	maxBackoff   = 30 * time.Second
)

// Keeper keeps a program running.
type Keeper struct {
	start  func() (*Process, error)
	report func(Event)

	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex // protects following
	current *Process
	starts  int
}

// Event is what Keep reports.
type Event struct {
	// Process is the one that was started or has ended. Nil if it could not even be started.
	Process *Process
	// Ended: it has ended or could not be started, and Err says how.
	Ended bool
	Err   error
	// Wait is the time until the next start.
	Wait time.Duration
}

// Keep runs what start returns, until Stop. Each start and each end is reported.
func Keep(start func() (*Process, error), report func(Event)) *Keeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &Keeper{start: start, report: report, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(k.ended)
		k.run(ctx)
	}()
	return k
}

func (k *Keeper) run(ctx context.Context) {
	backoff := newBackoff()
	for ctx.Err() == nil {
		began := time.Now()
		p, err := k.start()
		if err == nil {
			k.set(p)
			k.report(Event{Process: p})
			select {
			case <-p.Done():
				err = p.Err()
			case <-ctx.Done():
				p.Stop()
				k.set(nil)
				return
			}
			k.set(nil)
		}
		if time.Since(began) > steady {
			backoff = newBackoff()
		}
		pause := backoff.Step()
		k.report(Event{Process: p, Ended: true, Err: err, Wait: pause})
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func newBackoff() wait.Backoff {
	return wait.Backoff{Duration: firstBackoff, Factor: 2, Steps: 20, Cap: maxBackoff}
}

func (k *Keeper) set(p *Process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current = p
	if p != nil {
		k.starts++
	}
}

// Current is the process that runs now, nil between two runs.
func (k *Keeper) Current() *Process {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

// Starts is how often the program was started.
func (k *Keeper) Starts() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.starts
}

// Stop ends the program and returns when it is gone.
func (k *Keeper) Stop() {
	k.cancel()
	<-k.ended
}
