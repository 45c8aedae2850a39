package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/tosca"
)

// modelsCategory is what `kubectl get models` lists.
const modelsCategory = "models"

type definition = of[*apiextensionsv1.CustomResourceDefinition]

// definitions checks what the definitions of the models say.
func (c *checker) definitions() {
	for _, d := range own[*apiextensionsv1.CustomResourceDefinition](c) {
		if !model.IsModel(d.obj) {
			c.unlabelled(d)
			continue
		}
		k, err := model.ParseKind(d.obj)
		if err != nil {
			// It says "CustomResourceDefinition NAME: FIELD: expected ..., got ...".
			field, problem, _ := strings.Cut(strings.TrimPrefix(err.Error(), "CustomResourceDefinition "+d.obj.Name+": "), ": ")
			c.report(d.Resource, Finding{Field: field, Found: problem, Fix: "correct it: nobody reads the definition as it is"})
			continue
		}
		c.versions(d, k)
		c.dependencies(d, k)
		c.names(d, k)
	}
	c.circles()
}

// unlabelled finds a definition that says, or of which a function says, that it is a model.
func (c *checker) unlabelled(d definition) {
	why := ""
	if model.WasModel(d.obj) {
		why = "the annotations of a model"
	}
	gk := schema.GroupKind{Group: d.obj.Spec.Group, Kind: d.obj.Spec.Names.Kind}
	for _, f := range c.programs {
		for _, s := range model.Steps() {
			if f.stepOf(s, gk) != nil {
				why = fmt.Sprintf("a %s step in function %s", s, f.obj.Name)
			}
		}
	}
	if why != "" {
		c.report(d.Resource, Finding{Field: "metadata.labels", Expected: fmt.Sprintf(`%s: "true"`, model.LabelModel), Found: "no such label on a definition with " + why,
			Fix: "label it, otherwise no step is ever called for its objects"})
	}
}

// versions checks that the engines can write the status in every version.
func (c *checker) versions(d definition, k *model.Kind) {
	written := c.writtenStatus(k)
	for i, v := range d.obj.Spec.Versions {
		field := fmt.Sprintf("spec.versions[%d]", i)
		if !v.Served || len(written) == 0 {
			continue
		}
		if v.Subresources == nil || v.Subresources.Status == nil {
			c.report(d.Resource, Finding{Field: field + ".subresources", Expected: "status: {}", Found: "no status subresource in version " + v.Name,
				Fix: "add the marker +kubebuilder:subresource:status: the steps acknowledge there"})
		}
		missing := slices.DeleteFunc(slices.Clone(written), func(part string) bool {
			return v.Schema == nil || schemaAt(v.Schema.OpenAPIV3Schema, []string{"status", part}) != absent
		})
		if len(missing) > 0 {
			c.report(d.Resource, Finding{Field: field + ".schema", Expected: "the fields of model.Status in status", Found: "no " + strings.Join(missing, ", "),
				Fix: "embed model.Status in the type of the status: what the schema does not have, the API drops, and nothing remembers that the step has run"})
		}
	}
	if !slices.Contains(d.obj.Spec.Names.Categories, modelsCategory) {
		c.report(d.Resource, Finding{Severity: Warning, Field: "spec.names.categories", Expected: modelsCategory, Found: list(d.obj.Spec.Names.Categories),
			Fix: "add the marker +kubebuilder:resource:categories=models: `kubectl get models` and `synchronizer why` do not list it"})
	}
}

// writtenStatus lists the parts of the status that engines write to objects of a kind.
func (c *checker) writtenStatus(k *model.Kind) (parts []string) {
	for _, s := range k.Steps {
		parts = append(parts, string(s))
	}
	if len(parts) > 0 {
		parts = append(parts, "conditions")
	}
	for _, f := range c.programs {
		if f.Description != nil && slices.ContainsFunc(f.Steps, func(d step.Described) bool { return d.Step == "event" && d.GroupKind() == k.GVK.GroupKind() }) {
			parts = append(parts, "lastEvents")
		}
	}
	return parts
}

// What schemaAt finds.
const (
	absent = "" // No such field.
	free   = "any"
)

// schemaAt is the type of the field at a path, free if the schema leaves that open.
func schemaAt(s *apiextensionsv1.JSONSchemaProps, path []string) string {
	for _, name := range path {
		if s == nil {
			return absent
		}
		next, ok := s.Properties[name]
		switch {
		case ok:
			s = &next
		case ptr.Deref(s.XPreserveUnknownFields, false):
			return free
		case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
			s = s.AdditionalProperties.Schema
		default:
			return absent
		}
	}
	if s.XIntOrString {
		return "integer or string"
	}
	if s.Type == "" {
		return free
	}
	return s.Type
}

