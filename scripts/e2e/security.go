package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// podSecurity checks that the namespaces enforce the standard, and that no pod of ours was
// refused by it.
func (s *suite) podSecurity(ctx context.Context) error {
	for _, ns := range []string{system, namespace} {
		if err := restricted(ctx, ns); err != nil {
			return err
		}
	}
	return nil
}

func restricted(ctx context.Context, name string) error {
	ns, err := get[corev1.Namespace](ctx, "namespace", name)
	if err != nil {
		return err
	}
	if got := ns.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		return fmt.Errorf("namespace %s: expected label pod-security.kubernetes.io/enforce=restricted, got %q", name, got)
	}
	// The label alone proves nothing: a pod that breaks the rules must be refused.
	_, err = kubectl(ctx, "-n", name, "run", "root", "--image=example.com/root", "--dry-run=server",
		`--overrides={"spec": {"containers": [{"name": "root", "image": "example.com/root", "securityContext": {"privileged": true}}]}}`)
	if err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
		return fmt.Errorf("expected a privileged pod to be refused by Pod Security, got %v", err)
	}
	fmt.Println("    refused, as it has to be")
	events, err := get[corev1.EventList](ctx, "events", "-n", name)
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

// networkPolicy checks that the greeter's policy selects the right pods, whatever labels
// Knative gives them. Whether it is enforced is up to the cluster's network; many small
// clusters do not.
func (s *suite) networkPolicy(ctx context.Context) error {
	policy, err := get[networkingv1.NetworkPolicy](ctx, "networkpolicy", "greeter")
	if err != nil {
		return err
	}
	protected, err := podsOf(ctx, &policy.Spec.PodSelector)
	if err != nil {
		return err
	}
	if got := programs(protected); !slices.Equal(got, []string{"greeter"}) {
		return fmt.Errorf("the policy protects %v, expected the greeter only", got)
	}
	var admitted []string
	for _, rule := range policy.Spec.Ingress {
		for _, peer := range rule.From {
			if peer.NamespaceSelector != nil {
				continue // Users of other namespaces: not ours.
			}
			pods, err := podsOf(ctx, peer.PodSelector)
			if err != nil {
				return err
			}
			admitted = append(admitted, programs(pods)...)
		}
		for _, port := range rule.Ports {
			if !slices.ContainsFunc(protected[0].Spec.Containers, func(c corev1.Container) bool {
				return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == port.Port.String() })
			}) {
				return fmt.Errorf("the policy admits to port %s, which the greeter lacks", port.Port)
			}
		}
	}
	slices.Sort(admitted)
	fmt.Printf("    of the namespace's programs, %v may talk to the greeter\n", admitted)
	return expect(slices.Equal(admitted, []string{"pull", "sync"}), "the policy admits %v, expected pull and sync", admitted)
}

// podsOf are the pods that a selector selects, as their Deployments would make them: a
// function at zero has none.
func podsOf(ctx context.Context, selector *metav1.LabelSelector) ([]corev1.Pod, error) {
	selected, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, err
	}
	deployments, err := get[appsv1.DeploymentList](ctx, "deployments")
	if err != nil {
		return nil, err
	}
	var pods []corev1.Pod
	for _, d := range deployments.Items {
		if template := d.Spec.Template; selected.Matches(labels.Set(template.Labels)) {
			pods = append(pods, corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec})
		}
	}
	return pods, nil
}

// programs are those of the pods, in their order.
func programs(pods []corev1.Pod) []string {
	var all []string
	for i := range pods {
		all = append(all, programOf(&pods[i]))
	}
	return all
}
