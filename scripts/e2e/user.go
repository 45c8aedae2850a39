package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// ordinary is somebody who may read and change models in the namespace of hello-world, and nothing else.
const ordinary = `apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: ordinary}
rules:
- apiGroups: [helloworld.xos-knative.dev]
  resources: [helloworldservices, helloworldserviceinstances]
  verbs: [get, list, watch, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: ordinary}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: ordinary}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: ordinary}
`

// definitions is the right to read the definitions of the models, which say what steps a kind has.
const definitions = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: ordinary-model-definitions}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: synchronizer-model-definitions}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: ordinary}
`

// command shows and runs the project's command, as a user or as the administrator.
func command(ctx context.Context, args ...string) (string, error) {
	show("synchronizer", args...)
	out, err := output(ctx, "", "go", append([]string{"run", "./scripts/synchronizer"}, args...)...)
	if out != "" {
		fmt.Println("    " + strings.ReplaceAll(out, "\n", "\n    "))
	}
	return out, err
}

// says runs the command as somebody with few rights. What it prints, or its error, must have all of the parts.
func says(ctx context.Context, fails bool, args string, parts ...string) error {
	out, err := command(ctx, append(strings.Fields(args), "-n", namespace, "--as", "ordinary")...)
	if (err != nil) != fails {
		return fmt.Errorf("synchronizer %s: expected an error: %t, got %w", args, fails, err)
	}
	if err != nil {
		out += err.Error()
	}
	for _, part := range parts {
		if !strings.Contains(out, part) {
			return fmt.Errorf("synchronizer %s: expected %q, got %s", args, part, out)
		}
	}
	return nil
}

// operator works with models as an ordinary user does.
func (s *suite) operator(ctx context.Context) error {
	if _, err := kubectlStdin(ctx, ordinary, "apply", "-f", "-"); err != nil {
		return err
	}
	never := newInstance("never", "Joffrey Baratheon", "operator").(map[string]any)
	never["metadata"].(map[string]any)["annotations"] = map[string]string{model.StepPolicy.OptOut(): "true"} // It would delete him.
	if err := apply(ctx, newService("operator", "Arya Stark"), newInstance("always", "Hot Pie", "operator"), never); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "wait", "--for=condition=Ready", "hwsi/always", timeout); err != nil {
		return err
	}
	if err := until(ctx, "the sync of never fails", func() error {
		i, err := get[v1alpha1.HelloWorldServiceInstance](ctx, "hwsi/never")
		if err != nil {
			return err
		}
		return expect(i.Status.Sync != nil && i.Status.Sync.State == model.StateFailed, "its status is %+v", i.Status.Sync)
	}); err != nil {
		return err
	}
	if err := says(ctx, true, "why hwsi/never", `cannot list resource "customresourcedefinitions"`); err != nil {
		return err
	}
	if _, err := kubectlStdin(ctx, definitions, "apply", "-f", "-"); err != nil {
		return err
	}
	for _, c := range []struct {
		args  string
		fails bool
		parts []string
	}{
		{"why hwsi/never", false, []string{"Ready is False", "sync: Failed", "Maybe not", "depends on HelloWorldService operator: Ready is True"}},
		{"why hwsi", false, []string{"Maybe not", "helloworld/never"}},
		{"why", true, []string{"helloworld/never", `cannot list resource "deadletters"`}},
		{"again hwsi --failed --wait", true, []string{"never is asked to run again", "Maybe not"}},
		{"again hwsi/always --wait", false, []string{"always is asked to run again"}},
		{"check --cluster", false, []string{"cannot list triggers.eventing.knative.dev in namespace synchronizer-system: the right is missing"}},
	} {
		if err := says(ctx, c.fails, c.args, c.parts...); err != nil {
			return err
		}
	}
	out, err := command(ctx, "check", "--cluster", "-n", namespace, "config/helloworld", "eventing/helloworld")
	if err := expect(err == nil && strings.Contains(out, "Nothing is wrong"), "check as the administrator: %s, %v", out, err); err != nil {
		return err
	}
	return kubectlAll(ctx, "delete hwsi always never "+timeout, "delete hws operator "+timeout,
		"delete role,rolebinding ordinary", "delete clusterrolebinding ordinary-model-definitions")
}
