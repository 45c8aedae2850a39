package xos

import (
	"slices"
	"strings"

	"github.com/xos-knative/synchronizer/scripts/synchronizer/xproto"
)

// dependencies are what objects of the kind depend on, as Kind=spec.path.
func (k *kind) dependencies() []string {
	var all []string
	for _, f := range k.dependsOn {
		all = append(all, f.target+"="+f.path())
	}
	return all
}

// maxSelectable is how many fields of one version the API can filter lists by.
const maxSelectable = 8

// links finds what each link depends on, and then what can be selected by.
func (c *converter) links() {
	for _, k := range c.kinds {
		for _, f := range k.spec {
			if f.Link != nil {
				f.target = c.target(k, f)
			}
		}
		if o, ok := xproto.Find(k.Options, "owner_class_name"); ok && k.field("owner") == nil {
			c.note(o.Pos, "option owner_class_name: %s has no link owner", k.Name)
		}
	}
	c.circles()
	for _, k := range c.kinds {
		for _, f := range k.spec {
			if f.target != "" {
				k.dependsOn = append(k.dependsOn, f)
			}
		}
		c.selectable(k)
	}
}

// target is what a link depends on, as the annotation of the definition has it.
func (c *converter) target(k *kind, f *field) string {
	peer, pos := last(f.Link.Peer), f.Pos
	if f.Name == "owner" {
		peer, pos = c.owner(k, f, peer)
	}
	m := c.messages[peer]
	switch {
	case f.from.core && f.Name != "owner":
		// The core's other links lead to objects of any kind.
	case f.many:
		c.note(pos, "%s.%s: a list of links is no dependency, and recipes set it as a property: the step has to look at the objects of kind %s that it names, at most %d%s", k.Name, f.Name, peer, maxLinks, through(f))
	case peer == k.Name:
		c.note(pos, "%s.%s leads to its own kind, so that it is no dependency: recipes set it as a property", k.Name, f.Name)
	case m == nil:
		c.note(pos, "%s.%s leads to %s, which is in none of the files, so that it is no dependency: name the file that has it, too", k.Name, f.Name, peer)
	case m.abstract():
		c.note(pos, "%s.%s leads to %s, which is no kind, so that it is no dependency: recipes set it as a property", k.Name, f.Name, peer)
	case m.main:
		return peer
	default:
		group, err := c.groupOf(m.file)
		if err != nil {
			c.fail(pos, "%s.%s: %v", k.Name, f.Name, err)
		}
		return peer + "." + group
	}
	return ""
}

func through(f *field) string {
	if f.Link.Through == "" {
		return ""
	}
	return "; what XOS has of each pair in " + last(f.Link.Through) + " needs a model with two links"
}

// owner is what the link owner of an instance leads to: what option owner_class_name says, otherwise the only service.
func (c *converter) owner(k *kind, f *field, peer string) (string, xproto.Pos) {
	if o, ok := k.option("owner_class_name"); ok {
		return last(o.Value.Text), o.Pos
	}
	if m := c.messages[peer]; m == nil || !m.core {
		return peer, f.Pos
	}
	var services []string
	for _, other := range c.kinds {
		if c.derives(other.message, coreService) {
			services = append(services, other.Name)
		}
	}
	if len(services) == 1 {
		return services[0], k.Pos
	}
	return peer, k.Pos
}

// circles takes away the dependencies that no object could ever have: those around a circle of required links.
func (c *converter) circles() {
	needs := map[string][]*field{}
	for _, k := range c.kinds {
		for _, f := range k.spec {
			if f.target != "" && f.required {
				needs[k.Name] = append(needs[k.Name], f)
			}
		}
	}
	var reaches func(from, to string, seen map[string]bool) bool
	reaches = func(from, to string, seen map[string]bool) bool {
		if from == to {
			return true
		}
		if seen[from] {
			return false
		}
		seen[from] = true
		return slices.ContainsFunc(needs[from], func(f *field) bool { return reaches(f.target, to, seen) })
	}
	for _, k := range c.kinds {
		for _, f := range needs[k.Name] {
			if reaches(f.target, k.Name, map[string]bool{}) {
				c.note(f.Pos, "%s.%s is part of a circle of required links, so that it is no dependency: make one of them optional", k.Name, f.Name)
				defer func() { f.target = "" }()
			}
		}
	}
}

// selectable finds the fields by which lists are filtered: dependencies first, then keys, then other links with an index.
func (c *converter) selectable(k *kind) {
	simple := []string{xproto.ClassString, xproto.ClassBool, xproto.ClassInt, xproto.ClassNamed}
	k.selectable = slices.Clone(k.dependsOn)
	for _, f := range k.spec {
		_, either := f.Option("tosca_key_one_of")
		isKey := f.True("tosca_key") || either || f.True("unique") || f.Name == "name"
		can := f.Link != nil && !f.many || slices.Contains(simple, f.class) && !f.many
		if (isKey || f.Link != nil && f.True("db_index")) && can && !slices.Contains(k.selectable, f) {
			k.selectable = append(k.selectable, f)
		}
	}
	if len(k.selectable) > maxSelectable {
		var left []string
		for _, f := range k.selectable[maxSelectable:] {
			left = append(left, f.json)
		}
		c.note(k.Pos, "%s: the API filters lists by at most %d fields; %s cannot be filtered by", k.Name, maxSelectable, strings.Join(left, ", "))
		k.selectable = k.selectable[:maxSelectable]
	}
}
