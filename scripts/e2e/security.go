package main

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// podSecurity checks that the namespace enforces the standard, and that no pod
// of ours was refused by it.
func (s *suite) podSecurity(ctx context.Context) error {
	ns, err := get[corev1.Namespace](ctx, "namespace", namespace)
	if err != nil {
		return err
	}
	if got := ns.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		return fmt.Errorf("namespace %s: expected label pod-security.kubernetes.io/enforce=restricted, got %q", namespace, got)
	}
	// The label alone proves nothing: a pod that breaks the rules must be refused.
	_, err = kubectl(ctx, "run", "root", "--image=example.com/root", "--dry-run=server",
		`--overrides={"spec": {"containers": [{"name": "root", "image": "example.com/root", "securityContext": {"privileged": true}}]}}`)
	if err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
		return fmt.Errorf("expected a privileged pod to be refused by Pod Security, got %v", err)
	}
	fmt.Println("    refused, as it has to be")
	events, err := get[corev1.EventList](ctx, "events")
	if err != nil {
		return err
	}
	for _, e := range events.Items {
		if strings.Contains(e.Message, "violates PodSecurity") {
			return fmt.Errorf("%s %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Message)
		}
	}
	return nil
}
