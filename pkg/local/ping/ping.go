// Package ping sends the events of PingSources on schedule, with the code of Knative's own adapter: what an event looks
// like, how often it is tried, and that ticks may overlap is as on a cluster. So is a delay of up to half a second that
// the adapter gives each tick.
package ping

import (
	"context"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes/fake"
	"knative.dev/eventing/pkg/adapter/mtping"
	"knative.dev/eventing/pkg/adapter/v2"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// stopTimeout is how long Stop waits for a tick under way. What it sends is lost then, as any tick may be.
const stopTimeout = time.Second

// Schedules are running PingSources.
type Schedules struct {
	runner mtping.CronJobRunner
	stop   context.CancelFunc
}

// Start schedules all sources. resolve finds the address of a destination as seen from a namespace.
func Start(sources []*sourcesv1.PingSource, resolve func(duckv1.Destination, string) (*apis.URL, error), logger *zap.Logger) (*Schedules, error) {
	// The parser of Knative's adapter and of its validation: five fields, or six with seconds in front.
	parser := cron.WithParser(cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor))
	// No limit to how long a subscriber may take, as in Knative's installation.
	config := adapter.ClientConfig{Env: &adapter.EnvConfig{EnvSinkTimeout: "-1"}}
	// The adapter may write Kubernetes events about failures; nobody reads them here.
	runner := mtping.NewCronJobsRunner(config, fake.NewClientset(), logger.Named("ping").Sugar(), parser)
	for _, original := range sources {
		p := original.DeepCopy()
		sink, err := resolve(p.Spec.Sink, p.Namespace)
		if err != nil {
			return nil, fmt.Errorf("PingSource %s/%s: %w", p.Namespace, p.Name, err)
		}
		p.Status.SinkURI = sink
		runner.AddSchedule(p)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go runner.Start(ctx.Done())
	return &Schedules{runner: runner, stop: cancel}, nil
}

// Stop ends all schedules.
func (s *Schedules) Stop() {
	s.stop()
	done := make(chan struct{})
	go func() {
		s.runner.Stop()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(stopTimeout):
	}
}
