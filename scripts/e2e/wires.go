package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"knative.dev/pkg/apis"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	corev1alpha1 "github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// instanceFor is the one instance that greets a guest.
func instanceFor(ctx context.Context, guest string) (*v1alpha1.HelloWorldServiceInstance, error) {
	all, err := instances(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(i v1alpha1.HelloWorldServiceInstance) bool { return i.Spec.HelloTo != guest })
	if len(all) != 1 {
		return nil, fmt.Errorf("expected one instance that greets %s, got %d", guest, len(all))
	}
	return &all[0], nil
}

// jsonBody are curl's arguments for a body of JSON.
func jsonBody(method, body string) []string {
	return []string{"-X", method, "-H", "Content-Type: application/json", "-d", body}
}

// want turns any other answer into an error.
func want(code int, a *answer, err error) error {
	if err == nil && a.code != code {
		err = fmt.Errorf("expected %d, got %d %s", code, a.code, a.body)
	}
	return err
}

// pulled gives the greeter a greeting that no model knows, and waits for the
// next tick of the PingSource.
func (s *suite) pulled(ctx context.Context) error {
	greeter, err := s.greeter()
	if err != nil {
		return err
	}
	a, err := greeter.shown(ctx, "/greetings/pulled", jsonBody("PUT", `{"name": "Pulled Record", "hello_to": "Dude"}`)...)
	if err := want(http.StatusCreated, a, err); err != nil {
		return err
	}
	schedule, err := output(ctx, "", "kubectl", "get", "pingsource", "pull", "-n", namespace, "-o", "jsonpath={.spec.schedule}")
	if err != nil {
		return err
	}
	if err := reschedule(ctx, "*/5 * * * * *"); err != nil {
		return err
	}
	var name string
	start := time.Now()
	if err := until(ctx, "an instance for Dude exists, Ready without sync", func() error {
		i, err := instanceFor(ctx, "Dude")
		if err != nil {
			return err
		}
		name = i.Name
		switch {
		case i.DisplayName() != "Pulled Record":
			return fmt.Errorf("its name is %q", i.DisplayName())
		case !model.OptedOut(i, model.StepSync) || i.Status.Sync != nil || slices.Contains(i.Finalizers, model.StepSync.Finalizer()):
			return fmt.Errorf("it is to be synced: %+v", i.ObjectMeta)
		}
		return expect(isTrue(&i.Status, i.Generation, apis.ConditionReady), "it is not Ready")
	}); err != nil {
		return err
	}
	s.measured("function pull", "from a greeting of the greeter's own until its instance is Ready (PingSource, every 5 s)", time.Since(start))
	if _, err := kubectl(ctx, "get", "hwsi", name); err != nil {
		return err
	}
	// Without the greeting, or pull adopts it again.
	a, err = greeter.shown(ctx, "/greetings/pulled", "-X", "DELETE")
	if err := want(http.StatusNoContent, a, err); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "delete", "hwsi/"+name, "--ignore-not-found", timeout); err != nil {
		return err
	}
	return reschedule(ctx, schedule)
}

// reschedule changes how often the PingSource wakes function pull.
func reschedule(ctx context.Context, schedule string) error {
	_, err := kubectl(ctx, "patch", "pingsource/pull", "--type=merge", "-p", fmt.Sprintf(`{"spec": {"schedule": %q}}`, schedule))
	return err
}

// event are curl's arguments for an event as the greeter publishes it.
func event(id, data string) []string {
	return []string{"-H", "ce-specversion: 1.0", "-H", "ce-id: " + id, "-H", "ce-source: /e2e", "-H", "ce-type: " + api.TypeRequested,
		"-H", "Content-Type: application/json", "-d", data}
}

// evented sends an event to the Broker as a micro-service would, twice, and then has the
// greeter send one.
func (s *suite) evented(ctx context.Context) error {
	broker, err := s.linkToAddressable(ctx, namespace, "brokers.eventing.knative.dev", "events")
	if err != nil {
		return err
	}
	const data = `{"name": "Guest", "hello_to": "Brienne of Tarth"}`
	a, err := broker.shown(ctx, "", event("e2e-1", data)...)
	if err := want(http.StatusAccepted, a, err); err != nil {
		return err
	}
	if err := s.greets(ctx, "Brienne of Tarth", "Arya Stark is saying hello to Brienne of Tarth"); err != nil {
		return err
	}
	if err := s.untilConverged(ctx); err != nil {
		return err
	}
	before, err := instanceFor(ctx, "Brienne of Tarth")
	if err != nil {
		return err
	}
	// The same again, and then another one. When that one has had its effect, so has the
	// one before it, if it has any.
	a, err = broker.shown(ctx, "", event("e2e-1", data)...)
	if err := want(http.StatusAccepted, a, err); err != nil {
		return err
	}
	if err := s.requested(ctx, "Samwell Tarly"); err != nil {
		return err
	}
	after, err := instanceFor(ctx, "Brienne of Tarth")
	if err != nil {
		return err
	}
	return expect(after.ResourceVersion == before.ResourceVersion, "the second event changed the instance: %+v, then %+v", before.ObjectMeta, after.ObjectMeta)
}

