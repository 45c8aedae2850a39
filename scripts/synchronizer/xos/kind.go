package xos

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/xproto"
)

// What a definition says of its model, beside what package model names. Nothing of this project reads it: it is what
// XOS knew, for those who write the policies and the console.
const (
	prefix = "synchronizer.xos-knative.dev/"
	// annotationDisplayName is what XOS's GUI called the model.
	annotationDisplayName = prefix + "display-name"
	// annotationHidden lists the fields that XOS's GUI did not show; a * stands for the whole model.
	annotationHidden = prefix + "console-hidden"
	// annotationUnique lists fields that no two objects share: "a;b,c" is a, and b together with c.
	annotationUnique = prefix + "unique"
	// labelKind is the kind of a service, as XOS's option says.
	labelKind = prefix + "xos-kind"
)

// kind is a message that becomes a model.
type kind struct {
	*message
	// spec and observed are what users declare and what steps report.
	spec, observed []*field
	steps          []string
	dependsOn      []*field
	selectable     []*field
	annotations    []string
	labels         []string
	rules          []rule
}

// rule is one of CEL on the spec.
type rule struct{ rule, message, expression string }

var (
	kindName = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,62}$`)
	dnsLabel = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
	labelled = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
)

func (c *converter) kind(m *message) *kind {
	k := &kind{message: m}
	if !kindName.MatchString(m.Name) {
		c.fail(m.Pos, "expected a kind's name of at most 63 letters and digits that begins with a capital one, got %q", m.Name)
	}
	for _, in := range c.flatten(m, nil) {
		f := c.field(k, in)
		switch {
		case f == nil:
		case f.observed:
			k.observed = append(k.observed, f)
		default:
			k.spec = append(k.spec, f)
		}
	}
	c.distinct(k, k.spec)
	c.distinct(k, k.observed)
	c.options(k)
	c.keys(k)
	c.access(m.Pos, m.Name, m.Policy)
	c.validators(k)
	return k
}

// distinct fails if two names of xproto become one.
func (c *converter) distinct(k *kind, fields []*field) {
	byName := map[string]string{}
	for _, f := range fields {
		for _, name := range []string{f.json, f.goName} {
			if other, ok := byName[name]; ok && other != f.Name {
				c.fail(f.Pos, "%s.%s and %s would both become %s: rename one of them", k.Name, f.Name, other, name)
			}
			byName[name] = f.Name
		}
	}
}

func (k *kind) field(name string) *field {
	i := slices.IndexFunc(k.spec, func(f *field) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return k.spec[i]
}

func (k *kind) annotate(annotation, value string) {
	if value != "" {
		k.annotations = append(k.annotations, annotation+"="+value)
	}
}

// options carries over the options of the message that say how the model is shown and called.
func (c *converter) options(k *kind) {
	if o, ok := k.option("verbose_name"); ok {
		k.annotate(annotationDisplayName, o.Value.Text)
	}
	var hidden []string
	if k.says("gui_hidden") {
		hidden = append(hidden, "*")
	}
	for _, f := range slices.Concat(k.spec, k.observed) {
		if f.True("gui_hidden") {
			hidden = append(hidden, f.json)
		}
	}
	k.annotate(annotationHidden, strings.Join(hidden, ","))
	for _, name := range []string{"plural", "singular"} {
		if o, ok := xproto.Find(k.Options, name); ok && !dnsLabel.MatchString(strings.ToLower(o.Value.Text)) {
			c.fail(o.Pos, "option %s: expected at most 63 letters and digits, got %q", name, o.Value.Text)
		}
	}
	if o, ok := k.option("kind"); ok {
		if labelled.MatchString(o.Value.Text) {
			k.labels = append(k.labels, labelKind+"="+o.Value.Text)
		} else {
			c.note(o.Pos, "option kind: %q is no value of a label", o.Value.Text)
		}
	}
}

// keys says what XOS found models by, and what it kept unique.
func (c *converter) keys(k *kind) {
	either := groups{}
	unique := groups{}
	var key, single, checked []string
	for _, f := range k.spec {
		switch {
		case f.True("tosca_key"):
			key = append(key, f.json)
		case c.joined(k, f, "tosca_key_one_of", either):
		}
		if f.True("unique") || f.Link != nil && f.Link.Kind == "onetoone" {
			single = append(single, f.json)
		}
		c.joined(k, f, "unique_with", unique)
	}
	for _, f := range k.observed {
		for _, name := range []string{"tosca_key", "tosca_key_one_of", "unique", "unique_with"} {
			if o, ok := f.Option(name); ok {
				c.note(o.Pos, "%s.%s: option %s: steps report the field, so that they have to see to it", k.Name, f.Name, name)
			}
		}
	}
	for _, group := range either.all() {
		key = append(key, "("+strings.Join(group, "|")+")")
	}
	for _, group := range unique.all() {
		single = append(single, strings.Join(group, ","))
	}
	k.annotate(model.AnnotationKey, strings.Join(key, ","))
	k.annotate(annotationUnique, strings.Join(single, ";"))
	one := len(key) == 1 && slices.ContainsFunc(k.spec, func(f *field) bool { return f.json == key[0] && f.Link == nil && f.Type == "string" })
	if len(key) > 0 && !one {
		c.note(k.Pos, "%s: recipes find objects by the name of their node template, and not by the key %s of XOS", k.Name, strings.Join(key, ","))
	}
	if len(key) > 0 && !slices.Equal(key, []string{"name"}) {
		checked = append(checked, strings.Join(key, ","))
	}
	for _, s := range single {
		if s != "name" && !slices.Contains(checked, s) {
			checked = append(checked, s)
		}
	}
	if len(checked) > 0 {
		c.note(k.Pos, "%s: the API does not check that no two objects have the same %s; the policy step has to", k.Name, strings.Join(checked, ", or the same "))
	}
}

// groups are fields that belong together, by their names.
type groups map[string][]string

// join brings two fields, and what belongs to either, into one group.
func (g groups) join(a, b string) {
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(g[a], g[b], []string{a, b}))))
	for _, name := range all {
		g[name] = all
	}
}

// all are the groups, sorted.
func (g groups) all() [][]string {
	all := slices.SortedFunc(maps.Values(g), slices.Compare)
	return slices.CompactFunc(all, slices.Equal)
}

// joined puts a field into one group with the fields that an option of it names.
func (c *converter) joined(k *kind, f *field, option string, g groups) bool {
	o, ok := f.Option(option)
	if !ok {
		return false
	}
	for name := range strings.SplitSeq(o.Value.Text, ",") {
		other := k.field(strings.TrimSpace(name))
		if other == nil {
			c.fail(o.Pos, "%s.%s: option %s: expected a field of the spec, got %q", k.Name, f.Name, option, name)
			continue
		}
		g.join(f.json, other.json)
	}
	return true
}

// access notes a policy that says who has access.
func (c *converter) access(pos xproto.Pos, of, policy string) {
	if policy == "" {
		return
	}
	c.called[policy] = true
	switch p := c.policies[policy]; {
	case p == nil:
		c.fail(pos, "%s: there is no policy %s", of, policy)
	case p.Expr.Op == "symbol" && p.Expr.Text == "ctx.user.is_admin":
		c.note(pos, "%s: policy %s lets only administrators in: give the right to write only to their Role", of, policy)
	default:
		c.note(pos, "%s: policy %s has no counterpart, since rights are for all objects of a kind: write Roles that say who may read and write; the policy is <%s>",
			of, policy, strings.Join(strings.Fields(p.Body), " "))
	}
}

var validator = regexp.MustCompile(`(?:^|,)\s*([A-Za-z_]\w*)\s*:`)

// validators makes rules of the policies that the option validators names, each with the text for when it does not
// hold: "policy:text, policy:text".
func (c *converter) validators(k *kind) {
	o, ok := k.option("validators")
	if !ok {
		return
	}
	found := validator.FindAllStringSubmatchIndex(o.Value.Text, -1)
	if len(found) == 0 || found[0][0] != 0 {
		c.fail(o.Pos, "option validators: expected policy:text, policy:text, got %q", o.Value.Text)
		return
	}
	rules := &xproto.Rules{Policies: c.policies, Field: func(name string) (xproto.Operand, bool) {
		f := k.field(name)
		if f == nil {
			return xproto.Operand{}, false
		}
		return f.operand(), true
	}}
	for i, at := range found {
		end := len(o.Value.Text)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		name, text := o.Value.Text[at[2]:at[3]], strings.TrimSpace(o.Value.Text[at[1]:end])
		c.called[name] = true
		p := c.policies[name]
		if p == nil {
			c.fail(o.Pos, "option validators: there is no policy %s", name)
			continue
		}
		cel, err := rules.CEL(p.Expr)
		if err != nil {
			c.note(o.Pos, "%s: check policy %s in the policy step: %v", k.Name, name, err)
			continue
		}
		expression, err := rules.Message(o.Pos, text)
		if err != nil {
			c.note(o.Pos, "%s: the text of policy %s is shown as it is written: %v", k.Name, name, err)
		}
		k.rules = append(k.rules, rule{cel, text, expression})
	}
}
