package tosca

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// Node is a node template that is good as far as the recipe and the types can say.
type Node struct {
	*NodeTemplate

	Type *Type

	// Key is what the model is found by: its display name, or the name of the node template where
	// the kind has none.
	Key string

	// Object is the name that the object gets if there is none yet.
	Object string

	// MustExist says that the node is only a reference.
	MustExist bool

	// Fields are what the recipe says about the object, in the order of the file.
	Fields []Field

	// Links are the node's requirements.
	Links []Link
}

// Field is one value that a recipe sets.
type Field struct {
	// Property is the name in the recipe, Path the field in the object.
	Property string
	Path     []string
	Value    any
	Line     int
}

// Link is a requirement with its target.
type Link struct {
	Requirement string
	Path        []string
	Target      *Node
	Line        int
}

// PropertyAt returns the property or requirement that an object's field belongs to, and its line. A
// field that the recipe does not mention has the line of the node.
func (n *Node) PropertyAt(field string) (name string, line int) {
	within := func(p []string) bool {
		at := strings.Join(p, ".")
		return field == at || strings.HasPrefix(field, at+".") || strings.HasPrefix(field, at+"[")
	}
	for _, f := range n.Fields {
		if within(f.Path) {
			return f.Property, f.Line
		}
	}
	for _, l := range n.Links {
		if within(l.Path[:2]) {
			return l.Requirement, l.Line
		}
	}
	for _, p := range n.Type.Properties {
		if within(p.Path) {
			return p.Name, n.Line
		}
	}
	for _, l := range n.Type.Links {
		if within(l.Path[:2]) {
			return l.Name, n.Line
		}
	}
	return "", n.Line
}

// Check compares a recipe with the types. It returns the good nodes even if others are wrong, so
// that the API can be asked about them, too, and all errors are in one list. The nodes are in the
// order in which XOS worked: first those that require nothing, by name, then those that require
// only these, and so on.
func Check(r *Recipe, types *Types) ([]*Node, Errors) {
	c := &checker{types: types, nodes: make(map[string]*Node, len(r.Nodes))}
	for _, imp := range r.Imports {
		c.importOf(imp)
	}
	nodes := make([]*Node, 0, len(r.Nodes))
	bad := map[string]bool{}
	for _, t := range r.Nodes {
		before := c.count
		n := c.node(t)
		if n.Type != nil {
			c.nodes[t.Name] = n
			nodes = append(nodes, n)
		}
		bad[t.Name] = c.count > before
	}
	templates := make(map[string]bool, len(r.Nodes))
	for _, t := range r.Nodes {
		templates[t.Name] = true
	}
	for _, n := range nodes {
		before := c.count
		c.links(n, templates)
		bad[n.Name] = bad[n.Name] || c.count > before
	}
	for _, n := range c.duplicates(nodes) {
		bad[n.Name] = true
	}
	ordered, cyclic := order(nodes)
	for _, circle := range cyclic {
		names := make([]string, 0, len(circle)+1)
		for _, n := range append(circle, circle[0]) {
			names = append(names, n.Name)
		}
		c.fail(circle[0], Cycle, "", circle[0].Line, "the node requires itself: %s", list(names))
	}
	good := ordered[:0]
	for _, n := range ordered {
		// A node that links to a bad one would only repeat its error.
		if bad[n.Name] || slices.ContainsFunc(n.Links, func(l Link) bool { return bad[l.Target.Name] }) {
			bad[n.Name] = true
			continue
		}
		good = append(good, n)
	}
	c.errs.Sort()
	return good, c.errs
}

type checker struct {
	types *Types
	nodes map[string]*Node
	errs  Errors
	// count is of all errors, while errs ends at MaxErrors.
	count int
}

func (c *checker) importOf(imp Import) {
	dir, file := path.Split(imp.Path)
	id, isYAML := strings.CutSuffix(file, ".yaml")
	if dir == "custom_types/" && isYAML && c.types.ByID(id) != nil {
		return
	}
	known := c.types.IDs()
	for i := range known {
		known[i] = "custom_types/" + known[i] + ".yaml"
	}
	c.add(&Error{Name: ImportFailed, Line: imp.Line, Message: fmt.Sprintf("there is no %q; known are: %s", clip(imp.Path), list(known))})
}

func (c *checker) add(e *Error) {
	c.count++
	if len(c.errs) < MaxErrors {
		c.errs = append(c.errs, e)
	}
}

func (c *checker) fail(n *Node, name, property string, line int, format string, args ...any) {
	c.add(&Error{Name: name, Node: n.Name, Property: property, Line: line, Message: fmt.Sprintf(format, args...)})
}

func (c *checker) node(t *NodeTemplate) *Node {
	n := &Node{NodeTemplate: t}
	typ, reason := c.types.lookup(t.Type)
	if typ == nil {
		c.fail(n, InvalidType, "", t.TypeLine, "%s", reason)
		return n
	}
	n.Type = typ
	given := make(map[string]bool, len(t.Properties))
	for _, p := range t.Properties {
		given[p.Name] = true
		c.property(n, p)
	}
	for i := range typ.Properties {
		p := &typ.Properties[i]
		keyOnly := n.MustExist && p != typ.Key
		if p.Required && !given[p.Name] && !keyOnly {
			c.fail(n, MissingRequiredField, p.Name, n.Line, "is required, but not given")
		}
	}
	c.name(n)
	return n
}

