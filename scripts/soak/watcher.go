package main

import (
	"context"
	"fmt"
	"time"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
)

// watcher looks at the greetings while they change: none may become older than it was. In the end that would not be seen
// any more of those that have changed again.
type watcher struct {
	world *world
	seen  map[string]api.Greeting
	// older says what has become older.
	older []string
}

// run goes on until ctx ends.
func (w *watcher) run(ctx context.Context) {
	w.seen = map[string]api.Greeting{}
	for {
		for now, err := range w.world.greeter.All(ctx, client.ListOptions{}) {
			if err != nil {
				break // It was killed or stopped.
			}
			w.look(now)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (w *watcher) look(now api.Greeting) {
	before, ok := w.seen[now.ID]
	w.seen[now.ID] = now
	if ok && (now.Generation < before.Generation || now.Generation == before.Generation && now.From.Before(before.From)) {
		w.older = append(w.older, fmt.Sprintf("greeting %s: generation %d %q came after generation %d %q", now.ID, now.Generation, now.Message, before.Generation, before.Message))
	}
}
