package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/scripts/bench/drive"
	"github.com/xos-knative/synchronizer/scripts/bench/job"
	"github.com/xos-knative/synchronizer/scripts/bench/report"
)

const (
	// What a session measures: models, changes one at a time, and, the first time, changes from zero pods.
	comparedModels, comparedChanges, comparedZeros = 200, 30, 3
	// warmModels is how many are made and deleted before anything is measured.
	warmModels = 20
	// pause is how long nothing happens before a single change.
	pause = 20 * time.Millisecond

	// peer is the namespace of the operator in [peerDir].
	peer    = "peer"
	peerDir = "scripts/bench/peer"
)

// side is one way to do the job of hello-world on the cluster. Only one does it at a time: the operator when there is no
// model source, the functions when there is no operator.
type side struct {
	name      string
	functions bool
	start     func(*suite, context.Context) error
}

var sides = []side{
	{report.Peer, false, startPeer(1)},
	{report.Peer32, false, startPeer(drive.Clients)},
	{"ours", true, (*suite).startOurs},
	{"ours in one", true, (*suite).startOneFunction},
}

// startPeer takes the model source away, and deploys the operator with some reconciles at a time.
func startPeer(concurrent int) func(*suite, context.Context) error {
	return func(_ *suite, ctx context.Context) error {
		if _, err := kubectl(ctx, "delete", "containersource/modelsource", "-n", system, "--ignore-not-found"); err != nil {
			return err
		}
		if err := until(ctx, "only the greeter has pods", func() error { return onlyRuns(ctx, "greeter") }); err != nil {
			return err
		}
		content, err := os.ReadFile(filepath.Join(peerDir, "peer.yaml"))
		if err != nil {
			return err
		}
		resources := strings.Replace(string(content), "-concurrent=1", fmt.Sprintf("-concurrent=%d", concurrent), 1)
		command := "cd " + peerDir + " && GOFLAGS=-mod=mod ko apply -f -"
		show("sh", "-c", command)
		if _, err := output(ctx, resources, "sh", "-c", command); err != nil {
			return err
		}
		_, err = kubectl(ctx, "rollout", "status", "deployment/peer", "-n", peer, timeout)
		return err
	}
}

// stopPeer removes the operator. Models that a failure has left go first: only it takes its finalizer off.
func stopPeer(ctx context.Context) error {
	if there, err := kubectl(ctx, "get", "namespace", peer, "--ignore-not-found", "-o", "name"); err != nil || there == "" {
		return err
	}
	err := deleteModels(ctx)
	_, removed := kubectl(ctx, "delete", "-n", peer, "--ignore-not-found", "-f", filepath.Join(peerDir, "peer.yaml"), timeout)
	return errors.Join(err, removed)
}

func deleteModels(ctx context.Context) error {
	return kubectlAll(ctx, "delete hwsi,hws --all "+timeout)
}

// startOurs installs what another side has removed. Function pull would run in between, so it gets no ticks.
func (s *suite) startOurs(ctx context.Context) error {
	if err := s.addEverything(ctx); err != nil {
		return err
	}
	if err := waitInstalled(ctx, namespace, system); err != nil {
		return err
	}
	return kubectlAll(ctx, "delete pingsource/pull")
}

func (s *suite) startOneFunction(ctx context.Context) error {
	if err := s.startOurs(ctx); err != nil {
		return err
	}
	if err := applyOverlay(ctx, "config/overlays/one-function"); err != nil {
		return err
	}
	if err := kubectlAll(ctx, "delete ksvc/policy sa/policy role/policy rolebinding/policy", "delete trigger/helloworld-policy -n "+system,
		"delete pingsource/pull"); err != nil {
		return err
	}
	return waitInstalled(ctx, namespace, system)
}

// onlyRuns checks which programs of ours have pods.
func onlyRuns(ctx context.Context, programs ...string) error {
	names, err := running(ctx)
	if err != nil {
		return err
	}
	return expect(slices.Equal(names, programs), "pods of %v", names)
}

// compare measures hello-world beside an operator that does the same job, as the bench does on one machine.
func (s *suite) compare(ctx context.Context) error {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	if err != nil {
		return err
	}
	models, err := drive.NewModels(config)
	if err != nil {
		return err
	}
	s.onEnd(stopPeer)
	for n := range s.repeat {
		for _, side := range sides {
			fmt.Printf("  --- %s, %d of %d\n", side.name, n+1, s.repeat)
			if err := side.start(s, ctx); err != nil {
				return err
			}
			c := &session{suite: s, Models: models, side: side, repetition: n}
			if err := c.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", side.name, err)
			}
			if err := stopPeer(ctx); err != nil {
				return err
			}
		}
	}
	if err := s.addEverything(ctx); err != nil {
		return err
	}
	return waitInstalled(ctx, namespace, system)
}

// printCompared prints the tables of the bench.
func (s *suite) printCompared() {
	report.Rates(os.Stdout, s.results)
	report.Latencies(os.Stdout, s.results)
	report.Matrix(os.Stdout, "REQUESTS PER MODEL", s.results, 2, func(r report.Result) map[string]float64 { return r.Requests })
	report.Matrix(os.Stdout, "CPU MS PER MODEL", s.used, 2, func(r report.Result) map[string]float64 { return r.CPU })
	report.Matrix(os.Stdout, "MIB AFTER IT", s.used, 0, func(r report.Result) map[string]float64 { return r.Peak })
}

