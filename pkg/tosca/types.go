package tosca

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/xos-knative/synchronizer/pkg/model"
)

const (
	// NodePrefix is in front of the kind in the name of a node type.
	NodePrefix = "tosca.nodes."

	// PropertyMustExist marks a node that only refers to a model (XOS): the model must be there,
	// and is not changed or deleted.
	PropertyMustExist = "must-exist"

	// propertyName is the field of the key, as it was for most models of XOS.
	propertyName = "name"
)

// relationships are the ones that XOS recipes use for a link to one model. Here they both mean the
// same.
var relationships = []string{"tosca.relationships.BelongsToOne", "tosca.relationships.ManyToOne"}

// Type is the node type of one kind of model.
type Type struct {
	*model.Kind

	// Name is what recipes write after "type:", such as tosca.nodes.Kind.
	Name string

	// ID is the type's name in paths and imports: the kind in lower case.
	ID string

	// Description is the kind's, from its schema.
	Description string

	// Properties are sorted by name. must-exist is not among them: every type has it.
	Properties []PropertyType

	// Attributes are what the steps of the model report (status.observed), sorted by name. A recipe cannot set
	// them.
	Attributes []PropertyType

	// Links are what nodes of the type can require.
	Links []LinkType

	// Key is the property by which models of the kind are found: the one that the definition's annotation
	// key says, otherwise name, their display name. It is empty for a kind that has no such property, or
	// whose key is more than one field: its models are found by the name of their node template.
	Key *PropertyType
}

// PropertyType is a property of a node type.
type PropertyType struct {
	// Name is in snake_case, as in XOS.
	Name string

	// Path leads to the field in the object.
	Path []string

	Schema   *apiextensionsv1.JSONSchemaProps
	Required bool
}

// annotation reports whether the property is one of the object's annotations.
func (p *PropertyType) annotation() bool { return p.Path[0] == "metadata" }

// LinkType is a requirement that nodes of a type can have.
type LinkType struct {
	// Name of the requirement, such as owner.
	Name string

	// Path leads to the field that takes the name of the target's object.
	Path []string

	Target   schema.GroupKind
	Required bool

	// Type of the target; nil if no model has that kind.
	Type *Type
}

func (t *Type) property(name string) *PropertyType {
	i, ok := slices.BinarySearchFunc(t.Properties, name, func(p PropertyType, n string) int { return strings.Compare(p.Name, n) })
	if !ok {
		return nil
	}
	return &t.Properties[i]
}

func (t *Type) link(name string) *LinkType {
	i := slices.IndexFunc(t.Links, func(l LinkType) bool { return l.Name == name })
	if i < 0 {
		return nil
	}
	return &t.Links[i]
}

// GroupKind of the models.
func (t *Type) GroupKind() schema.GroupKind { return t.GVK.GroupKind() }

// Types are the node types that a recipe can use.
type Types struct {
	byID map[string]*Type
	// broken holds the reason why a definition that is labelled as a model is of no use, by ID.
	broken map[string]error
}

// TypesFromCRDs makes a node type for each definition that is labelled as a model; it leaves out
// others. The types of good definitions can be used beside one that is wrong; a recipe that uses
// its type gets the reason.
//
// When two groups have models of one kind, both types have their group in the name
// (tosca.nodes.Kind.example.com): a name without it would change its meaning when the second CRD
// comes.
func TypesFromCRDs(crds []apiextensionsv1.CustomResourceDefinition) *Types {
	ts := &Types{byID: map[string]*Type{}, broken: map[string]error{}}
	groups := map[string]int{}
	labelled := make([]*apiextensionsv1.CustomResourceDefinition, 0, len(crds))
	for i := range crds {
		if crds[i].Labels[model.LabelModel] == "true" {
			labelled = append(labelled, &crds[i])
			groups[strings.ToLower(crds[i].Spec.Names.Kind)]++
		}
	}
	for _, crd := range labelled {
		name := crd.Spec.Names.Kind
		if groups[strings.ToLower(name)] > 1 {
			name += "." + crd.Spec.Group
		}
		id := strings.ToLower(name)
		t, err := typeFromCRD(crd)
		if err != nil {
			ts.broken[id] = err
			continue
		}
		t.Name, t.ID = NodePrefix+name, id
		ts.byID[id] = t
	}
	byKind := map[schema.GroupKind]*Type{}
	for _, t := range ts.byID {
		byKind[t.GroupKind()] = t
	}
	for _, t := range ts.byID {
		for i := range t.Links {
			t.Links[i].Type = byKind[t.Links[i].Target]
		}
	}
	return ts
}

