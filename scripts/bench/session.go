package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	greeter "github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
)

// session is one side from an empty API to the end of its loads.
type session struct {
	bench      *bench
	side       side
	repetition int
	dir        string
	programs   []*program
	runner     *program // nil if the side has none
	api        *program
	greeterURL string

	*models
	known   map[string]*service // by the floor
	greeter *greeter.Client     // the driver's own, for the floor
	watch   *watch
}

// load is one thing that is measured in a session.
type load func(ctx context.Context, s *session) (result, error)

// session measures loads with a side, one after the other.
func (b *bench) session(ctx context.Context, side side, repetition int, loads ...load) (err error) {
	ctx, cancel := context.WithCancel(ctx) // Of the watch.
	defer cancel()
	s, err := b.begin(ctx, side, repetition)
	if err != nil {
		return fmt.Errorf("%s: %w", side.name, err)
	}
	defer s.stop()
	for _, load := range loads {
		r, err := load(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
		r.Side, r.Repetition = side.name, repetition
		b.results = append(b.results, r)
		fmt.Println("bench:", r.line())
	}
	usage, err := s.usage()
	if err != nil {
		return err
	}
	b.peaks = append(b.peaks, peak{Side: side.name, Models: s.count, MiB: usage.peak})
	return nil
}

// begin starts a session. Without an error, stop ends it.
func (b *bench) begin(ctx context.Context, side side, repetition int) (s *session, err error) {
	s = &session{bench: b, side: side, repetition: repetition, known: map[string]*service{}}
	if s.dir, err = os.MkdirTemp(b.dir, "session-"); err != nil {
		return nil, err
	}
	if err := s.setUp(ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// setUp brings up everything, makes the services, and does the job a few times: what is measured is warm.
func (s *session) setUp(ctx context.Context) (err error) {
	s.api, err = s.start(ctx, "api", s.bench.self, []string{"api", "-dir", filepath.Join(s.dir, "api"), "-crds", crdFolders(s.bench.root)})
	if err != nil {
		return err
	}
	service, err := s.start(ctx, "greeter", filepath.Join(s.bench.bin, "functions/helloworld/greeter"), nil, "DATA_DIR="+filepath.Join(s.dir, "greeter"))
	if err != nil {
		return err
	}
	s.greeterURL = "http://" + service.address
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	if s.greeter, err = greeter.New(s.greeterURL, greeter.WithHTTPClient(&http.Client{Transport: transport})); err != nil {
		return err
	}
	if s.models, err = newModelsClient(s.kubeconfig()); err != nil {
		return err
	}
	if s.side.start != nil {
		if err := s.side.start(ctx, s, s.side.args...); err != nil {
			return err
		}
	}
	if s.watch, err = startWatch(ctx, s.models); err != nil {
		return err
	}
	for _, name := range []string{serviceOfMany, serviceOfRest} {
		if err := s.host(ctx, name); err != nil {
			return fmt.Errorf("service %s: %w", name, err)
		}
	}
	return s.warmUp(ctx)
}

// host makes a service and waits until it is synced.
func (s *session) host(ctx context.Context, name string) error {
	if err := s.createService(ctx, name); err != nil {
		return err
	}
	if s.side.start == nil {
		return s.syncService(ctx, name)
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, readyTimeout, true, func(ctx context.Context) (bool, error) {
		return s.serviceIsReady(ctx, name)
	})
}

func (s *session) kubeconfig() string { return filepath.Join(s.dir, "kubeconfig") }

// stop ends all programs, the last one first, and forgets their data unless something went wrong.
func (s *session) stop() {
	for _, p := range slices.Backward(s.programs) {
		p.Stop()
	}
	_ = os.RemoveAll(filepath.Join(s.dir, "api"))
}
