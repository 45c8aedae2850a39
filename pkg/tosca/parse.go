package tosca

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Parse reads a recipe. It is pure and never panics; what it returns as an error is always Errors.
//
// It works on YAML's node tree and not on decoded values: the tree has lines, and an alias in it is
// only a name, so a "billion laughs" file is refused before anything is expanded.
func Parse(data []byte) (recipe *Recipe, err error) {
	defer func() {
		// yaml.v3 panics inside and recovers. A panic that it lets out is a bug of its own, but the
		// sender's file is the cause and gets the blame.
		if r := recover(); r != nil {
			recipe, err = nil, Errors{{Name: SyntaxError, Message: "this is not YAML that can be read"}}
		}
	}()

	root, rootErr := document(data)
	if rootErr != nil {
		return nil, Errors{rootErr}
	}
	p := &parser{}
	p.refuseUnsafe(root, 1)
	if len(p.errs) > 0 {
		// Nothing else of such a file is read.
		return nil, p.errs
	}
	recipe = p.recipe(root)
	if len(p.errs) > 0 {
		p.errs.Sort()
		return nil, p.errs
	}
	return recipe, nil
}

// document returns the root of the only YAML document in data.
func document(data []byte) (*yaml.Node, *Error) {
	if len(data) > MaxBytes {
		return nil, &Error{Name: TooLarge, Message: fmt.Sprintf("the recipe has %d bytes; at most %d are taken", len(data), MaxBytes)}
	}
	marks := 0
	for _, mark := range []byte("\n:,[{") {
		marks += bytes.Count(data, []byte{mark})
	}
	if marks > MaxMarks {
		return nil, &Error{Name: TooLarge, Message: fmt.Sprintf("the recipe has %d line ends, colons, commas and opening brackets; at most %d are taken", marks, MaxMarks)}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &Error{Name: SyntaxError, Message: "the recipe is empty"}
	}
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, &Error{Name: SyntaxError, Message: "the recipe is binary; expected YAML as UTF-8 text"}
	}

	data, versionErr := anyVersion(data)
	if versionErr != nil {
		return nil, versionErr
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, &Error{Name: SyntaxError, Message: "the recipe is empty: there are only comments in it"}
		}
		return nil, syntaxError(data, err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, syntaxError(data, err)
		}
		return nil, &Error{Name: SyntaxError, Line: more.Line, Message: "a second YAML document starts here; a recipe is one document"}
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, &Error{Name: SyntaxError, Message: "the recipe is empty"}
	}
	return doc.Content[0], nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// syntaxError makes an Error of one of yaml.v3. A tab has a message of its own: it is the usual
// reason, and cannot be seen.
func syntaxError(data []byte, err error) *Error {
	line := 0
	for text := range bytes.Lines(data) {
		line++
		indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
		if i := bytes.IndexByte(indent, '\t'); i >= 0 {
			return &Error{Name: SyntaxError, Line: line, Column: i + 1, Message: "a tab is used to indent; YAML wants spaces"}
		}
	}
	msg := err.Error()
	m := yamlLine.FindStringSubmatch(msg)
	at, err := strconv.Atoi(m[1])
	if err != nil {
		at = unsaid(data, msg)
	}
	return &Error{Name: SyntaxError, Line: at, Message: strings.TrimPrefix(msg, m[0])}
}

// unsaid is the line of an error of yaml.v3 that tells none: it leaves out that of the first line and
// those of characters and of aliases.
func unsaid(data []byte, msg string) int {
	switch i := bytes.IndexFunc(data, func(r rune) bool {
		return r == 0x7f || unicode.IsControl(r) && !strings.ContainsRune("\t\n\r\u0085", r)
	}); {
	case strings.Contains(msg, "unknown anchor"):
		return 0
	case strings.Contains(msg, "control characters") && i >= 0:
		return 1 + bytes.Count(data[:i], []byte("\n"))
	}
	return 1
}

type parser struct {
	errs    Errors
	tooDeep bool
}

func (p *parser) fail(e *Error) {
	if len(p.errs) < MaxErrors {
		p.errs = append(p.errs, e)
	}
}

// refuseUnsafe walks the whole tree once, before anything is read from it.
func (p *parser) refuseUnsafe(n *yaml.Node, depth int) {
	refuse := func(format string, args ...any) {
		p.fail(&Error{Name: SyntaxError, Line: n.Line, Column: n.Column, Message: fmt.Sprintf(format, args...)})
	}
	if len(p.errs) == MaxErrors {
		return
	}
	if depth > MaxDepth {
		// Once is enough: what is beside it is as deep.
		if !p.tooDeep {
			refuse("nested deeper than %d levels", MaxDepth)
		}
		p.tooDeep = true
		return
	}
	if n.Kind == yaml.AliasNode {
		refuse("alias *%s: anchors and aliases are not taken; write the value out", clip(n.Value))
		return
	}
	if n.Anchor != "" {
		refuse("anchor &%s: anchors and aliases are not taken; write the value out", clip(n.Anchor))
		return
	}
	if n.Style&yaml.TaggedStyle != 0 {
		refuse("tag %s: tags are not taken", clip(n.Tag))
		return
	}
	if n.Kind == yaml.MappingNode {
		p.refuseKeys(n)
	}
	for _, c := range n.Content {
		p.refuseUnsafe(c, depth+1)
	}
}

