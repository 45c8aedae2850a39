// Package check finds what makes a synchronizer silently not work: what definitions, functions, Triggers, rights and
// time limits say of each other and does not fit. (XOS: xosgenx's checkers.)
//
// The loaders [Files] and [Cluster] make an [Input], and [Check] looks at it. The parts are: definitions.go asks whether
// the models are models, wires.go whether events reach the steps that they are for and nobody else, delivery.go and
// limits.go whether they get there in time, rights.go whether the functions may do what their engines do.
//
// One mistake is one [Finding]: what only follows from another finding is not said again.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

const (
	// System is the namespace of the core.
	System = "synchronizer-system"
	// modelsBroker is the core's Broker, in that namespace.
	modelsBroker = "models"
	// coreGroup is the API group of the core's own models.
	coreGroup = "core.xos-knative.dev"
	// deadletter is the core's function for dead letters, in that namespace.
	deadletter = "deadletter"
)

// Severity of a finding.
type Severity string

const (
	// Error: something does not work.
	Error Severity = "error"
	// Warning: everything works, but somebody will be surprised.
	Warning Severity = "warning"
	// Unchecked: what a check needs is not known, so nothing is said about it.
	Unchecked Severity = "unchecked"
)

// Finding is one thing that is not as it should be.
type Finding struct {
	Severity Severity `json:"severity"`
	// File that the object is in, empty for one of a cluster.
	File string `json:"file,omitempty"`
	// Object as "Kind namespace/name".
	Object string `json:"object,omitempty"`
	// Field of the object.
	Field string `json:"field,omitempty"`
	// Expected is what should be there, and Found what is.
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found"`
	// Fix says what to do.
	Fix string `json:"fix,omitempty"`
}

// String is the finding in one line.
func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", f.Severity)
	for _, where := range []string{f.File, f.Object, f.Field} {
		if where != "" {
			fmt.Fprintf(&b, "%s: ", where)
		}
	}
	if f.Expected != "" {
		fmt.Fprintf(&b, "expected %s, found ", f.Expected)
	}
	b.WriteString(f.Found)
	if f.Fix != "" {
		fmt.Fprintf(&b, "; %s", f.Fix)
	}
	return b.String()
}

// Resource is an object, and where it is from.
type Resource struct {
	// Object is of the Go type of its kind. Others are not looked at.
	Object metav1.Object
	// File that it is in, empty for one of a cluster.
	File string
	// Core marks what the synchronizer needs, but is not its own: nothing is found about it.
	Core bool
}

// Unread is a list of objects that could not be read. What needs it is not checked.
type Unread struct {
	// Resource and group, for example triggers.eventing.knative.dev.
	Resource string
	// Namespace, empty for all.
	Namespace string
	// Why it could not be read.
	Why string
}

// Input is what is checked.
type Input struct {
	Resources []Resource
	// Functions are the descriptions of functions, by the image of their Knative Service. Without one, what needs it is
	// not checked.
	Functions map[string]*step.Description
	// Undescribed says why an image has no description, if that is the fault of the program or its settings.
	Undescribed map[string]error
	// Silent are images of programs that have no steps: they need no description.
	Silent sets.Set[string]
	Unread []Unread
}

// Check lists all findings, those of one file together.
func Check(in Input) []Finding {
	c := newChecker(in)
	for _, u := range in.Unread {
		c.findings = append(c.findings, Finding{Severity: Unchecked, Found: u.Why})
	}
	c.functionsKnown()
	c.definitions()
	c.wires()
	c.deliveries()
	c.limits()
	c.rights()
	slices.SortStableFunc(c.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Object, b.Object))
	})
	return c.findings
}

// checker is a run of Check.
type checker struct {
	Input
	findings []Finding
	models   []kind
	programs []function
	triggers []trigger
	// namespaces that events about models are tried with.
	namespaces []string
	// passed remembers what passing has found.
	passed map[sent][]trigger
	// flawed are the Triggers that have a finding: what follows from it is not said again.
	flawed sets.Set[*eventingv1.Trigger]
}

// kind is a model, with its definition.
type kind struct {
	*model.Kind
	definition of[*apiextensionsv1.CustomResourceDefinition]
}

// function is a Knative Service, with its description if that is known.
type function struct {
	of[*servingv1.Service]
	*step.Description
}

// of is a resource of one Go type.
type of[T metav1.Object] struct {
	Resource
	obj T
}

// all lists the resources of one type.
func all[T metav1.Object](c *checker) []of[T] {
	var found []of[T]
	for _, r := range c.Resources {
		if obj, ok := r.Object.(T); ok {
			found = append(found, of[T]{r, obj})
		}
	}
	return found
}

// own lists those that are the synchronizer's.
func own[T metav1.Object](c *checker) []of[T] {
	return slices.DeleteFunc(all[T](c), func(r of[T]) bool { return r.Core })
}

// lookup finds one by namespace and name.
func lookup[T metav1.Object](c *checker, namespace, name string) (of[T], bool) {
	list := all[T](c)
	i := slices.IndexFunc(list, func(r of[T]) bool { return r.obj.GetNamespace() == namespace && r.obj.GetName() == name })
	if i < 0 {
		return of[T]{}, false
	}
	return list[i], true
}