func (c *checker) property(n *Node, p Property) {
	if p.Name == PropertyMustExist {
		v, ok := boolean(p.Value)
		if !ok {
			c.fail(n, TypeMismatch, p.Name, p.Line, "is %s; expected true or false", kindOf(p.Value))
		}
		n.MustExist = v
		return
	}
	pt := n.Type.property(p.Name)
	if pt == nil {
		c.fail(n, UnknownField, clip(p.Name), p.Line, "%s", c.unknown(n.Type, p.Name))
		return
	}
	v, bad := value(p.Value, pt.Schema, "")
	for _, b := range bad {
		msg := b.message
		if b.at != "" {
			msg = strings.TrimPrefix(b.at, ".") + " " + msg
		}
		c.fail(n, b.name, p.Name, b.node.Line, "%s", msg)
	}
	if len(bad) > 0 {
		return
	}
	if pt.annotation() {
		v = fmt.Sprint(v)
	}
	n.Fields = append(n.Fields, Field{Property: p.Name, Path: pt.Path, Value: v, Line: p.Value.Line})
}

// unknown suggests what could have been meant.
func (c *checker) unknown(t *Type, name string) string {
	if l := t.link(snake(name)); l != nil {
		return fmt.Sprintf("is a link and not a property: write it below requirements, as `- %s: {node: ..., relationship: %s}`", l.Name, relationships[0])
	}
	if p := t.property(snake(name)); p != nil {
		return fmt.Sprintf("is not known; it is written %s", p.Name)
	}
	if slices.ContainsFunc(t.Attributes, func(a PropertyType) bool { return a.Name == snake(name) }) {
		return "cannot be set: it is what the steps of the model report"
	}
	known := []string{PropertyMustExist}
	for _, p := range t.Properties {
		known = append(known, p.Name)
	}
	slices.Sort(known)
	return fmt.Sprintf("is not known; %s has: %s", t.Name, list(known))
}

// name finds the node's key, and the name of its object if there is none yet.
func (c *checker) name(n *Node) {
	n.Key = n.Name
	property := propertyName
	if n.Type.Key != nil {
		property = n.Type.Key.Name
		i := slices.IndexFunc(n.Fields, func(f Field) bool { return f.Property == property })
		if i < 0 {
			// It is missing or not a string: there is an error already.
			return
		}
		n.Key = fmt.Sprint(n.Fields[i].Value)
		if reason := badName(n.Key); reason != "" {
			c.fail(n, InvalidName, property, n.Fields[i].Line, "%q %s", clip(n.Key), reason)
			return
		}
	}
	object, err := model.ObjectName(n.Type.GVK.Kind, n.Key)
	if err != nil {
		c.fail(n, InvalidName, property, n.Line, "%s", err)
		return
	}
	n.Object = object
}

func (c *checker) links(n *Node, templates map[string]bool) {
	given := make(map[string]bool, len(n.Requirements))
	for _, r := range n.Requirements {
		lt := n.Type.link(r.Name)
		if lt == nil {
			known := make([]string, 0, len(n.Type.Links))
			for _, l := range n.Type.Links {
				known = append(known, l.Name)
			}
			c.fail(n, UnknownField, clip(r.Name), r.Line, "is not a requirement that %s can have; it has: %s", n.Type.Name, list(known))
			continue
		}
		if given[r.Name] {
			c.fail(n, DuplicateField, r.Name, r.Line, "the requirement is given twice; it links to one node")
			continue
		}
		given[r.Name] = true
		if r.Relationship != "" && !slices.Contains(relationships, r.Relationship) {
			c.fail(n, InvalidType, r.Name, r.Line, "relationship %q is not known; known are: %s", clip(r.Relationship), list(relationships))
			continue
		}
		target := c.nodes[r.Node]
		if target == nil {
			if !templates[r.Node] {
				c.fail(n, UnknownNode, r.Name, r.Line, "there is no node %q in the recipe; a model that exists already is listed with must-exist: true", clip(r.Node))
			}
			continue
		}
		if target.Type.GroupKind() != lt.Target {
			c.fail(n, TypeMismatch, r.Name, r.Line, "node %q is a %s; expected a %s", target.Name, target.Type.GroupKind(), lt.Target)
			continue
		}
		n.Links = append(n.Links, Link{Requirement: r.Name, Path: lt.Path, Target: target, Line: r.Line})
	}
	for _, l := range n.Type.Links {
		if l.Required && !given[l.Name] && !n.MustExist {
			c.fail(n, MissingRequiredField, l.Name, n.Line, "the requirement is needed, but not given")
		}
	}
}

// duplicates finds nodes that are the same model, or would become the same object. Two references
// to one model are fine.
func (c *checker) duplicates(nodes []*Node) []*Node {
	type id struct {
		groupKind schema.GroupKind
		name      string
	}
	keys, objects := map[id]*Node{}, map[id]*Node{}
	var bad []*Node
	for _, n := range nodes {
		if n.Object == "" {
			continue
		}
		k := id{n.Type.GroupKind(), n.Key}
		if first := keys[k]; first != nil {
			if !first.MustExist || !n.MustExist {
				c.fail(n, DuplicateNode, "", n.Line, "it is the same %s %q as node %q on line %d", k.groupKind.Kind, n.Key, first.Name, first.Line)
				bad = append(bad, n)
			}
			continue
		}
		keys[k] = n
		o := id{n.Type.GroupKind(), n.Object}
		if first := objects[o]; first != nil {
			c.fail(n, NameCollision, "", n.Line, "%q and %q (node %q on line %d) would both become the object %s; change one of the names",
				n.Key, first.Key, first.Name, first.Line, o.name)
			bad = append(bad, n)
			continue
		}
		objects[o] = n
	}
	return bad
}
