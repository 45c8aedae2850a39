package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/pkg/model"
)

func instance(ctx context.Context, name string) (*v1alpha1.HelloWorldServiceInstance, error) {
	return get[v1alpha1.HelloWorldServiceInstance](ctx, "helloworldserviceinstances", name)
}

func instances(ctx context.Context) ([]v1alpha1.HelloWorldServiceInstance, error) {
	list, err := get[v1alpha1.HelloWorldServiceInstanceList](ctx, "helloworldserviceinstances")
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func services(ctx context.Context) ([]v1alpha1.HelloWorldService, error) {
	list, err := get[v1alpha1.HelloWorldServiceList](ctx, "helloworldservices")
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// isTrue reports whether the condition holds for the object as it is now.
func isTrue(status *model.Status, generation int64, condition apis.ConditionType) bool {
	return status.ObservedGeneration == generation &&
		slices.ContainsFunc(status.Conditions, func(c apis.Condition) bool {
			return c.Type == condition && c.Status == corev1.ConditionTrue
		})
}

// gone waits until an object in the namespace of hello-world is gone.
func gone(ctx context.Context, resource, name string) error {
	return until(ctx, resource+" "+name+" is gone", func() error {
		out, err := output(ctx, "", "kubectl", "get", resource, name, "-n", namespace, "--ignore-not-found", "-o", "name")
		if err != nil {
			return err
		}
		return expect(out == "", "%s is still there", out)
	})
}

// greetings are those that the greeter has from models. It may have others, which its
// users asked for.
func (s *suite) greetings(ctx context.Context) ([]api.Greeting, error) {
	l, err := s.greeter()
	if err != nil {
		return nil, err
	}
	var all []api.Greeting
	for next := ""; ; {
		a, err := l.curl(ctx, fmt.Sprintf("/greetings?limit=%d%s", api.MaxLimit, next))
		if err != nil {
			return nil, err
		}
		if a.code != http.StatusOK {
			return nil, fmt.Errorf("GET /greetings: %d %s", a.code, a.body)
		}
		var page api.GreetingList
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			return nil, err
		}
		for _, g := range page.Items {
			if g.Model != nil {
				all = append(all, g)
			}
		}
		if page.Continue == "" {
			return all, nil
		}
		next = "&continue=" + page.Continue
	}
}

func (s *suite) greeter() (*link, error) {
	return s.linkTo("http://greeter." + namespace + ".svc.cluster.local")
}

// greets waits until the greeter says exactly this to a guest; empty: nothing.
func (s *suite) greets(ctx context.Context, guest, message string) error {
	return until(ctx, fmt.Sprintf("the greeter says %q to %s", message, guest), func() error {
		all, err := s.greetings(ctx)
		if err != nil {
			return err
		}
		var have []string
		for _, g := range all {
			if g.HelloTo == guest {
				have = append(have, g.Message)
			}
		}
		return expect(strings.Join(have, ", ") == message, "it says %q", have)
	})
}

// converged reports whether all models are Ready, and the greeter has exactly what they
// declare.
func (s *suite) converged(ctx context.Context) error {
	all, err := instances(ctx)
	if err != nil {
		return err
	}
	owners, err := services(ctx)
	if err != nil {
		return err
	}
	from := map[string]string{}
	ready, total := 0, len(all)+len(owners)
	for _, o := range owners {
		from[o.Name] = o.Spec.HelloFrom
		if isTrue(&o.Status, o.Generation, apis.ConditionReady) {
			ready++
		}
	}
	wanted := map[string]string{}
	for _, i := range all {
		if isTrue(&i.Status, i.Generation, apis.ConditionReady) {
			ready++
		}
		wanted[string(i.UID)] = fmt.Sprintf("%s: %s is saying hello to %s", i.DisplayName(), from[i.OwnerName()], i.Spec.HelloTo)
	}
	if ready != total {
		return fmt.Errorf("%d of %d models are Ready", ready, total)
	}
	have, err := s.greetings(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, g := range have {
		if says := g.Name + ": " + g.Message; wanted[g.ID] != says {
			errs = append(errs, fmt.Errorf("the greeter has %s %q, expected %q", g.ID, says, wanted[g.ID]))
		}
		delete(wanted, g.ID)
	}
	for id, says := range wanted {
		errs = append(errs, fmt.Errorf("the greeter lacks %s %q", id, says))
	}
	return errors.Join(errs...)
}

// untilConverged waits for converged.
func (s *suite) untilConverged(ctx context.Context) error {
	return until(ctx, "all models are Ready and the greeter has exactly what they declare", func() error {
		return s.converged(ctx)
	})
}

// apply applies models that are made here.
func apply(ctx context.Context, objects ...any) error {
	return applyIn(ctx, namespace, objects...)
}

func applyIn(ctx context.Context, ns string, objects ...any) error {
	list, err := listOf(objects)
	if err != nil {
		return err
	}
	_, err = kubectlStdin(ctx, list, "apply", "-n", ns, "-f", "-")
	return err
}

// applyQuietly is apply without the command.
func applyQuietly(ctx context.Context, objects ...any) error {
	list, err := listOf(objects)
	if err != nil {
		return err
	}
	_, err = output(ctx, list, "kubectl", "apply", "-n", namespace, "-f", "-")
	return err
}

// listOf makes one document of objects, so that kubectl needs no file.
func listOf(objects []any) (string, error) {
	b, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
	return string(b), err
}

func newService(name, from string) any {
	return map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "HelloWorldService",
		"metadata": map[string]any{"name": name},
		"spec":     map[string]any{"helloFrom": from},
	}
}

func newInstance(name, to, owner string) any {
	return map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "HelloWorldServiceInstance",
		"metadata": map[string]any{"name": name},
		"spec":     map[string]any{"helloTo": to, "owner": map[string]any{"name": owner}},
	}
}
