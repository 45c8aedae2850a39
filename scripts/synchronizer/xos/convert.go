package xos

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/xos-knative/synchronizer/scripts/synchronizer/xproto"
)

// Options of [Convert].
type Options struct {
	// Group is the API group of the models. Default: option app_label of the first file, or its option name, before
	// Domain.
	Group string
	// Domain is the end of the API groups, such as example.com. It must be there if Group is not, or if a link leads to
	// a model of another group.
	Domain string
	// Config is that of the XOS synchronizer; it may be nil.
	Config *Config
	// StepFiles are the paths of the XOS synchronizer's steps, such as steps/sync_vegetable.py.
	StepFiles []string
}

// Result is what becomes of a service.
type Result struct {
	// Group is the API group of the models.
	Group string
	// Files are Go sources, by their paths in an author's repository.
	Files map[string][]byte
	// Steps are those that the service has, in the order of their kinds.
	Steps []Step
	// Notes say what is left to do, in the order of the files.
	Notes []Note
}

// Note is something that could not be carried over, and what to do instead.
type Note struct {
	Pos  xproto.Pos
	Text string
}

func (n Note) String() string { return n.Pos.String() + ": " + n.Text }

//go:embed core.xproto
var coreSource []byte

const (
	coreBase     = "XOSBase"
	coreService  = "Service"
	coreInstance = "ServiceInstance"
)

// Convert turns files of xproto into Go types for the models in them. The first file, and those with the same option
// app_label, are the service; the others are there for what the service takes from them: their messages can be bases
// and the ends of links. The error has everything that is refused, each with its position.
func Convert(in []*xproto.File, o Options) (*Result, error) {
	core, err := xproto.Parse("core.xproto", coreSource)
	if err != nil {
		return nil, err
	}
	if len(in) == 0 {
		return nil, errors.New("expected at least one file of xproto")
	}
	c := &converter{o: o, label: labelOf(in[0]), group: o.Group, messages: map[string]*message{}, policies: map[string]*xproto.Policy{}, enums: map[string]*xproto.Enum{},
		flat: map[*message][]inherited{}, called: map[string]bool{}}
	if c.group == "" {
		if c.group, err = c.groupOf(in[0]); err != nil {
			return nil, err
		}
	}
	if problems := validation.IsDNS1123Subdomain(c.group); len(problems) > 0 || !strings.Contains(c.group, ".") {
		return nil, fmt.Errorf("expected an API group such as volt.example.com, got %q", c.group)
	}
	c.add(core, true)
	for _, f := range in {
		c.add(f, false)
	}
	for _, m := range c.order {
		if m.main && !m.abstract() {
			c.kinds = append(c.kinds, c.kind(m))
		}
	}
	c.collisions()
	if len(c.kinds) == 0 && len(c.errs) == 0 {
		return nil, fmt.Errorf("%s: expected at least one message that is a model, got none", in[0].Name)
	}
	c.links()
	c.steps()
	c.unused()
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	files, err := c.files()
	if err != nil {
		return nil, err
	}
	return &Result{Group: c.group, Files: files, Steps: c.found, Notes: c.sortedNotes(slices.Concat(in, []*xproto.File{core}))}, nil
}

type converter struct {
	o            Options
	label, group string
	messages     map[string]*message
	order        []*message
	policies     map[string]*xproto.Policy
	enums        map[string]*xproto.Enum
	// called are the policies that a message names.
	called map[string]bool
	// flat are the fields of the messages that have been flattened.
	flat map[*message][]inherited
	// service are the files that belong to the service.
	service []*xproto.File
	kinds   []*kind
	found   []Step
	notes   []Note
	errs    []error
}

// message is one with the file that it is in.
type message struct {
	*xproto.Message
	file *xproto.File
	// main says that it belongs to the service, core that it is one of core.xproto.
	main, core bool
}

// option is one of the message, or of its file.
func (m *message) option(name string) (xproto.Option, bool) {
	if o, ok := xproto.Find(m.Options, name); ok {
		return o, true
	}
	return xproto.Find(m.file.Options, name)
}

func (m *message) says(name string) bool {
	o, _ := m.option(name)
	v, _ := o.Value.Bool()
	return v
}

