package tosca

import (
	"bytes"
	"fmt"

	"gopkg.in/yaml.v3"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// These are structs, so that the fields of the generated YAML have TOSCA's usual order.
type (
	customType struct {
		Version   string                 `yaml:"tosca_definitions_version"`
		NodeTypes map[string]nodeTypeDoc `yaml:"node_types"`
	}
	nodeTypeDoc struct {
		DerivedFrom  string                       `yaml:"derived_from"`
		Description  string                       `yaml:"description,omitempty"`
		Capabilities map[string]map[string]string `yaml:"capabilities"`
		Properties   yaml.Node                    `yaml:"properties"`
		Attributes   yaml.Node                    `yaml:"attributes,omitempty"`
		Requirements []map[string]requirementDoc  `yaml:"requirements,omitempty"`
	}
	propertyDoc struct {
		Type        string           `yaml:"type"`
		Required    bool             `yaml:"required"`
		Default     any              `yaml:"default,omitempty"`
		Description string           `yaml:"description,omitempty"`
		Entry       *entryDoc        `yaml:"entry_schema,omitempty"`
		Constraints []map[string]any `yaml:"constraints,omitempty"`
	}
	// attributeDoc is of what is reported: it is neither required nor constrained.
	attributeDoc struct {
		Type        string    `yaml:"type"`
		Description string    `yaml:"description,omitempty"`
		Entry       *entryDoc `yaml:"entry_schema,omitempty"`
	}
	entryDoc struct {
		Type string `yaml:"type"`
	}
	requirementDoc struct {
		Node         string `yaml:"node"`
		Relationship string `yaml:"relationship"`
		Occurrences  []int  `yaml:"occurrences,flow"`
	}
)

// YAML is the type as a TOSCA file, as XOS served it below /custom_type.
func (t *Type) YAML() ([]byte, error) {
	props := yaml.Node{Kind: yaml.MappingNode}
	err := add(&props, PropertyMustExist, propertyDoc{Type: "boolean", Default: false, Description: "Only refer to a model that exists already."})
	if err != nil {
		return nil, err
	}
	for _, p := range t.Properties {
		if err := add(&props, p.Name, propertyOf(p)); err != nil {
			return nil, err
		}
	}
	var attributes yaml.Node
	for _, a := range t.Attributes {
		attributes.Kind = yaml.MappingNode
		doc := propertyOf(a)
		if err := add(&attributes, a.Name, attributeDoc{doc.Type, doc.Description, doc.Entry}); err != nil {
			return nil, err
		}
	}
	node := nodeTypeDoc{
		DerivedFrom:  "tosca.nodes.Root",
		Description:  t.Description,
		Capabilities: map[string]map[string]string{t.ID: {"type": "tosca.capabilities.xos." + t.GVK.Kind}},
		Properties:   props,
		Attributes:   attributes,
	}
	for _, l := range t.Links {
		least := 0
		if l.Required {
			least = 1
		}
		node.Requirements = append(node.Requirements, map[string]requirementDoc{l.Name: {
			Node: NodePrefix + l.Target.Kind, Relationship: relationships[0], Occurrences: []int{least, 1},
		}})
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(customType{Version: Version, NodeTypes: map[string]nodeTypeDoc{t.Name: node}}); err != nil {
		return nil, fmt.Errorf("cannot write type %s: %w", t.Name, err)
	}
	return b.Bytes(), nil
}

// add adds a property or an attribute to a map.
func add(to *yaml.Node, name string, doc any) error {
	var v yaml.Node
	if err := v.Encode(doc); err != nil {
		return fmt.Errorf("cannot write property %s: %w", name, err)
	}
	to.Content = append(to.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, &v)
	return nil
}

func propertyOf(p PropertyType) propertyDoc {
	doc := propertyDoc{Type: toscaType(p.Schema), Required: p.Required, Description: p.Schema.Description, Constraints: constraints(p.Schema)}
	if p.Schema.Default != nil {
		// The error is ignored: a CRD has no default that is not JSON.
		_ = yaml.Unmarshal(p.Schema.Default.Raw, &doc.Default)
	}
	if p.Schema.Items != nil && p.Schema.Items.Schema != nil {
		doc.Entry = &entryDoc{Type: toscaType(p.Schema.Items.Schema)}
	}
	if p.Schema.AdditionalProperties != nil && p.Schema.AdditionalProperties.Schema != nil {
		doc.Entry = &entryDoc{Type: toscaType(p.Schema.AdditionalProperties.Schema)}
	}
	return doc
}

// toscaType is TOSCA's name for a type of JSON.
func toscaType(s *apiextensionsv1.JSONSchemaProps) string {
	switch {
	case s.Type == "string" && s.Format == "date-time":
		return "timestamp"
	case s.Type == "number":
		return "float"
	case s.Type == "array":
		return "list"
	case s.Type == "object":
		return "map"
	case s.Type == "":
		return "string"
	}
	return s.Type
}

func constraints(s *apiextensionsv1.JSONSchemaProps) []map[string]any {
	var out []map[string]any
	add := func(name string, v any) { out = append(out, map[string]any{name: v}) }
	if len(s.Enum) > 0 {
		values := make([]any, len(s.Enum))
		for i, e := range s.Enum {
			_ = yaml.Unmarshal(e.Raw, &values[i])
		}
		add("valid_values", values)
	}
	if s.Minimum != nil {
		name := "greater_or_equal"
		if s.ExclusiveMinimum {
			name = "greater_than"
		}
		add(name, *s.Minimum)
	}
	if s.Maximum != nil {
		name := "less_or_equal"
		if s.ExclusiveMaximum {
			name = "less_than"
		}
		add(name, *s.Maximum)
	}
	if s.MinLength != nil {
		add("min_length", *s.MinLength)
	}
	if s.MaxLength != nil {
		add("max_length", *s.MaxLength)
	}
	if s.Pattern != "" {
		add("pattern", s.Pattern)
	}
	return out
}
