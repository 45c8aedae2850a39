package xproto

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

const (
	// maxNesting is how deep messages and policies may be nested.
	maxNesting = 50
	// maxErrors is how many errors of one file are told.
	maxErrors = 20
)

var (
	primitives = []string{"double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes"}
	modifiers  = []string{"required", "optional", "repeated"}
	links      = []string{"manytoone", "manytomany", "onetoone"}
	reserved   = slices.Concat(primitives, modifiers, links, []string{"message", "enum", "extensions", "max", "extend", "to", "package",
		"_service", "rpc", "returns", "true", "false", "option", "import", "policy", "map", "reduce"})
)

// Parse reads a file; its name is only for errors, which are all joined in one. The result has what could be read.
func Parse(file string, src []byte) (*File, error) {
	p := &parser{lexer: lexer{src: string(src), pos: Pos{file, 1, 1}}}
	p.next()
	f := &File{Name: file}
	for p.tok.kind != end {
		p.statement(f)
		p.resume(true)
	}
	return f, errors.Join(p.errs...)
}

// parser reads tokens one by one. After an error nothing is read until resume: all of its methods do nothing then.
type parser struct {
	lexer
	tok    token
	errs   []error
	broken bool
	depth  int
}

func (p *parser) next() { p.tok = p.lexer.next() }

// expected says what should be there instead of the current token.
func (p *parser) expected(what string) {
	if p.broken {
		return
	}
	p.broken = true
	if len(p.errs) < maxErrors {
		p.errs = append(p.errs, p.tok.pos.Errorf("expected %s, got %s", what, p.tok))
	}
}

// resume goes to the end of the statement that has an error: its semicolon, or the brace that closes it. The one that
// closes what is around it is left, unless there is nothing around it.
func (p *parser) resume(outermost bool) {
	if !p.broken {
		return
	}
	p.broken = false
	for depth := 0; p.tok.kind != end; p.next() {
		switch {
		case p.is("{"):
			depth++
		case p.is("}") && depth == 0 && !outermost:
			return
		case p.is("}"):
			depth--
		}
		if depth <= 0 && (p.is(";") || p.is("}")) {
			p.next()
			return
		}
	}
}

// is reports whether the current token is this mark or word.
func (p *parser) is(s string) bool {
	return !p.broken && (p.tok.kind == mark || p.tok.kind == name) && p.tok.text == s
}

// accept takes the mark or word if it is there.
func (p *parser) accept(s string) bool {
	if !p.is(s) {
		return false
	}
	p.next()
	return true
}

func (p *parser) expect(s string) {
	if !p.accept(s) {
		p.expected(strconv.Quote(s))
	}
}

// take takes a token of the kind. What says what it is, for errors.
func (p *parser) take(k kind, what string) string {
	if p.broken || p.tok.kind != k || k == name && !p.policy && slices.Contains(reserved, p.tok.text) {
		p.expected(what)
		return ""
	}
	s := p.tok.text
	p.next()
	return s
}

// oneOf takes one of the words.
func (p *parser) oneOf(list []string) string {
	for _, s := range list {
		if p.accept(s) {
			return s
		}
	}
	p.expected(words(list...))
	return ""
}

func (p *parser) dotted(what string) string {
	s := p.take(name, what)
	for p.accept(".") {
		s += "." + p.take(name, what)
	}
	return s
}

// fieldName takes also words that are reserved elsewhere.
func (p *parser) fieldName(what string) string {
	for _, s := range []string{"message", "max", "+"} {
		if p.accept(s) {
			return s
		}
	}
	return p.take(name, what)
}

// nested calls f, unless that would be too deep.
func (p *parser) nested(f func()) {
	if p.depth >= maxNesting {
		p.expected(fmt.Sprintf("at most %d levels of nesting", maxNesting))
		return
	}
	p.depth++
	f()
	p.depth--
}

func (p *parser) statement(f *File) {
	switch {
	case p.is("option"):
		f.Options = append(f.Options, p.option())
	case p.is("message"):
		f.Messages = append(f.Messages, p.message())
	case p.is("enum"):
		f.Enums = append(f.Enums, p.enum())
	case p.is("policy"):
		f.Policies = append(f.Policies, p.policyStatement())
	case p.is("extend"), p.is("import"), p.is("package"), p.is("map"), p.is("reduce"), p.is("_service"):
		f.Others = append(f.Others, p.other())
	default:
		p.expected(words("option", "message", "policy", "enum", "extend", "import", "package", "map", "reduce", "_service"))
	}
}

func (p *parser) option() Option {
	p.expect("option")
	o := p.assignment("the name of an option")
	p.expect(";")
	return o
}

func (p *parser) assignment(what string) Option {
	o := Option{Pos: p.tok.pos}
	o.Name = p.take(name, what)
	p.expect("=")
	switch {
	case p.is("true"), p.is("false"), p.tok.kind == number, p.tok.kind == text:
		o.Value = Value{Text: p.tok.text, Quoted: p.tok.kind == text}
		if !p.broken {
			p.next()
		}
	default:
		o.Value.Text = p.take(name, "a number, a string or a word")
	}
	return o
}