func typeFromCRD(crd *apiextensionsv1.CustomResourceDefinition) (*Type, error) {
	kind, err := model.ParseKind(crd)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == kind.GVK.Version })
	v := crd.Spec.Versions[i]
	if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
		return nil, fmt.Errorf("CustomResourceDefinition %s: version %s has no schema", crd.Name, v.Name)
	}
	root := v.Schema.OpenAPIV3Schema
	spec := root.Properties["spec"]
	t := &Type{Kind: kind, Description: root.Description}
	for _, d := range kind.DependsOn {
		t.Links = append(t.Links, linkType(d, &spec))
	}
	t.addProperties(&spec)
	t.addKey(cmp.Or(crd.Annotations[model.AnnotationKey], propertyName))
	t.addAttributes(root.Properties["status"].Properties["observed"].Properties)
	return t, nil
}

// linkType names the requirement after the field that holds the reference: owner for both
// spec.owner.name and spec.owner.
func linkType(d model.DependsOn, spec *apiextensionsv1.JSONSchemaProps) LinkType {
	path := strings.Split(d.Path, ".")
	named := path
	if len(named) > 2 && named[len(named)-1] == "name" {
		named = named[:len(named)-1]
	}
	return LinkType{
		Name:     snake(named[len(named)-1]),
		Path:     path,
		Target:   d.GroupKind,
		Required: slices.Contains(spec.Required, path[1]),
	}
}

func (t *Type) addProperties(spec *apiextensionsv1.JSONSchemaProps) {
	// Two fields that would have the same name in snake_case both keep their own name.
	sharing := map[string]int{}
	for field := range spec.Properties {
		sharing[snake(field)]++
	}
	properties := map[string]PropertyType{}
	for _, step := range t.Steps {
		// XOS's no_sync and no_policy are on every model; here they are annotations.
		properties["no_"+string(step)] = PropertyType{
			Name: "no_" + string(step),
			Path: []string{"metadata", "annotations", step.OptOut()},
			Schema: &apiextensionsv1.JSONSchemaProps{
				Type:        "boolean",
				Description: fmt.Sprintf("Keep the %s step away from this model.", step),
			},
		}
	}
	for field, s := range spec.Properties {
		if slices.ContainsFunc(t.Links, func(l LinkType) bool { return l.Path[1] == field }) {
			// The field is written through a requirement.
			continue
		}
		name := snake(field)
		if sharing[name] > 1 || name == PropertyMustExist {
			name = field
		}
		p := PropertyType{Name: name, Path: []string{"spec", field}, Schema: &s}
		p.Required = slices.Contains(spec.Required, field) && s.Default == nil
		properties[name] = p
	}
	t.Properties = slices.SortedFunc(maps.Values(properties), func(a, b PropertyType) int { return strings.Compare(a.Name, b.Name) })
}

// addKey finds the property of the key. A node needs it, also if the schema does not require the field.
func (t *Type) addKey(field string) {
	for i := range t.Properties {
		if p := &t.Properties[i]; slices.Equal(p.Path, []string{"spec", field}) && p.Schema.Type == "string" {
			p.Required = true
			t.Key = p
		}
	}
}

func (t *Type) addAttributes(observed map[string]apiextensionsv1.JSONSchemaProps) {
	for _, field := range slices.Sorted(maps.Keys(observed)) {
		s := observed[field]
		t.Attributes = append(t.Attributes, PropertyType{Name: snake(field), Path: []string{"status", "observed", field}, Schema: &s})
	}
}

// ByID finds a type by its name in paths and imports. It returns nil if there is none.
func (ts *Types) ByID(id string) *Type { return ts.byID[id] }

// IDs lists the types, sorted.
func (ts *Types) IDs() []string { return slices.Sorted(maps.Keys(ts.byID)) }

// lookup finds a type by its full name. The second result says why there is none.
func (ts *Types) lookup(name string) (*Type, string) {
	kind, ok := strings.CutPrefix(name, NodePrefix)
	id := strings.ToLower(kind)
	if t := ts.byID[id]; ok && t != nil && t.Name == name {
		return t, ""
	}
	if err := ts.broken[id]; ok && err != nil {
		return nil, fmt.Sprintf("type %q cannot be used: %v", clip(name), err)
	}
	known := make([]string, 0, len(ts.byID))
	for _, id := range ts.IDs() {
		known = append(known, ts.byID[id].Name)
	}
	return nil, fmt.Sprintf("type %q is not known; known are: %s", clip(name), list(known))
}

// list joins words for an answer, at most 30 of them.
func list(words []string) string {
	const most = 30
	if len(words) == 0 {
		return "none"
	}
	if len(words) > most {
		return strings.Join(words[:most], ", ") + fmt.Sprintf(" and %d more", len(words)-most)
	}
	return strings.Join(words, ", ")
}
