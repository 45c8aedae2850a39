package generate

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/describe"
)

type description = step.Description

// function is a function of the project, as the templates see it.
type function struct {
	Project *Project
	// Name is the last part of Package, its import path.
	Name, Package string
	Marked        *marked
	Steps         []step.Described
	Rules         []rule
}

// rule is a rule of a Role, and what it is for.
type rule struct {
	Why string
	rbacv1.PolicyRule
}

// functions finds the functions of the project, sorted by name, and what they need.
func (g *generator) functions(ctx context.Context, kinds []*model.Kind) ([]*function, error) {
	paths, err := describe.List(ctx, g.project.dir)
	if err != nil || len(paths) == 0 {
		return nil, err
	}
	marked, err := g.readMarkers(paths)
	if err != nil {
		return nil, err
	}
	described, err := g.describe(ctx, marked)
	if err != nil {
		return nil, err
	}
	var all []*function
	for _, p := range paths {
		f := &function{Project: g.project, Name: path.Base(p), Package: p, Marked: marked[p], Steps: described[p].Steps}
		if i := slices.IndexFunc(all, func(other *function) bool { return other.Name == f.Name }); i >= 0 {
			return nil, fmt.Errorf("%s and %s: expected functions with different names", all[i].Package, p)
		}
		if f.Rules, err = f.rules(kinds); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *function) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// Has reports whether the function has a step.
func (f *function) Has(name string) bool {
	return slices.ContainsFunc(f.Steps, func(s step.Described) bool { return s.Step == name })
}

// ModelSteps are the steps that model events wake.
func (f *function) ModelSteps() (names []string) {
	for _, s := range model.Steps() {
		if f.Has(string(s)) {
			names = append(names, string(s))
		}
	}
	return names
}

// Kinds of a step, sorted.
func (f *function) Kinds(name string) (kinds []string) {
	for _, s := range f.Steps {
		if s.Step == name {
			kinds = append(kinds, s.Kind)
		}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// EventTypes that wake the event steps, in the order of the registrations, with what the markers say of them.
func (f *function) EventTypes() (types []eventType) {
	for _, s := range f.Steps {
		if s.Step != "event" {
			continue
		}
		for _, t := range s.EventTypes {
			one := eventType{Type: t}
			if i := slices.IndexFunc(f.Marked.EventTypes, func(e eventType) bool { return e.Type == t }); i >= 0 {
				one = f.Marked.EventTypes[i]
			}
			one.Name = cmp.Or(one.Name, strings.ToLower(strings.NewReplacer(".", "-", "_", "-").Replace(t)))
			one.Description = cmp.Or(one.Description, "Wakes function "+f.Name+".")
			types = append(types, one)
		}
	}
	return types
}

// Env are the environment variables of the function.
func (f *function) Env() []envVar {
	env := slices.Clone(f.Marked.Env)
	if f.Has("pull") || f.Has("event") {
		env = append(env, envVar{Name: "NAMESPACE", Value: f.Project.Name})
	}
	return env
}

// Schedule of the ticks for pull steps.
func (f *function) Schedule() string { return cmp.Or(f.Marked.Schedule, "*/5 * * * *") }

// rules are the least rights that the function's engines need, and those of the markers.
func (f *function) rules(kinds []*model.Kind) ([]rule, error) {
	var rules, last []rule
	for _, s := range f.Steps {
		if s.Kind != "" {
			kind, err := find(kinds, s.GroupKind())
			if err != nil {
				return nil, fmt.Errorf("%s step: %w", s.Step, err)
			}
			for _, d := range kind.DependsOn {
				if _, err := find(kinds, d.GroupKind); err != nil {
					return nil, fmt.Errorf("%s depends on another: %w", s.Kind, err)
				}
			}
		}
		for _, r := range s.Rights(kinds) {
			if r.Group == step.EventsGroup {
				last = addRule(last, r)
				continue
			}
			rules = addRule(rules, r)
		}
	}
	rules = append(rules, last...)
	for _, r := range f.Marked.Rules {
		if r.Namespace != "" && r.Namespace != f.Project.Name || len(r.URLs) > 0 {
			return nil, fmt.Errorf("marker +kubebuilder:rbac: expected rights in namespace %s, got namespace %q and urls %q: write a Role of your own for others", f.Project.Name, r.Namespace, r.URLs)
		}
		rules = append(rules, rule{"Of the markers in its code.", r.ToRule()})
	}
	return rules, nil
}

// addRule adds a right. Resources with the same verbs and reason share a rule.
func addRule(rules []rule, right step.Right) []rule {
	for i, r := range rules {
		if r.Why == right.Why && r.APIGroups[0] == right.Group && slices.Equal(r.Verbs, right.Verbs) {
			if !slices.Contains(r.Resources, right.Resource) {
				rules[i].Resources = append(rules[i].Resources, right.Resource)
			}
			return rules
		}
	}
	return append(rules, rule{right.Why, rbacv1.PolicyRule{APIGroups: []string{right.Group}, Resources: []string{right.Resource}, Verbs: right.Verbs}})
}

func find(kinds []*model.Kind, gk schema.GroupKind) (*model.Kind, error) {
	i := slices.IndexFunc(kinds, func(k *model.Kind) bool { return k.GVK.GroupKind() == gk })
	if i < 0 {
		return nil, fmt.Errorf("expected a model %s below api/, there is none with the label %s", gk, model.LabelModel)
	}
	return kinds[i], nil
}