func (m *message) abstract() bool { return m.core || m.says("abstract") }

func (c *converter) note(pos xproto.Pos, format string, args ...any) {
	n := Note{pos, fmt.Sprintf(format, args...)}
	if !slices.Contains(c.notes, n) {
		c.notes = append(c.notes, n)
	}
}

func (c *converter) fail(pos xproto.Pos, format string, args ...any) {
	err := pos.Errorf(format, args...)
	if !slices.ContainsFunc(c.errs, func(e error) bool { return e.Error() == err.Error() }) {
		c.errs = append(c.errs, err)
	}
}

// labelOf is what says which files are of one service; empty if the file does not say.
func labelOf(f *xproto.File) string {
	for _, name := range []string{"app_label", "name"} {
		if o, ok := xproto.Find(f.Options, name); ok {
			return o.Value.Text
		}
	}
	return ""
}

var notDNS = regexp.MustCompile(`[^a-z0-9-]+`)

// groupOf is the API group of the models of a file.
func (c *converter) groupOf(f *xproto.File) (string, error) {
	label := strings.Trim(notDNS.ReplaceAllString(strings.ToLower(labelOf(f)), "-"), "-")
	switch {
	case label == "":
		return "", fmt.Errorf("%s: expected option app_label or name, or an API group", f.Name)
	case c.o.Domain == "":
		return "", fmt.Errorf("%s: expected an API group, or a domain for the group %s.<domain>", f.Name, label)
	}
	return label + "." + c.o.Domain, nil
}

// refused says what to do instead of a statement that has no counterpart.
var refused = map[string]string{
	"import":     "name the file together with this one",
	"package":    "the API group is made of option app_label",
	"extend":     "put the fields into the message itself",
	"extensions": "fields have no numbers here",
	"map":        "compute it in a policy step",
	"reduce":     "compute it in a policy step",
	"_service":   "models are read and written through the API of Kubernetes",
}

func (c *converter) add(f *xproto.File, core bool) {
	main := !core && (labelOf(f) == c.label || labelOf(f) == "")
	c.refuse(f.Others)
	if main {
		c.service = append(c.service, f)
		c.python(f.Options, f.Name)
	}
	for _, e := range f.Enums {
		c.enums[e.Name] = e
	}
	for _, p := range f.Policies {
		if _, twice := c.policies[p.Name]; twice {
			c.fail(p.Pos, "expected one policy %s, got a second one", p.Name)
		}
		c.policies[p.Name] = p
	}
	for _, m := range f.Messages {
		first := c.messages[m.Name]
		switch {
		case first != nil && first.core:
			c.note(m.Pos, "%s is the core's: what has a counterpart is taken from the built-in %s instead", m.Name, first.Pos.File)
			continue
		case first != nil:
			c.fail(m.Pos, "expected one message %s, got a second one; the first is at %s", m.Name, first.Pos)
			continue
		}
		c.refuse(m.Others)
		for _, e := range m.Enums {
			c.enums[e.Name] = e
		}
		for _, inner := range m.Messages {
			c.fail(inner.Pos, "message %s within %s has no counterpart: put it beside it, and link to it", inner.Name, m.Name)
		}
		added := &message{Message: m, file: f, main: main, core: core}
		c.messages[m.Name], c.order = added, append(c.order, added)
		if main {
			c.python(m.Options, m.Name)
		}
	}
}

func (c *converter) refuse(others []*xproto.Other) {
	for _, o := range others {
		c.fail(o.Pos, "%s %s has no counterpart: %s", o.Keyword, o.Name, refused[o.Keyword])
	}
}

var (
	pythonOptions = []string{"custom_python", "legacy", "skip_init", "skip_django", "custom_header", "app_name"}
	knownOptions  = []string{"abstract", "app_label", "description", "gui_hidden", "kind", "name", "no_policy", "no_sync", "owner_class_name",
		"plural", "policy_implemented", "singular", "sync_implemented", "validators", "verbose_name"}
)

