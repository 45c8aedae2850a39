package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
)

// owners is how many services the instances of a burst belong to.
const owners = 5

// change declares n models, some services and their instances, in names of their own.
func (s *suite) change(ctx context.Context, prefix string, n int) error {
	var objects []any
	for i := range n {
		name := fmt.Sprintf("%s-%d", prefix, i)
		owner := fmt.Sprintf("%s-%d", prefix, i%owners)
		if i < owners {
			objects = append(objects, newService(name, "Service "+name))
			continue
		}
		objects = append(objects, newInstance(name, "Guest "+name, owner))
	}
	return apply(ctx, objects...)
}

// kill deletes pods without grace.
func kill(ctx context.Context, ns, selector string) error {
	args := []string{"delete", "pods", "-n", ns, "-l", selector, "--force", "--grace-period=0", "--wait=false"}
	show("kubectl", args...)
	_, err := output(ctx, "", "kubectl", args...)
	return err
}

// working selects the pods of the functions that a changed model passes through.
const working = "serving.knative.dev/service in (sync,policy)"

// killFunctions kills these pods while they work, several times.
func (s *suite) killFunctions(ctx context.Context) error {
	start := time.Now()
	for round := range 3 {
		prefix := fmt.Sprintf("killed-%d", round+1)
		changes := make(chan error, 1)
		go func() { changes <- s.change(ctx, prefix, 30) }()
		// A kill that finds no pod at work proves nothing.
		if err := until(ctx, fmt.Sprintf("functions work, round %d", round+1), func() error {
			all, err := instances(ctx)
			if err != nil {
				return err
			}
			return expect(slices.ContainsFunc(all, func(i v1alpha1.HelloWorldServiceInstance) bool {
				return strings.HasPrefix(i.Name, prefix) && (i.Status.Sync != nil || i.Status.Policy != nil)
			}), "no instance has a status")
		}); err != nil {
			return err
		}
		if err := kill(ctx, namespace, working); err != nil {
			return err
		}
		if err := <-changes; err != nil {
			return err
		}
		start = time.Now()
	}
	if err := s.untilConverged(ctx); err != nil {
		return err
	}
	s.measured("90 models", "from the third kill of the functions at work until all are Ready", time.Since(start))
	return nil
}

// restarts has everything that a change passes through restarted during a burst.
func (s *suite) restarts(ctx context.Context) error {
	stop := s.watchUsage(ctx)
	defer stop()
	start := time.Now()
	changes := make(chan error, 1)
	go func() { changes <- s.change(ctx, "burst", s.burst) }()
	if err := until(ctx, "the first models of the burst are synced", func() error {
		all, err := services(ctx)
		if err != nil {
			return err
		}
		for _, o := range all {
			if o.Name == "burst-0" && o.Status.Sync != nil {
				return nil
			}
		}
		return fmt.Errorf("none is")
	}); err != nil {
		return err
	}
	if err := kill(ctx, system, sourcePods); err != nil {
		return err
	}
	plane, err := dataPlane(ctx)
	if err != nil {
		return err
	}
	for _, d := range plane {
		if err := kill(ctx, d.Namespace, selectorOf(&d)); err != nil {
			return err
		}
	}
	// One process owns the store, so this one gets its grace.
	if _, err := kubectl(ctx, "delete", "pods", "-l", "app=greeter", "--wait=false"); err != nil {
		return err
	}
	if err := <-changes; err != nil {
		return err
	}
	if err := s.untilConverged(ctx); err != nil {
		return err
	}
	s.measured(fmt.Sprintf("%d models", s.burst), "from the first kubectl apply until all are Ready, with restarts", time.Since(start))
	return nil
}

// sourcePods selects the pod of the model source.
const sourcePods = "sources.knative.dev/containerSource=modelsource"

// withoutSource makes a change while nothing watches.
func (s *suite) withoutSource(ctx context.Context) error {
	deployments, err := get[appsv1.DeploymentList](ctx, "deployments", "-n", system, "-l", sourcePods)
	if err != nil {
		return err
	}
	return s.changeDuring(ctx, "unseen", deployments.Items)
}

// withoutBroker makes a change while nothing takes events.
func (s *suite) withoutBroker(ctx context.Context) error {
	plane, err := dataPlane(ctx)
	if err != nil {
		return err
	}
	if len(plane) == 0 {
		return fmt.Errorf("%w: the cluster has no in-memory broker to take down", errSkipped)
	}
	return s.changeDuring(ctx, "unsent", plane)
}

// changeDuring makes changes while deployments are scaled to zero.
func (s *suite) changeDuring(ctx context.Context, prefix string, deployments []appsv1.Deployment) error {
	if len(deployments) == 0 {
		return fmt.Errorf("nothing to scale down")
	}
	isUp := false
	up := func(ctx context.Context) error {
		if isUp {
			return nil
		}
		for _, d := range deployments {
			if _, err := scale(ctx, &d, *d.Spec.Replicas); err != nil {
				return err
			}
		}
		isUp = true
		return nil
	}
	s.onEnd(up)
	for _, d := range deployments {
		if _, err := scale(ctx, &d, 0); err != nil {
			return err
		}
		if err := until(ctx, d.Name+" has no pods", func() error {
			pods, err := get[corev1.PodList](ctx, "pods", "-n", d.Namespace, "-l", selectorOf(&d))
			if err != nil {
				return err
			}
			return expect(len(pods.Items) == 0, "%d pods", len(pods.Items))
		}); err != nil {
			return err
		}
	}
	if err := s.change(ctx, prefix, owners+1); err != nil {
		return err
	}
	start := time.Now()
	if err := up(ctx); err != nil {
		return err
	}
	if err := s.untilConverged(ctx); err != nil {
		return err
	}
	s.measured(prefix+" changes", "from the return of the missing part until all are Ready", time.Since(start))
	return nil
}

func scale(ctx context.Context, d *appsv1.Deployment, replicas int32) (string, error) {
	args := []string{"scale", "deployment", d.Name, "-n", d.Namespace, fmt.Sprintf("--replicas=%d", replicas)}
	show("kubectl", args...)
	return output(ctx, "", "kubectl", args...)
}

// dataPlane are the deployments that carry events on a cluster with Knative's
// in-memory channels; none with another broker.
func dataPlane(ctx context.Context) ([]appsv1.Deployment, error) {
	list, err := get[appsv1.DeploymentList](ctx, "deployments", "-n", "knative-eventing")
	if err != nil {
		return nil, err
	}
	var plane []appsv1.Deployment
	for _, d := range list.Items {
		switch d.Name {
		case "imc-dispatcher", "mt-broker-filter", "mt-broker-ingress":
			plane = append(plane, d)
		}
	}
	return plane, nil
}

// selectorOf is a Deployment's selector as kubectl takes it.
func selectorOf(d *appsv1.Deployment) string {
	selector := ""
	for k, v := range d.Spec.Selector.MatchLabels {
		if selector != "" {
			selector += ","
		}
		selector += k + "=" + v
	}
	return selector
}
