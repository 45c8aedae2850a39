package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// elsewhere adds a second hello-world in another namespace, on the same core, and checks
// that each one works on its own models only.
func (s *suite) elsewhere(ctx context.Context) error {
	if err := provideVolume(ctx, second); err != nil {
		return err
	}
	if err := applyOverlay(ctx, "config/overlays/namespace"); err != nil {
		return err
	}
	if err := waitInstalled(ctx, second, system); err != nil {
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
	if err := s.secondGreets(ctx, "Meera Reed", "Jojen Reed"); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "wait", "-n", second, "hwsi", "--all", "--for=condition=Ready", timeout); err != nil {
		return err
	}
	// Neither the first greeter nor the first models have noticed.
	if err := s.converged(ctx); err != nil {
		return err
	}
	// The definitions are needed as long as anybody has models of them.
	if err := remove(ctx, "helloworld"); err == nil || !strings.Contains(err.Error(), "objects in other namespaces: "+second) {
		return fmt.Errorf("removing the first hello-world before the second: expected a refusal, got %v", err)
	}
	fmt.Println("    refused, as it has to be: the second needs the definitions")
	if err := remove(ctx, "config/overlays/namespace"); err != nil {
		return err
	}
	if err := s.converged(ctx); err != nil {
		return err
	}
	return until(ctx, "nothing of the second is left", func() error { return leftovers(ctx, second) })
}

// secondGreets waits until the second greeter greets these guests.
func (s *suite) secondGreets(ctx context.Context, guests ...string) error {
	greeter, err := s.linkTo("http://greeter." + second + ".svc.cluster.local")
	if err != nil {
		return err
	}
	return until(ctx, "the second greeter greets a model and an event", func() error {
		a, err := greeter.curl(ctx, "/greetings")
		if err := want(http.StatusOK, a, err); err != nil {
			return err
		}
		for _, guest := range guests {
			if !strings.Contains(a.body, "Jhon Snow is saying hello to "+guest) {
				return fmt.Errorf("it does not greet %s: %s", guest, a.body)
			}
		}
		return nil
	})
}