func newChecker(in Input) *checker {
	c := &checker{Input: in, passed: map[sent][]trigger{}, flawed: sets.New[*eventingv1.Trigger]()}
	for _, crd := range all[*apiextensionsv1.CustomResourceDefinition](c) {
		// What cannot be parsed is found by definitions.
		if k, err := model.ParseKind(crd.obj); err == nil {
			c.models = append(c.models, kind{k, crd})
		}
	}
	for _, s := range all[*servingv1.Service](c) {
		c.programs = append(c.programs, function{s, in.Functions[ImageOf(s.obj)]})
	}
	for _, t := range all[*eventingv1.Trigger](c) {
		c.triggers = append(c.triggers, newTrigger(t))
	}
	c.namespaces = c.knownNamespaces()
	return c
}

// kindOf finds a model.
func (c *checker) kindOf(gk schema.GroupKind) (kind, bool) {
	i := slices.IndexFunc(c.models, func(k kind) bool { return k.GVK.GroupKind() == gk })
	if i < 0 {
		return kind{}, false
	}
	return c.models[i], true
}

// functionAt finds the function of a Service.
func (c *checker) functionAt(namespace, name string) (function, bool) {
	i := slices.IndexFunc(c.programs, func(f function) bool { return f.obj.Namespace == namespace && f.obj.Name == name })
	if i < 0 {
		return function{}, false
	}
	return c.programs[i], true
}

// ownFunctions are those of the synchronizer.
func (c *checker) ownFunctions() []function {
	return slices.DeleteFunc(slices.Clone(c.programs), func(f function) bool { return f.Core })
}

// unread reports whether the objects of a resource in a namespace could not be read.
func (c *checker) unread(resource, namespace string) bool {
	return slices.ContainsFunc(c.Unread, func(u Unread) bool {
		return u.Resource == resource && (u.Namespace == "" || namespace == "" || u.Namespace == namespace)
	})
}

// ImageOf is the image of a function's container.
func ImageOf(s *servingv1.Service) string {
	return containerOf(s).Image
}

// containerOf is the container that gets the requests: the only one, or the one with a port.
func containerOf(s *servingv1.Service) corev1.Container {
	containers := s.Spec.Template.Spec.Containers
	if i := slices.IndexFunc(containers, func(c corev1.Container) bool { return len(containers) == 1 || len(c.Ports) > 0 }); i >= 0 {
		return containers[i]
	}
	return corev1.Container{}
}

// hasSecrets reports whether the function has settings that its Service does not say.
func hasSecrets(s *servingv1.Service) bool {
	container := containerOf(s)
	return len(container.EnvFrom) > 0 || slices.ContainsFunc(container.Env, func(e corev1.EnvVar) bool { return e.ValueFrom != nil })
}

// stepOf is the function's step for models of a kind, nil if it has none.
func (f function) stepOf(s model.Step, gk schema.GroupKind) *step.Described {
	if f.Description == nil {
		return nil
	}
	i := slices.IndexFunc(f.Steps, func(d step.Described) bool { return d.Step == string(s) && d.GroupKind() == gk })
	if i < 0 {
		return nil
	}
	return &f.Steps[i]
}

// has reports whether the function has a step of that name.
func (f function) has(name string) bool {
	return f.Description != nil && slices.ContainsFunc(f.Steps, func(d step.Described) bool { return d.Step == name })
}

// eventTypes that wake the function's event steps.
func (f function) eventTypes() []string {
	types := sets.New[string]()
	if f.Description == nil {
		return nil
	}
	for _, d := range f.Steps {
		if d.Step == "event" {
			types.Insert(d.EventTypes...)
		}
	}
	return sets.List(types)
}

// report says that something about a resource is wrong.
func (c *checker) report(r Resource, f Finding) {
	if r.Core {
		return
	}
	f.Severity, f.File, f.Object = cmp.Or(f.Severity, Error), r.File, nameOf(r.Object)
	c.findings = append(c.findings, f)
}

// nameOf is "Kind namespace/name".
func nameOf(o metav1.Object) string {
	t := fmt.Sprintf("%T", o)
	kind := t[strings.LastIndex(t, ".")+1:]
	if o.GetNamespace() == "" {
		return kind + " " + o.GetName()
	}
	return kind + " " + o.GetNamespace() + "/" + o.GetName()
}

const fieldImage = "spec.template.spec.containers[0].image"

// functionsKnown says which functions have no description, and why.
func (c *checker) functionsKnown() {
	for _, f := range c.ownFunctions() {
		image := ImageOf(f.obj)
		switch err := c.Undescribed[image]; {
		case err != nil:
			first, _, _ := strings.Cut(err.Error(), "\n") // The rest of a panic is its stack.
			finding := Finding{Field: fieldImage, Expected: "a program that starts with the environment of this Service", Found: first, Fix: "set in env what the program needs"}
			if hasSecrets(f.obj) {
				finding.Severity, finding.Fix = Unchecked, "what env takes from Secrets and ConfigMaps is not known here, so Triggers and rights are compared with the definitions only"
			}
			c.report(f.Resource, finding)
		case f.Description == nil && !c.Silent.Has(image) && c.isReached(f):
			c.report(f.Resource, Finding{Severity: Unchecked, Field: fieldImage, Found: fmt.Sprintf("which steps the program of %s has is not known, so Triggers and rights are compared with the definitions only", image)})
		}
	}
}

// quote makes an empty word visible.
func quote(s string) string { return fmt.Sprintf("%q", s) }
