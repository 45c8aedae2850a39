package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// elsewhere installs the whole example once more, in another namespace of the
// same cluster, and sees that each installation minds its own models.
func (s *suite) elsewhere(ctx context.Context) error {
	if err := provideVolume(ctx, second); err != nil {
		return err
	}
	if err := applyOverlay(ctx, "config/overlays/namespace"); err != nil {
		return err
	}
	if err := waitInstalled(ctx, second); err != nil {
		return err
	}
	if err := applyIn(ctx, second, newService("elsewhere", "Jhon Snow"), newInstance("elsewhere", "Meera Reed", "elsewhere")); err != nil {
		return err
	}
	broker, err := s.linkToAddressable(ctx, second, "brokers.eventing.knative.dev", "events")
	if err != nil {
		return err
	}
	a, err := broker.shown(ctx, "", event("e2e-elsewhere", `{"name": "Guest", "hello_to": "Jojen Reed"}`)...)
	if err := want(http.StatusAccepted, a, err); err != nil {
		return err
	}
	greeter, err := s.linkTo("http://greeter." + second + ".svc.cluster.local")
	if err != nil {
		return err
	}
	if err := until(ctx, "the second greeter greets a model and an event", func() error {
		a, err := greeter.curl(ctx, "/greetings")
		if err := want(http.StatusOK, a, err); err != nil {
			return err
		}
		for _, guest := range []string{"Meera Reed", "Jojen Reed"} {
			if !strings.Contains(a.body, "Jhon Snow is saying hello to "+guest) {
				return fmt.Errorf("it does not greet %s: %s", guest, a.body)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "wait", "-n", second, "hwsi", "--all", "--for=condition=Ready", timeout); err != nil {
		return err
	}
	// Neither the first greeter nor the first models have noticed.
	if err := s.converged(ctx); err != nil {
		return err
	}
	return removeElsewhere(ctx)
}

// removeElsewhere removes the second installation, or what is left of it, as
// the overlay says.
func removeElsewhere(ctx context.Context) error {
	for _, args := range [][]string{
		{"delete", "pingsource/pull", "trigger/event", "-n", second, "--ignore-not-found"},
		{"delete", "models", "-n", second, "--all", timeout},
		{"delete", "sources,triggers,brokers.eventing.knative.dev,ksvc,deployments", "-n", second, "--all", timeout},
		{"wait", "pods", "-n", second, "--all", "--for=delete", timeout},
		{"delete", "namespace", second, "--ignore-not-found", timeout},
		{"delete", "clusterrolebinding", "synchronizer-model-definitions-" + second, "--ignore-not-found"},
	} {
		if _, err := kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}
