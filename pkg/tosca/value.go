package tosca

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// mismatch is a value that is not of the type that the schema wants. Ranges, patterns and the like
// are not checked here: the API server does it in its dry run, and two checks could disagree.
type mismatch struct {
	at      string
	node    *yaml.Node
	message string
	name    string
}

// value turns YAML into the Go values of JSON: nil, bool, int64, float64, string, []any,
// map[string]any.
func value(n *yaml.Node, s *apiextensionsv1.JSONSchemaProps, at string) (any, []mismatch) {
	if isNull(n) && s.Nullable {
		return nil, nil
	}
	switch {
	case s.XIntOrString:
		v, ok := intOrString(n)
		return typed(n, at, v, ok, "an integer or a string")
	case s.Type == "string":
		v, ok := text(n)
		expected := "a string (put the value in quotes)"
		if isNull(n) {
			expected = "a string"
		}
		return typed(n, at, v, ok, expected)
	case s.Type == "integer":
		v, ok := integer(n)
		return typed(n, at, v, ok, "an integer of at most 64 bits")
	case s.Type == "number":
		v, ok := number(n)
		return typed(n, at, v, ok, "a number")
	case s.Type == "boolean":
		v, ok := boolean(n)
		return typed(n, at, v, ok, "true or false")
	case s.Type == "array":
		if n.Kind != yaml.SequenceNode {
			return typed(n, at, nil, false, "a list")
		}
		return array(n, s, at)
	case s.Type == "object":
		if n.Kind != yaml.MappingNode {
			return typed(n, at, nil, false, "a map")
		}
		if !preserves(s) {
			return object(n, s, at)
		}
	}
	return free(n, at)
}

// typed returns the value if it is ok, that is of the expected type.
func typed(n *yaml.Node, at string, v any, ok bool, expected string) (any, []mismatch) {
	if ok {
		return v, nil
	}
	return nil, []mismatch{{at: at, node: n, name: TypeMismatch, message: fmt.Sprintf("is %s; expected %s", kindOf(n), expected)}}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// text takes a string or a date. Nothing else stays as it was written: 012 or 1.10 would not.
func text(n *yaml.Node) (string, bool) {
	return n.Value, n.Kind == yaml.ScalarNode && (n.Tag == "!!str" || n.Tag == "!!timestamp")
}

func intOrString(n *yaml.Node) (any, bool) {
	if v, ok := integer(n); ok && n.Tag == "!!int" {
		return v, true
	}
	return n.Value, n.Kind == yaml.ScalarNode && n.Tag == "!!str"
}

func preserves(s *apiextensionsv1.JSONSchemaProps) bool {
	return s.XPreserveUnknownFields != nil && *s.XPreserveUnknownFields
}

func array(n *yaml.Node, s *apiextensionsv1.JSONSchemaProps, at string) (any, []mismatch) {
	items := &apiextensionsv1.JSONSchemaProps{}
	if s.Items != nil && s.Items.Schema != nil {
		items = s.Items.Schema
	}
	out := make([]any, 0, len(n.Content))
	var bad []mismatch
	for i, e := range n.Content {
		v, b := value(e, items, fmt.Sprintf("%s[%d]", at, i))
		out, bad = append(out, v), append(bad, b...)
	}
	return out, bad
}

// object takes nested fields in snake_case and as the schema has them.
func object(n *yaml.Node, s *apiextensionsv1.JSONSchemaProps, at string) (any, []mismatch) {
	fields := make(map[string]string, 2*len(s.Properties))
	for field := range s.Properties {
		fields[snake(field)] = field
	}
	for field := range s.Properties {
		fields[field] = field
	}
	out := make(map[string]any, len(n.Content)/2)
	var bad []mismatch
	for k, e := range pairs(n) {
		inner := join(at, k.Value)
		if field, ok := fields[k.Value]; ok {
			if _, twice := out[field]; twice {
				bad = append(bad, mismatch{at: inner, node: k, name: DuplicateField, message: "is given twice, in two spellings"})
				continue
			}
			sub := s.Properties[field]
			v, b := value(e, &sub, inner)
			out[field], bad = v, append(bad, b...)
			continue
		}
		if s.AdditionalProperties == nil || !s.AdditionalProperties.Allows && s.AdditionalProperties.Schema == nil {
			bad = append(bad, mismatch{at: inner, node: k, name: UnknownField,
				message: "is not known; known are: " + list(slices.Sorted(maps.Keys(s.Properties)))})
			continue
		}
		sub := s.AdditionalProperties.Schema
		if sub == nil {
			sub = &apiextensionsv1.JSONSchemaProps{}
		}
		v, b := value(e, sub, inner)
		out[k.Value], bad = v, append(bad, b...)
	}
	for _, field := range s.Required {
		if _, ok := out[field]; !ok && s.Properties[field].Default == nil {
			bad = append(bad, mismatch{at: join(at, snake(field)), node: n, name: MissingRequiredField, message: "is required, but not given"})
		}
	}
	return out, bad
}

// free takes any value, where the schema leaves the type open.
func free(n *yaml.Node, at string) (any, []mismatch) {
	switch {
	case n.Kind == yaml.SequenceNode:
		return array(n, &apiextensionsv1.JSONSchemaProps{}, at)
	case n.Kind == yaml.MappingNode:
		open := &apiextensionsv1.JSONSchemaProps{AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true}}
		return object(n, open, at)
	case n.Tag == "!!null":
		return nil, nil
	case n.Tag == "!!bool":
		v, _ := boolean(n)
		return v, nil
	case n.Tag == "!!int" || n.Tag == "!!float":
		if v, ok := number(n); ok {
			return v, nil
		}
		return nil, []mismatch{{at: at, node: n, name: TypeMismatch, message: fmt.Sprintf("is %s; expected a number that JSON has", kindOf(n))}}
	}
	return n.Value, nil
}

// integer also takes a number in quotes, as XOS's parser did.
func integer(n *yaml.Node) (int64, bool) {
	if n.Kind != yaml.ScalarNode {
		return 0, false
	}
	if n.Tag == "!!str" {
		v, err := strconv.ParseInt(n.Value, 10, 64)
		return v, err == nil
	}
	var v int64
	if n.Tag != "!!int" || n.Decode(&v) != nil {
		return 0, false
	}
	return v, true
}

// number returns an int64 if it can, as the API does for whole numbers.
func number(n *yaml.Node) (any, bool) {
	if v, ok := integer(n); ok {
		return v, true
	}
	if n.Kind != yaml.ScalarNode {
		return nil, false
	}
	var v float64
	switch n.Tag {
	case "!!str":
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil {
			return nil, false
		}
		v = f
	case "!!int", "!!float":
		if n.Decode(&v) != nil {
			return nil, false
		}
	default:
		return nil, false
	}
	return v, !math.IsInf(v, 0) && !math.IsNaN(v)
}

// boolean also takes the words of YAML 1.1, which XOS read, and true and false in quotes.
func boolean(n *yaml.Node) (v, ok bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" && n.Tag != "!!str" {
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	}
	return false, false
}

func join(at, field string) string {
	if at == "" {
		return clip(field)
	}
	return at + "." + clip(field)
}