// oldest is the schema of the version that paths are of.
func oldest(d definition, k *model.Kind) *apiextensionsv1.JSONSchemaProps {
	for _, v := range d.obj.Spec.Versions {
		if v.Name == k.GVK.Version && v.Schema != nil {
			return v.Schema.OpenAPIV3Schema
		}
	}
	return nil
}

// dependencies checks that the annotation depends-on names what is there.
func (c *checker) dependencies(d definition, k *model.Kind) {
	field := "metadata.annotations[" + model.AnnotationDependsOn + "]"
	for _, dep := range k.DependsOn {
		switch found := schemaAt(oldest(d, k), strings.Split(dep.Path, ".")); found {
		case "string", free:
		case absent:
			c.report(d.Resource, Finding{Field: field, Expected: "the path of a field in version " + k.GVK.Version + ", the oldest one that is served", Found: dep.Path + ", which is not in its schema",
				Fix: "correct the path, or add the field to that version"})
		default:
			c.report(d.Resource, Finding{Field: field, Expected: "a field with the name of a " + dep.GroupKind.Kind + ", a string", Found: fmt.Sprintf("%s, which is of type %s in version %s", dep.Path, found, k.GVK.Version),
				Fix: "name the field that holds the name"})
		}
		on, ok := c.kindOf(dep.GroupKind)
		switch {
		case ok && dep.Observed && schemaAt(oldest(on.definition, on.Kind), []string{"status", "observed"}) == absent:
			c.report(d.Resource, Finding{Field: "metadata.annotations[" + model.AnnotationUsesObserved + "]", Expected: "a dependency on which steps report", Found: dep.GroupKind.Kind + ", which has no field status.observed",
				Fix: "add the field, or take the path out"})
		case ok || c.unread("customresourcedefinitions.apiextensions.k8s.io", "") || c.isDefined(dep.GroupKind):
			// What is defined and no model has a finding of its own, or belongs to somebody else.
		default:
			c.report(d.Resource, Finding{Field: field, Expected: "the kind of a model", Found: fmt.Sprintf("%s, of which there is no definition", dep.GroupKind),
				Fix: "correct it (Kind=path, or Kind.group=path for another group), or check that synchronizer's directory together with this one"})
		}
	}
}

// isDefined reports whether there is a definition, of a model or not.
func (c *checker) isDefined(gk schema.GroupKind) bool {
	return slices.ContainsFunc(all[*apiextensionsv1.CustomResourceDefinition](c), func(d definition) bool {
		return d.obj.Spec.Group == gk.Group && d.obj.Spec.Names.Kind == gk.Kind
	})
}

// names checks what recipes need to find a model by its name.
func (c *checker) names(d definition, k *model.Kind) {
	t := tosca.TypesFromCRDs([]apiextensionsv1.CustomResourceDefinition{*d.obj}).ByID(strings.ToLower(d.obj.Spec.Names.Kind))
	found := schemaAt(oldest(d, k), []string{"spec", "name"})
	if t == nil || t.Key != nil || found == "string" || d.obj.Annotations[model.AnnotationKey] != "" {
		return
	}
	c.report(d.Resource, Finding{Severity: Warning, Field: "spec.versions[name=" + k.GVK.Version + "].schema", Expected: "a field spec.name of type string", Found: cmp.Or(found, "none"),
		Fix: "add it if recipes (TOSCA) name models of the kind with the property name: without it that is refused, and they are found by the name of their node template"})
}

// circles finds kinds that depend on each other in a circle. (A kind may depend on itself: that is a tree of objects.)
func (c *checker) circles() {
	done := map[schema.GroupKind]bool{}
	var path []schema.GroupKind
	var visit func(k kind)
	visit = func(k kind) {
		gk := k.GVK.GroupKind()
		if i := slices.Index(path, gk); i >= 0 {
			c.circle(append(slices.Clone(path[i:]), gk))
			return
		}
		if done[gk] {
			return
		}
		path = append(path, gk)
		for _, d := range k.DependsOn {
			if on, ok := c.kindOf(d.GroupKind); ok && d.GroupKind != gk {
				visit(on)
			}
		}
		path = path[:len(path)-1]
		done[gk] = true
	}
	for _, k := range c.models {
		visit(k)
	}
}

// circle reports one circle, at the first of its definitions that is the synchronizer's own.
func (c *checker) circle(circle []schema.GroupKind) {
	names := make([]string, len(circle))
	for i, gk := range circle {
		names[i] = gk.Kind
	}
	for _, gk := range circle {
		k, _ := c.kindOf(gk)
		if k.definition.Core {
			continue
		}
		c.report(k.definition.Resource, Finding{Field: "metadata.annotations[" + model.AnnotationDependsOn + "]", Expected: "no circle", Found: strings.Join(names, " depends on "),
			Fix: "take one of them out: none of these can be synced before the others"})
		return
	}
}

// list joins words for a message.
func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
