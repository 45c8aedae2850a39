package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
)

// oidcFeature is the key of Knative's ConfigMap config-features that turns sender identity on.
const oidcFeature = "authentication-oidc"

// senderIdentity turns Knative's feature on, installs the overlay, and checks that events
// of the Triggers and sources get in, and no others.
func (s *suite) senderIdentity(ctx context.Context) error {
	// An instance without an owner is given to the only service; those of the
	// checks before are many.
	if _, err := kubectl(ctx, "delete", "models", "--all", timeout); err != nil {
		return err
	}
	before, err := output(ctx, "", "kubectl", "get", "configmap", "config-features", "-n", "knative-eventing", "-o", "jsonpath={.data."+oidcFeature+"}")
	if err != nil {
		return err
	}
	if before == "" {
		before = "disabled"
	}
	s.onEnd(func(ctx context.Context) error { return resetFeature(ctx, before) })
	if err := setFeature(ctx, "enabled"); err != nil {
		return err
	}
	if err := applyOverlay(ctx, "config/overlays/oidc"); err != nil {
		return err
	}
	if err := waitInstalled(ctx, system, namespace); err != nil {
		return err
	}
	if err := until(ctx, "Brokers announce an audience, Triggers have an account, senders a token", func() error { return identities(ctx) }); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{s.identifiedEvents, s.strangersRefused, s.strangerTokens} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	// Back to where the check began: first the models, so that they are cleaned up.
	if _, err := kubectl(ctx, "delete", "models", "--all", timeout); err != nil {
		return err
	}
	if err := s.addEverything(ctx); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "delete", "-n", system, "role/deadletter-replay", "rolebinding/deadletter-replay"); err != nil {
		return err
	}
	if err := resetFeature(ctx, before); err != nil {
		return err
	}
	if err := waitInstalled(ctx, system, namespace); err != nil {
		return err
	}
	return s.anonymousAgain(ctx)
}

// anonymousAgain checks that everything works again without tokens.
func (s *suite) anonymousAgain(ctx context.Context) error {
	if err := apply(ctx, newService("anonymous", "Jhon Snow"), newInstance("anonymous", "Nobody", "anonymous")); err != nil {
		return err
	}
	if err := s.greets(ctx, "Nobody", "Jhon Snow is saying hello to Nobody"); err != nil {
		return err
	}
	_, err := kubectl(ctx, "delete", "models", "--all", timeout)
	return err
}

// resetFeature puts the feature back to what it was, and removes what Knative 0.50 leaves
// of it: EventPolicies that are not ready any more, because of which the Brokers' channels
// ignore new Triggers.
func resetFeature(ctx context.Context, before string) error {
	if err := setFeature(ctx, before); err != nil || before == "enabled" {
		return err
	}
	for _, ns := range []string{system, namespace} {
		if _, err := kubectl(ctx, "delete", "eventpolicies", "--all", "-n", ns, timeout); err != nil {
			return err
		}
	}
	return nil
}

func setFeature(ctx context.Context, value string) error {
	args := []string{"patch", "configmap", "config-features", "-n", "knative-eventing", "--type=merge", "-p",
		fmt.Sprintf(`{"data": {%q: %q}}`, oidcFeature, value)}
	show("kubectl", args...)
	_, err := output(ctx, "", "kubectl", args...)
	return err
}

func applyOverlay(ctx context.Context, overlay string) error {
	show("sh", "-c", "kubectl kustomize "+overlay+" | ko apply -f -")
	rendered, err := output(ctx, "", "kubectl", "kustomize", overlay)
	if err != nil {
		return err
	}
	_, err = output(ctx, rendered, "ko", "apply", "-f", "-")
	return err
}

// identities reports whether Knative has given everybody what sender identity takes.
func identities(ctx context.Context) error {
	for _, ns := range []string{system, namespace} {
		brokers, err := get[eventingv1.BrokerList](ctx, "brokers.eventing.knative.dev", "-n", ns)
		if err != nil {
			return err
		}
		for _, b := range brokers.Items {
			if b.Status.Address == nil || b.Status.Address.Audience == nil {
				return fmt.Errorf("broker %s has no audience", b.Name)
			}
		}
		triggers, err := get[eventingv1.TriggerList](ctx, "triggers.eventing.knative.dev", "-n", ns)
		if err != nil {
			return err
		}
		for _, t := range triggers.Items {
			if t.Status.Auth == nil || t.Status.Auth.ServiceAccountName == nil || t.Status.SubscriberAudience == nil {
				return fmt.Errorf("trigger %s has no account or audience", t.Name)
			}
		}
	}
	for _, sender := range []struct{ ns, selector string }{{namespace, "app=greeter"}, {system, sourcePods}} {
		pods, err := get[corev1.PodList](ctx, "pods", "-n", sender.ns, "-l", sender.selector)
		if err != nil {
			return err
		}
		if len(pods.Items) != 1 || !hasVolume(&pods.Items[0], "oidc-token") {
			return fmt.Errorf("%d pods of %s, expected one with a token", len(pods.Items), sender.selector)
		}
	}
	return nil
}