// session is one side at work, from a cluster without models to the end of its loads.
type session struct {
	*suite
	*drive.Models
	side       side
	repetition int
	watch      *drive.Watch
}

func (c *session) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx) // Of the watch.
	defer cancel()
	if c.watch, err = drive.StartWatch(ctx, c.Models); err != nil {
		return err
	}
	o := &drive.Service{ObjectMeta: metav1.ObjectMeta{Name: "many"}, Spec: v1alpha1.HelloWorldServiceSpec{HelloFrom: "Jon"}}
	if err := c.Create(ctx, drive.Services, o); err != nil {
		return err
	}
	if err := until(ctx, "the service is Ready", func() error {
		err := c.Get(ctx, drive.Services, o.Name, o)
		return errors.Join(err, expect(job.IsReady(&o.ObjectMeta, &o.Status), "it is not"))
	}); err != nil {
		return err
	}
	if err := c.loads(ctx); err != nil {
		return err
	}
	if !c.side.functions {
		// Nobody has helped it.
		if err := onlyRuns(ctx, "greeter"); err != nil {
			return err
		}
	}
	return deleteModels(ctx)
}

// loads are those that the sides are measured with.
func (c *session) loads(ctx context.Context) error {
	for _, load := range []func(context.Context) (time.Duration, error){c.made(warmModels, "Rickon"), c.deleted(warmModels)} {
		if _, err := load(ctx); err != nil {
			return fmt.Errorf("warm-up: %w", err)
		}
	}
	before, err := settled(ctx)
	if err != nil {
		return err
	}
	if err := c.burst(ctx, "new", c.made(comparedModels, "Arya")); err != nil {
		return err
	}
	if err := c.burst(ctx, "changed", c.changed(comparedModels, "Bran")); err != nil {
		return err
	}
	after, err := settled(ctx)
	if err != nil {
		return err
	}
	cpu, mib := after.since(before, 2*comparedModels)
	c.used = append(c.used, report.Result{Side: c.side.name, Load: "new or changed", Models: 2 * comparedModels, Repetition: c.repetition, CPU: cpu, Peak: mib})
	// The first one may have to wait for a pod.
	if _, err := c.changed(1, "Hodor")(ctx); err != nil {
		return err
	}
	if err := c.each(ctx, "changes, one at a time", comparedChanges, func(context.Context) error { time.Sleep(pause); return nil }); err != nil {
		return err
	}
	if c.side.functions && c.repetition == 0 {
		if err := c.each(ctx, "changes, each from zero", comparedZeros, atRest); err != nil {
			return err
		}
	}
	return c.burst(ctx, "deleted", c.deleted(comparedModels))
}

// made makes n instances.
func (c *session) made(n int, to string) func(context.Context) (time.Duration, error) {
	return c.written(n, drive.Greets(to), func(ctx context.Context, name string) error {
		return c.Create(ctx, drive.Instances, &drive.Instance{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: v1alpha1.HelloWorldServiceInstanceSpec{HelloTo: to, Owner: &v1alpha1.OwnerReference{Name: "many"}}})
	})
}

// changed changes n instances.
func (c *session) changed(n int, to string) func(context.Context) (time.Duration, error) {
	return c.written(n, drive.Greets(to), func(ctx context.Context, name string) error { return c.update(ctx, name, to) })
}

// deleted deletes n instances.
func (c *session) deleted(n int) func(context.Context) (time.Duration, error) {
	return c.written(n, drive.IsGone, c.Delete)
}

// written writes n instances in parallel, and says how long it took until they met a condition.
func (c *session) written(n int, met drive.Condition, write func(ctx context.Context, name string) error) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		return c.watch.Until(ctx, n, met, func(ctx context.Context) error {
			return drive.InParallel(ctx, n, func(ctx context.Context, k int) error { return write(ctx, drive.InstanceName(k)) })
		})
	}
}

func (c *session) update(ctx context.Context, name, to string) error {
	return c.Patch(ctx, drive.Instances, name, fmt.Sprintf(`{"spec":{"helloTo":%q}}`, to), &drive.Instance{})
}

// burst measures a load of many models at once.
func (c *session) burst(ctx context.Context, load string, do func(context.Context) (time.Duration, error)) error {
	return c.measure(ctx, load, comparedModels, func(ctx context.Context) (time.Duration, []float64, error) {
		took, err := do(ctx)
		return took, nil, err
	})
}

// each measures changes one at a time.
func (c *session) each(ctx context.Context, load string, n int, before func(context.Context) error) error {
	return c.measure(ctx, load, n, func(ctx context.Context) (time.Duration, []float64, error) {
		return c.watch.Each(ctx, n, comparedModels, before, c.update)
	})
}

// measure keeps how long something took, and what the API server was asked for models meanwhile.
func (c *session) measure(ctx context.Context, load string, n int, do func(context.Context) (time.Duration, []float64, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done after %s", patience))
	defer cancel()
	ofModels := func(group string) bool { return group == v1alpha1.GroupVersion.Group }
	before, err := c.Requests(ctx, ofModels)
	if err != nil {
		return err
	}
	took, each, err := do(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", load, err)
	}
	after, err := c.Requests(ctx, ofModels)
	if err != nil {
		return err
	}
	r := report.Result{Side: c.side.name, Load: load, Models: n, Repetition: c.repetition, Seconds: took.Seconds(), Milliseconds: each,
		Requests: report.PerModel(before, after, n)}
	c.results = append(c.results, r)
	fmt.Println("  measured:", r.Line())
	return nil
}