// python notes the options of a file or a message that say that there is Python, and those that are not known.
func (c *converter) python(options []xproto.Option, of string) {
	for _, o := range options {
		switch value, isBool := o.Value.Bool(); {
		case o.Name == "bases":
			c.fail(o.Pos, "option bases is the spelling of plain protobuf: write message %s (%s)", of, o.Value.Text)
		case strings.HasPrefix(o.Value.Text, "policy:<"):
			c.fail(o.Pos, "option %s is the spelling of plain protobuf: write policy %[1]s %s", o.Name, strings.TrimPrefix(o.Value.Text, "policy:"))
		case slices.Contains(pythonOptions, o.Name) && !(isBool && !value):
			c.note(o.Pos, "option %s: XOS has Python for %s; move what its save() and delete() do to a policy step", o.Name, of)
		case !slices.Contains(pythonOptions, o.Name) && !slices.Contains(knownOptions, o.Name):
			c.note(o.Pos, "option %s of %s has no counterpart", o.Name, of)
		}
	}
}

// collisions fails if two kinds would share a name, in Go or in the API.
func (c *converter) collisions() {
	taken := map[string]string{"groupversion": "", "addtoscheme": ""}
	for _, k := range c.kinds {
		for _, suffix := range []string{"", "spec", "status", "observed", "list"} {
			name := strings.ToLower(k.Name) + suffix
			if other, twice := taken[name]; twice {
				c.fail(k.Pos, "expected another name than %s, whose Go type %s is there already %s", k.Name, name, other)
			}
			taken[name] = "for " + k.Name
		}
	}
}

// inherited is a field with the message that has it.
type inherited struct {
	*xproto.Field
	from *message
}

// flatten is all fields of a message: those of its bases first, unless the message has its own.
func (c *converter) flatten(m *message, within []string) []inherited {
	if slices.Contains(within, m.Name) {
		c.fail(m.Pos, "%s is a base of itself: %s", m.Name, strings.Join(append(within, m.Name), ", "))
		return nil
	}
	if all, done := c.flat[m]; done {
		return all
	}
	c.errs = append(c.errs, xproto.Validate(m.Message)...)
	var all []inherited
	merge := func(f inherited) {
		all = append(slices.DeleteFunc(all, func(other inherited) bool { return other.Name == f.Name }), f)
	}
	for _, name := range m.Bases {
		base := c.messages[last(name)]
		if base == nil {
			c.fail(m.Pos, "base %s of %s is in none of the files: name the one that has it, too", name, m.Name)
			continue
		}
		for _, f := range c.flatten(base, append(within, m.Name)) {
			merge(f)
		}
	}
	for _, f := range m.Fields {
		merge(inherited{f, m})
	}
	c.flat[m] = all
	return all
}

// last is the name without those of packages.
func last(dotted string) string { return dotted[strings.LastIndexByte(dotted, '.')+1:] }

// derives reports whether a message has the base, directly or not.
func (c *converter) derives(m *message, base string) bool {
	seen := map[*message]bool{}
	var visit func(m *message) bool
	visit = func(m *message) bool {
		if m == nil || seen[m] {
			return false
		}
		seen[m] = true
		return slices.ContainsFunc(m.Bases, func(b string) bool { return last(b) == base || visit(c.messages[last(b)]) })
	}
	return visit(m)
}

// unused notes the policies of the service that nothing names.
func (c *converter) unused() {
	var visit func(e *xproto.Expr)
	visit = func(e *xproto.Expr) {
		if e == nil {
			return
		}
		if e.Op == "*" {
			c.called[e.Text] = true
		}
		for _, arg := range e.Args {
			visit(arg)
		}
	}
	for _, p := range c.policies {
		visit(p.Expr)
	}
	for _, f := range c.service {
		for _, p := range f.Policies {
			if !c.called[p.Name] {
				c.note(p.Pos, "policy %s is used by no message of the service", p.Name)
			}
		}
	}
}

// sortedNotes are the notes in the order of the files.
func (c *converter) sortedNotes(files []*xproto.File) []Note {
	rank := func(n Note) int {
		return slices.IndexFunc(files, func(f *xproto.File) bool { return f.Name == n.Pos.File })
	}
	slices.SortStableFunc(c.notes, func(a, b Note) int {
		return cmp.Or(rank(a)-rank(b), strings.Compare(a.Pos.File, b.Pos.File), a.Pos.Line-b.Pos.Line, a.Pos.Column-b.Pos.Column)
	})
	return c.notes
}