func hasVolume(pod *corev1.Pod, name string) bool {
	for _, v := range pod.Spec.Volumes {
		if v.Name == name {
			return true
		}
	}
	return false
}

// identifiedEvents checks that every way of events works with tokens.
func (s *suite) identifiedEvents(ctx context.Context) error {
	if err := apply(ctx, newService("identified", "Jhon Snow"), newInstance("identified", "Ygritte", "identified")); err != nil {
		return err
	}
	if err := s.greets(ctx, "Ygritte", "Jhon Snow is saying hello to Ygritte"); err != nil {
		return err
	}
	if err := until(ctx, "the instance is Ready: sync and policy have run", func() error {
		i, err := instance(ctx, "identified")
		if err != nil {
			return err
		}
		return expect(isTrue(&i.Status, i.Generation, apis.ConditionReady), "it is not: %+v", i.Status.Conditions)
	}); err != nil {
		return err
	}
	if err := s.requested(ctx, "Tormund"); err != nil {
		return err
	}
	if err := s.greets(ctx, "Tormund", "Jhon Snow is saying hello to Tormund"); err != nil {
		return err
	}
	// The publisher is somebody of the namespace with a token for the Broker. The dead
	// letter comes with the Trigger's token, the replay with that of function deadletter.
	token, err := brokerToken(ctx, namespace, "greeter")
	if err != nil {
		return err
	}
	if err := s.replayed(ctx, "Jhon Snow", "Hodor", "-H", "Authorization: Bearer "+token); err != nil {
		return err
	}
	return s.pulled(ctx)
}

// brokerToken is a token of an account for Broker events of its namespace.
func brokerToken(ctx context.Context, ns, account string) (string, error) {
	broker, err := get[eventingv1.Broker](ctx, "brokers.eventing.knative.dev", "events", "-n", ns)
	if err != nil {
		return "", err
	}
	return output(ctx, "", "kubectl", "create", "token", account, "-n", ns, "--audience="+*broker.Status.Address.Audience)
}

// strangersRefused sends to functions and to a Broker without a token.
func (s *suite) strangersRefused(ctx context.Context) error {
	all, err := functions()
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.name == "tosca" { // Users call it, with tokens of their own.
			continue
		}
		l, err := s.linkToAddressable(ctx, f.ns, "ksvc", f.name)
		if err != nil {
			return err
		}
		a, err := l.curl(ctx, "/", nothing...)
		if err := want(http.StatusUnauthorized, a, err); err != nil {
			return fmt.Errorf("%s without a token: %w", f.name, err)
		}
		fmt.Printf("    %s without a token: %d\n", f.name, a.code)
	}
	broker, err := s.linkToAddressable(ctx, namespace, "brokers.eventing.knative.dev", "events")
	if err != nil {
		return err
	}
	a, err := broker.shown(ctx, "", event("e2e-3", `{"name": "Nobody", "hello_to": "Night King"}`)...)
	return want(http.StatusUnauthorized, a, err)
}

// strangerTokens sends to functions with tokens of others, and with the right one.
func (s *suite) strangerTokens(ctx context.Context) error {
	sync, deadletter := named{namespace, "sync"}, named{system, "deadletter"}
	trigger := named{system, "helloworld-sync-oidc-eventing.knative.dev-trigger"}
	for _, call := range []struct {
		what     string
		to       named
		path     string
		account  named
		audience named
		code     int
	}{
		{"a token for another audience", sync, "/", trigger, deadletter, http.StatusUnauthorized},
		{"another account's token", sync, "/", named{namespace, "policy"}, sync, http.StatusForbidden},
		{"another Trigger's token", sync, "/", named{system, "helloworld-policy-oidc-eventing.knative.dev-trigger"}, sync, http.StatusForbidden},
		// It gets in, and is told that its event is not a model event.
		{"the Trigger's token", sync, "/", trigger, sync, http.StatusUnprocessableEntity},
		{"a dead letter of another namespace", deadletter, "/letters/" + namespace, named{system, "tosca"}, deadletter, http.StatusForbidden},
	} {
		token, err := output(ctx, "", "kubectl", "create", "token", call.account.name, "-n", call.account.ns,
			"--audience=serving.knative.dev/service/"+call.audience.ns+"/"+call.audience.name)
		if err != nil {
			return err
		}
		l, err := s.linkToAddressable(ctx, call.to.ns, "ksvc", call.to.name)
		if err != nil {
			return err
		}
		a, err := l.curl(ctx, call.path, append(slices.Clone(nothing), "-H", "Authorization: Bearer "+token)...)
		if err := want(call.code, a, err); err != nil {
			return fmt.Errorf("%s: %w", call.what, err)
		}
		fmt.Printf("    %s: %d %s\n", call.what, a.code, strings.TrimSpace(a.body))
	}
	return nil
}
