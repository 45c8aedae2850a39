package xproto_test

import (
	"fmt"
	"strings"

	"github.com/xos-knative/synchronizer/scripts/synchronizer/xproto"
)

// printed is a file in the order of its AST. Parsed again it is the same file.
func printed(f *xproto.File) string {
	p := &printer{}
	p.options(f.Options)
	for _, o := range f.Others {
		p.other(o)
	}
	for _, e := range f.Enums {
		p.enum(e)
	}
	for _, pol := range f.Policies {
		p.line("policy %s <%s>", pol.Name, pol.Body)
	}
	for _, m := range f.Messages {
		p.message(m)
	}
	return p.String()
}

type printer struct{ strings.Builder }

func (p *printer) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func value(v xproto.Value) string {
	if v.Quoted {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(v.Text) + `"`
	}
	return v.Text
}

func (p *printer) options(options []xproto.Option) {
	for _, o := range options {
		p.line("option %s = %s;", o.Name, value(o.Value))
	}
}

func (p *printer) message(m *xproto.Message) {
	policy := ""
	if m.Policy != "" {
		policy = "::" + m.Policy
	}
	p.line("message %s%s (%s) {", m.Name, policy, strings.Join(m.Bases, ", "))
	p.items(m)
}

func (p *printer) items(m *xproto.Message) {
	p.options(m.Options)
	for _, o := range m.Others {
		p.other(o)
	}
	for _, e := range m.Enums {
		p.enum(e)
	}
	for _, inner := range m.Messages {
		p.message(inner)
	}
	for _, f := range m.Fields {
		p.field(f)
	}
	p.line("}")
}

func (p *printer) field(f *xproto.Field) {
	s := []string{f.Modifier, f.Type}
	if f.Link != nil {
		s[1] = f.Link.Kind
	}
	s = append(s, f.Name)
	if f.Policy != "" {
		s = append(s, "::", f.Policy)
	}
	id := f.ID
	if l := f.Link; l != nil {
		s = append(s, "->", l.Peer)
		if l.Through != "" {
			s = append(s, "/", l.Through)
		}
		if l.Reverse != "" {
			s = append(s, ":", l.Reverse)
		}
		if l.ReverseID != "" {
			id += " : " + l.ReverseID
		}
	}
	var options []string
	for _, o := range f.Options {
		options = append(options, o.Name+" = "+value(o.Value))
	}
	p.line("%s = %s [%s];", strings.Join(s, " "), id, strings.Join(options, ", "))
}

func (p *printer) enum(e *xproto.Enum) {
	p.line("enum %s {", e.Name)
	p.options(e.Options)
	for _, v := range e.Values {
		p.line("%s = %s;", v.Name, v.Number)
	}
	p.line("}")
}

func (p *printer) other(o *xproto.Other) {
	switch o.Keyword {
	case "import":
		p.line("import %s;", value(xproto.Value{Text: o.Name, Quoted: true}))
	case "extensions":
		p.line("extensions %s to %s;", o.Name, o.Text)
	case "extend":
		p.line("extend %s {", o.Name)
		p.items(o.Body)
	case "_service":
		p.line("_service %s {", o.Name)
		for _, c := range o.Calls {
			p.line("rpc %s (%s) returns (%s)", c.Name, c.In, c.Returns)
		}
		p.line("}")
	case "map", "reduce":
		p.line("%s %s %s", o.Keyword, o.Name, o.Text)
	default:
		p.line("%s %s;", o.Keyword, o.Name)
	}
}

// grouped is an expression with brackets around each of its parts.
func grouped(e *xproto.Expr) string {
	var args []string
	for _, a := range e.Args {
		args = append(args, grouped(a))
	}
	switch e.Op {
	case "symbol", "number":
		return e.Text
	case "string":
		return fmt.Sprintf("%q", e.Text)
	case "python":
		return "{{ " + e.Text + " }}"
	case "not":
		return "(not " + args[0] + ")"
	case "exists", "forall":
		return "(" + e.Op + " " + e.Text + ": " + args[0] + ")"
	case "*":
		return "*" + e.Text + "(" + args[0] + ")"
	}
	return "(" + strings.Join(args, " "+e.Op+" ") + ")"
}