func (p *parser) refuseKeys(m *yaml.Node) {
	seen := make(map[string]int, len(m.Content)/2)
	for i := 0; i+1 < len(m.Content) && len(p.errs) < MaxErrors; i += 2 {
		k := m.Content[i]
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" || k.Tag == "!!null" {
			p.fail(&Error{Name: SyntaxError, Line: k.Line, Column: k.Column, Message: "a key must be a plain word"})
			continue
		}
		if first, dup := seen[k.Value]; dup {
			p.fail(&Error{Name: DuplicateField, Line: k.Line, Column: k.Column,
				Message: fmt.Sprintf("key %q is given twice, first on line %d", clip(k.Value), first)})
			continue
		}
		seen[k.Value] = k.Line
	}
}

func (p *parser) recipe(root *yaml.Node) *Recipe {
	r := &Recipe{}
	if !p.isMap(root, "", "", "the recipe") {
		return r
	}
	var version, topology *yaml.Node
	for k, v := range pairs(root) {
		switch k.Value {
		case "tosca_definitions_version":
			version = v
		case "imports":
			r.Imports = p.imports(v)
		case "description":
			r.Description = v.Value
		case "topology_template":
			topology = v
		case "metadata", "template_name", "template_author", "template_version":
			// These are about the recipe itself. They have no effect in TOSCA either.
		default:
			p.unknown(k, "", "", "tosca_definitions_version, imports, description, topology_template")
		}
	}
	p.version(root, version)
	if topology == nil {
		p.missing(root.Line, "", "topology_template")
		return r
	}
	r.Nodes = p.topology(topology)
	return r
}

func (p *parser) version(root, v *yaml.Node) {
	if v == nil {
		p.missing(root.Line, "", "tosca_definitions_version")
		return
	}
	if v.Kind != yaml.ScalarNode || v.Value != Version {
		p.fail(&Error{Name: InvalidVersion, Line: v.Line, Column: v.Column,
			Message: fmt.Sprintf("tosca_definitions_version is %q; expected %q", clip(v.Value), Version)})
	}
}

func (p *parser) imports(v *yaml.Node) []Import {
	if v.Kind != yaml.SequenceNode {
		p.fail(&Error{Name: TypeMismatch, Line: v.Line, Column: v.Column, Message: "imports: expected a list of paths such as custom_types/kind.yaml"})
		return nil
	}
	imports := make([]Import, 0, len(v.Content))
	for _, e := range v.Content {
		if e.Kind != yaml.ScalarNode || e.Tag != "!!str" {
			p.fail(&Error{Name: ImportFailed, Line: e.Line, Column: e.Column, Message: "expected a path such as custom_types/kind.yaml"})
			continue
		}
		imports = append(imports, Import{Path: e.Value, Line: e.Line})
	}
	return imports
}

func (p *parser) topology(topology *yaml.Node) []*NodeTemplate {
	if !p.isMap(topology, "", "", "topology_template") {
		return nil
	}
	var templates *yaml.Node
	for k, v := range pairs(topology) {
		switch k.Value {
		case "node_templates":
			templates = v
		case "description":
		default:
			p.unknown(k, "", "", "node_templates, description")
		}
	}
	if templates == nil {
		p.missing(topology.Line, "", "node_templates")
		return nil
	}
	if !p.isMap(templates, "", "", "node_templates") {
		return nil
	}
	if len(templates.Content) == 0 {
		p.fail(&Error{Name: MissingRequiredField, Line: templates.Line, Message: "node_templates has no node in it"})
		return nil
	}
	if n := len(templates.Content) / 2; n > MaxNodes {
		p.fail(&Error{Name: TooLarge, Line: templates.Line, Message: fmt.Sprintf("the recipe has %d nodes; at most %d are taken", n, MaxNodes)})
		return nil
	}
	nodes := make([]*NodeTemplate, 0, len(templates.Content)/2)
	for k, v := range pairs(templates) {
		if reason := badName(k.Value); reason != "" {
			p.fail(&Error{Name: InvalidName, Line: k.Line, Column: k.Column, Message: fmt.Sprintf("node name %q %s", clip(k.Value), reason)})
			continue
		}
		nodes = append(nodes, p.node(k, v))
	}
	return nodes
}

