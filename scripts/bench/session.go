package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	greeter "github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/scripts/bench/drive"
	"github.com/xos-knative/synchronizer/scripts/bench/job"
	"github.com/xos-knative/synchronizer/scripts/bench/report"
)

// session is one side from an empty API to the end of its loads.
type session struct {
	bench      *bench
	side       side
	dir        string
	programs   []*program
	runner     *program // nil if the side has none
	greeterURL string

	*drive.Models
	watch  *drive.Watch
	count  int                       // of the instances
	owners map[string]*drive.Service // as they are

	greeter *greeter.Client // the driver's own, for the floor
}

// session measures loads with a side, one after the other.
func (b *bench) session(ctx context.Context, side side, repetition int, loads ...load) error {
	ctx, cancel := context.WithCancel(ctx) // Of the watch.
	defer cancel()
	s, err := b.begin(ctx, side)
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
		fmt.Println("bench:", r.Line())
	}
	used, err := s.usage(ctx)
	b.peaks = append(b.peaks, report.Result{Side: side.name, Load: "models", Models: s.count, Repetition: repetition, Peak: used.peak})
	return err
}

// begin starts a session. Without an error, stop ends it.
func (b *bench) begin(ctx context.Context, side side) (s *session, err error) {
	s = &session{bench: b, side: side, owners: map[string]*drive.Service{}}
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
func (s *session) setUp(ctx context.Context) error {
	config := filepath.Join(s.bench.root, "config")
	if _, err := s.start(ctx, "api", s.bench.self, []string{"api", "-dir", filepath.Join(s.dir, "api"),
		"-crds", filepath.Join(config, "core/crds") + "," + filepath.Join(config, "helloworld/crds")}); err != nil {
		return err
	}
	service, err := s.start(ctx, "greeter", filepath.Join(s.bench.bin, "functions/helloworld/greeter"), nil, "DATA_DIR="+filepath.Join(s.dir, "greeter"))
	if err != nil {
		return err
	}
	s.greeterURL = "http://" + service.address
	if s.greeter, err = greeter.New(s.greeterURL, greeter.WithHTTPClient(&http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: drive.Clients}})); err != nil {
		return err
	}
	api, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig())
	if err != nil {
		return err
	}
	if s.Models, err = drive.NewModels(api); err != nil {
		return err
	}
	if s.side.start != nil {
		if err := s.side.start(ctx, s, s.side.args...); err != nil {
			return err
		}
	}
	if s.watch, err = drive.StartWatch(ctx, s.Models); err != nil {
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
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("not synced after %s", readyTimeout))
	defer cancel()
	o := &drive.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.HelloWorldServiceSpec{HelloFrom: "Jon"}}
	err := s.Create(ctx, drive.Services, o)
	if err == nil {
		err = s.syncService(ctx, o)
	}
	for err == nil && !job.IsReady(&o.ObjectMeta, &o.Status) {
		if err = wait(ctx, 50*time.Millisecond); err == nil {
			err = s.Get(ctx, drive.Services, name, o)
		}
	}
	return err
}

func (s *session) kubeconfig() string { return filepath.Join(s.dir, "kubeconfig") }

// stop ends all programs, the last one first. Their logs stay.
func (s *session) stop() {
	for _, p := range slices.Backward(s.programs) {
		p.Stop()
	}
	_ = os.RemoveAll(filepath.Join(s.dir, "api"))
}