// requested asks the greeter for a greeting as its users do, and waits until the instance
// that function event makes of it is Ready.
func (s *suite) requested(ctx context.Context, guest string) error {
	greeter, err := s.greeter()
	if err != nil {
		return err
	}
	a, err := greeter.shown(ctx, "/greetings", jsonBody("POST", fmt.Sprintf(`{"name": "Guest of the greeter", "hello_to": %q}`, guest))...)
	if err := want(http.StatusCreated, a, err); err != nil {
		return err
	}
	return until(ctx, "the greeter's own guest has an instance", func() error {
		i, err := instanceFor(ctx, guest)
		if err != nil {
			return err
		}
		return expect(isTrue(&i.Status, i.Generation, apis.ConditionReady), "it is not Ready")
	})
}

// deadLettered has an event become a dead letter, and removes what the checks
// of events have made.
func (s *suite) deadLettered(ctx context.Context) error {
	if err := s.replayed(ctx, "Arya Stark", "Bran Stark"); err != nil {
		return err
	}
	for _, guest := range []string{"Brienne of Tarth", "Samwell Tarly", "Bran Stark"} {
		i, err := instanceFor(ctx, guest)
		if err != nil {
			return err
		}
		if _, err := kubectl(ctx, "delete", "hwsi/"+i.Name, timeout); err != nil {
			return err
		}
	}
	return nil
}

// replayed sends an event that cannot be handled, fixes and replays it, until the guest is
// greeted. With sender identity, Broker events needs another header.
func (s *suite) replayed(ctx context.Context, from, guest string, headers ...string) error {
	broker, err := s.linkToAddressable(ctx, namespace, "brokers.eventing.knative.dev", "events")
	if err != nil {
		return err
	}
	a, err := broker.curl(ctx, "", append(event("e2e-broken", fmt.Sprintf(`{"name": "Broken", "helo_to": %q}`, guest)), headers...)...)
	if err := want(http.StatusAccepted, a, err); err != nil {
		return err
	}
	var name string
	if err := until(ctx, "a DeadLetter says why", func() error {
		letters, err := get[corev1alpha1.DeadLetterList](ctx, "deadletters")
		if err != nil {
			return err
		}
		if len(letters.Items) != 1 {
			return fmt.Errorf("%d DeadLetters", len(letters.Items))
		}
		l := letters.Items[0]
		name = l.Name
		return expect(l.Spec.Code == http.StatusUnprocessableEntity && strings.Contains(l.Spec.Reason, "helo_to"), "%+v", l.Spec)
	}); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "get", "deadletters"); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "patch", "deadletter", name, "--type=merge", "-p",
		fmt.Sprintf(`{"spec": {"event": {"data": {"name": "Fixed", "helo_to": null, "hello_to": %q}}, "replay": true}}`, guest)); err != nil {
		return err
	}
	if err := gone(ctx, "deadletters", name); err != nil {
		return err
	}
	return s.greets(ctx, guest, from+" is saying hello to "+guest)
}

// recipe uploads the tutorial's TOSCA recipe as a user with a token of its own, and
// deletes what it has made.
func (s *suite) recipe(ctx context.Context) error {
	if _, err := kubectl(ctx, "apply", "-f", "config/samples/tosca/rbac.yml"); err != nil {
		return err
	}
	show("kubectl", "-n", namespace, "create", "token", "tosca-user")
	token, err := output(ctx, "", "kubectl", "-n", namespace, "create", "token", "tosca-user")
	if err != nil {
		return err
	}
	tosca, err := s.linkToAddressable(ctx, system, "ksvc", "tosca")
	if err != nil {
		return err
	}
	post := []string{"-X", "POST", "--data-binary", "@config/samples/tosca/hello-world.yml"}
	a, err := tosca.shown(ctx, "/run", post...)
	if err := want(http.StatusUnauthorized, a, err); err != nil {
		return fmt.Errorf("without a token: %w", err)
	}
	post = append(post, "-H", "Authorization: Bearer "+token)
	fmt.Println("  and now with the token:")
	if err := s.uploaded(ctx, tosca, post); err != nil {
		return err
	}
	a, err = tosca.curl(ctx, "/delete", post...)
	if err := want(http.StatusOK, a, err); err != nil {
		return err
	}
	fmt.Printf("    %d %s\n", a.code, a.body)
	if err := until(ctx, "its models are gone", func() error {
		out, err := output(ctx, "", "kubectl", "get", "models", "-n", namespace, "-o", "name")
		if err != nil {
			return err
		}
		return expect(out == "", "%s", out)
	}); err != nil {
		return err
	}
	_, err = kubectl(ctx, "delete", "-f", "config/samples/tosca/rbac.yml")
	return err
}

// uploaded uploads a recipe twice: into the namespace that the request names, and into
// that of the token's account, which is the same.
func (s *suite) uploaded(ctx context.Context, tosca *link, post []string) error {
	for _, path := range []string{"/run?namespace=" + namespace, "/run"} {
		a, err := tosca.curl(ctx, path, post...)
		if err := want(http.StatusOK, a, err); err != nil {
			return err
		}
		fmt.Printf("    %s: %d %s\n", path, a.code, a.body)
		if !strings.HasPrefix(a.body, "Created models: [") {
			return fmt.Errorf("expected Created models: [...], got %q", a.body)
		}
		if err := s.greets(ctx, "Daenerys Targaryen", "Jhon Snow is saying hello to Daenerys Targaryen"); err != nil {
			return err
		}
	}
	a, err := tosca.curl(ctx, "/run?namespace="+system, post...)
	if err := want(http.StatusForbidden, a, err); err != nil {
		return fmt.Errorf("into a namespace where the account has no rights: %w", err)
	}
	return nil
}
