// Command greeter is the micro-service that the hello-world synchronizer manages: an ordinary HTTP
// service that always runs and has its own store on disk. The synchronizer writes greetings into it
// and reads them back. The greeter's own users ask it for greetings, and it publishes those as
// CloudEvents. It knows nothing of Kubernetes.
package main

import (
	"context"
	"net/http"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/outbox"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/server"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/store"
	"github.com/xos-knative/synchronizer/pkg/function"
)

type settings struct {
	Store  store.Config
	Outbox outbox.Config
}

func main() { function.Main("greeter", build) }

func build(ctx context.Context, env settings) (http.Handler, error) {
	// The store is never closed: requests outlive ctx, and what was answered is on the disk already.
	s, err := store.Open(env.Store)
	if err != nil {
		return nil, err
	}
	p, err := outbox.New(ctx, s, env.Outbox)
	if err != nil {
		return nil, err
	}
	go s.SweepTombstones(ctx)
	go p.Run(ctx)
	return server.New(ctx, s, p.Notify), nil
}