func (p *parser) message() *Message {
	m := &Message{Pos: p.tok.pos}
	p.expect("message")
	m.Name = p.take(name, "the name of a message")
	m.Policy = p.access()
	if p.accept("(") {
		for !p.broken && (len(m.Bases) > 0 || !p.is(")")) {
			m.Bases = append(m.Bases, p.dotted("the name of a base"))
			if !p.accept(",") {
				break
			}
		}
		p.expect(")")
	}
	p.items(m)
	return m
}

// access is the policy after ::, empty if there is none.
func (p *parser) access() string {
	if p.accept("::") {
		return p.take(name, "the name of a policy")
	}
	return ""
}

// items reads what is between the braces of a message.
func (p *parser) items(m *Message) {
	p.expect("{")
	p.nested(func() {
		for !p.broken && !p.is("}") && p.tok.kind != end {
			p.item(m)
			p.resume(false)
		}
	})
	p.expect("}")
}

func (p *parser) item(m *Message) {
	switch {
	case p.is("option"):
		m.Options = append(m.Options, p.option())
	case p.is("enum"):
		m.Enums = append(m.Enums, p.enum())
	case p.is("message"):
		m.Messages = append(m.Messages, p.message())
	case p.is("extensions"), p.is("extend"):
		m.Others = append(m.Others, p.other())
	case p.is("required"), p.is("optional"), p.is("repeated"):
		if f := p.field(); !p.broken {
			m.Fields = append(m.Fields, f)
		}
	default:
		p.expected(words("required", "optional", "repeated", "option", "enum", "message", "extensions", "extend", `"}"`))
	}
}

func (p *parser) field() *Field {
	f := &Field{Pos: p.tok.pos}
	f.Modifier = p.oneOf(modifiers)
	switch {
	case slices.Contains(links, p.tok.text) && p.tok.kind == name:
		f.Link = &Link{Kind: p.oneOf(links)}
	case slices.Contains(primitives, p.tok.text) && p.tok.kind == name:
		f.Type = p.oneOf(primitives)
	default:
		f.Type = p.dotted("a type")
	}
	f.Name = p.fieldName("the name of a field")
	f.Policy = p.access()
	if f.Link != nil {
		p.link(f.Link)
	}
	p.expect("=")
	f.ID = p.take(number, "a number")
	if f.Link != nil && p.accept(":") {
		f.Link.ReverseID = p.take(number, "a number")
	}
	if p.accept("[") {
		for !p.broken && (len(f.Options) > 0 || !p.is("]")) {
			f.Options = append(f.Options, p.assignment("the name of an option"))
			if !p.accept(",") {
				break
			}
		}
		p.expect("]")
	}
	p.expect(";")
	return f
}

func (p *parser) link(l *Link) {
	p.expect("->")
	l.Peer = p.dotted("the name of a message")
	if p.accept("/") {
		l.Through = p.dotted("the name of a message")
	}
	if p.accept(":") {
		l.Reverse = p.fieldName("the name of the other direction")
	}
}

func (p *parser) enum() *Enum {
	e := &Enum{Pos: p.tok.pos}
	p.expect("enum")
	e.Name = p.take(name, "the name of an enum")
	p.expect("{")
	for !p.broken && !p.is("}") {
		if p.is("option") {
			e.Options = append(e.Options, p.option())
			continue
		}
		v := EnumValue{Pos: p.tok.pos}
		v.Name = p.fieldName("a name")
		p.expect("=")
		v.Number = p.take(number, "a number")
		p.expect(";")
		e.Values = append(e.Values, v)
	}
	p.expect("}")
	return e
}

// other reads the statements that no service has.
func (p *parser) other() *Other {
	o := &Other{Pos: p.tok.pos, Keyword: p.tok.text}
	p.next()
	switch o.Keyword {
	case "import":
		o.Name = p.take(text, "a path in quotes")
		p.expect(";")
	case "package":
		o.Name = p.dotted("the name of a package")
		p.expect(";")
	case "extensions":
		o.Name = p.take(number, "a number")
		p.expect("to")
		if o.Text = "max"; !p.accept("max") {
			o.Text = p.take(number, "a number or max")
		}
		p.expect(";")
	case "extend":
		o.Name = p.take(name, "the name of a message")
		o.Body = &Message{Pos: o.Pos}
		p.items(o.Body)
	case "map", "reduce":
		o.Name = p.take(name, "a name")
		o.Text = p.take(body, "a lambda between < and >")
	case "_service":
		o.Name = p.take(name, "the name of a service")
		p.expect("{")
		for p.is("rpc") {
			o.Calls = append(o.Calls, p.call())
		}
		p.expect("}")
	}
	return o
}

func (p *parser) call() Call {
	c := Call{Pos: p.tok.pos}
	p.expect("rpc")
	c.Name = p.take(name, "the name of a call")
	p.expect("(")
	c.In = p.take(name, "the name of a message")
	p.expect(")")
	p.expect("returns")
	p.expect("(")
	c.Returns = p.take(name, "the name of a message")
	p.expect(")")
	return c
}