func (p *parser) node(k, v *yaml.Node) *NodeTemplate {
	n := &NodeTemplate{Name: k.Value, Line: k.Line}
	if !p.isMap(v, n.Name, "", "a node template") {
		return n
	}
	typed := false
	for field, value := range pairs(v) {
		switch field.Value {
		case "type":
			typed = true
			if value.Kind != yaml.ScalarNode || value.Tag != "!!str" {
				p.fail(&Error{Name: TypeMismatch, Node: n.Name, Line: value.Line, Column: value.Column, Message: "type: expected a name such as tosca.nodes.Kind"})
				continue
			}
			n.Type, n.TypeLine = value.Value, value.Line
		case "properties":
			n.Properties = p.properties(n.Name, value)
		case "requirements":
			n.Requirements = p.requirements(n.Name, value)
		case "description", "metadata":
		default:
			p.unknown(field, n.Name, "", "type, properties, requirements, description")
		}
	}
	if !typed {
		p.missing(n.Line, n.Name, "type")
	}
	return n
}

func (p *parser) properties(node string, v *yaml.Node) []Property {
	// `properties:` with nothing below it means that there are none.
	if v.Tag == "!!null" {
		return nil
	}
	if !p.isMap(v, node, "", "properties") {
		return nil
	}
	props := make([]Property, 0, len(v.Content)/2)
	for k, value := range pairs(v) {
		props = append(props, Property{Name: k.Value, Value: value, Line: k.Line})
	}
	return props
}

func (p *parser) requirements(node string, v *yaml.Node) []Requirement {
	if v.Tag == "!!null" {
		return nil
	}
	const expected = "expected a list such as `- owner: {node: service, relationship: tosca.relationships.BelongsToOne}`"
	if v.Kind != yaml.SequenceNode {
		p.fail(&Error{Name: TypeMismatch, Node: node, Line: v.Line, Column: v.Column, Message: "requirements: " + expected})
		return nil
	}
	reqs := make([]Requirement, 0, len(v.Content))
	for _, e := range v.Content {
		if e.Kind != yaml.MappingNode || len(e.Content) != 2 {
			p.fail(&Error{Name: TypeMismatch, Node: node, Line: e.Line, Column: e.Column, Message: "requirements: " + expected})
			continue
		}
		k, value := e.Content[0], e.Content[1]
		r := Requirement{Name: k.Value, Line: k.Line}
		switch {
		case value.Kind == yaml.ScalarNode && value.Tag == "!!str":
			r.Node = value.Value
		case value.Kind == yaml.MappingNode:
			p.requirement(node, value, &r)
		default:
			p.fail(&Error{Name: TypeMismatch, Node: node, Property: r.Name, Line: value.Line, Column: value.Column, Message: expected})
			continue
		}
		if r.Node == "" {
			p.fail(&Error{Name: MissingRequiredField, Node: node, Property: r.Name, Line: r.Line, Message: "the requirement names no node"})
			continue
		}
		reqs = append(reqs, r)
	}
	return reqs
}

func (p *parser) requirement(node string, v *yaml.Node, r *Requirement) {
	for k, value := range pairs(v) {
		if k.Value != "node" && k.Value != "relationship" {
			p.unknown(k, node, r.Name, "node, relationship")
			continue
		}
		if value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
			p.fail(&Error{Name: TypeMismatch, Node: node, Property: r.Name, Line: value.Line, Column: value.Column, Message: k.Value + ": expected a name"})
			continue
		}
		if k.Value == "node" {
			r.Node = value.Value
			continue
		}
		r.Relationship = value.Value
	}
}

func (p *parser) isMap(n *yaml.Node, node, property, what string) bool {
	if n.Kind == yaml.MappingNode {
		return true
	}
	p.fail(&Error{Name: TypeMismatch, Node: node, Property: property, Line: n.Line, Column: n.Column,
		Message: fmt.Sprintf("%s is %s; expected a map", what, kindOf(n))})
	return false
}

func (p *parser) missing(line int, node, field string) {
	p.fail(&Error{Name: MissingRequiredField, Node: node, Line: line, Message: fmt.Sprintf("%q is required, but not given", field)})
}

func (p *parser) unknown(k *yaml.Node, node, property, expected string) {
	p.fail(&Error{Name: UnknownField, Node: node, Property: property, Line: k.Line, Column: k.Column,
		Message: fmt.Sprintf("unknown field %q; expected one of %s", clip(k.Value), expected)})
}

// pairs yields the keys and values of a map in the order of the file.
func pairs(m *yaml.Node) func(yield func(k, v *yaml.Node) bool) {
	return func(yield func(k, v *yaml.Node) bool) {
		for i := 0; i+1 < len(m.Content); i += 2 {
			if !yield(m.Content[i], m.Content[i+1]) {
				return
			}
		}
	}
}

// kindOf says what a YAML node is, for an answer.
func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a map"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty"
	case n.Tag == "!!str":
		return fmt.Sprintf("the string %q", clip(n.Value))
	default:
		return clip(n.Value)
	}
}

// clip shortens text of a recipe for an answer.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
