package xproto

import "strings"

func (p *parser) policyStatement() *Policy {
	pol := &Policy{Pos: p.tok.pos}
	p.expect("policy")
	pol.Name = p.take(name, "the name of a policy")
	start := p.tok.pos
	s := p.take(body, "an expression between < and >")
	if p.broken {
		return pol
	}
	pol.Body = s[1 : len(s)-1]
	start.Column++
	inner := &parser{lexer: lexer{src: pol.Body, pos: start, policy: true}}
	inner.next()
	pol.Expr = inner.implies()
	if inner.tok.kind != end {
		inner.expected(words(`"->"`, `"|"`, `"&"`, `"="`, `"in"`, `">"`))
	}
	p.errs = append(p.errs, inner.errs[:min(len(inner.errs), maxErrors-min(len(p.errs), maxErrors))]...)
	return pol
}

// What follows is one method for each level of precedence, from the loosest on:
//
//	->  to the right
//	|   to the left
//	&   to the left
//	exists X:, forall X: and not
//	= and in, once
//
// So "exists X: a & b" is "(exists X: a) & b", as in XOS.

func (p *parser) implies() (e *Expr) {
	p.nested(func() {
		e = p.chain("|", func() *Expr { return p.chain("&", p.unary) })
		if pos := p.tok.pos; p.accept("->") {
			e = &Expr{Pos: pos, Op: "->", Args: []*Expr{e, p.implies()}}
		}
	})
	return e
}

func (p *parser) chain(op string, operand func() *Expr) *Expr {
	e := operand()
	for pos := p.tok.pos; p.accept(op); pos = p.tok.pos {
		e = &Expr{Pos: pos, Op: op, Args: []*Expr{e, operand()}}
	}
	return e
}

func (p *parser) unary() (e *Expr) {
	p.nested(func() {
		pos, word := p.tok.pos, p.tok.text
		switch {
		case p.accept("not"):
			e = &Expr{Pos: pos, Op: "not", Args: []*Expr{p.unary()}}
		case p.accept("exists"), p.accept("forall"):
			e = &Expr{Pos: pos, Op: word, Text: p.take(name, "the name of a model")}
			p.expect(":")
			e.Args = []*Expr{p.unary()}
		case p.accept("("):
			e = p.implies()
			p.expect(")")
		default:
			e = p.comparison()
		}
	})
	return e
}

func (p *parser) comparison() *Expr {
	e := p.term()
	for _, op := range []string{"=", "in"} {
		if pos := p.tok.pos; p.accept(op) {
			return &Expr{Pos: pos, Op: op, Args: []*Expr{e, p.term()}}
		}
	}
	return e
}

func (p *parser) term() *Expr {
	e := &Expr{Pos: p.tok.pos, Text: p.tok.text}
	switch {
	case p.accept("*"):
		e.Op, e.Text = "*", p.take(name, "the name of a policy")
		p.expect("(")
		about := &Expr{Pos: p.tok.pos, Op: "symbol"}
		about.Text = p.take(name, "a field")
		e.Args = []*Expr{about}
		p.expect(")")
	case p.is("not"), p.is("exists"), p.is("forall"), p.is("in"):
		p.expected("a term")
	case p.tok.kind == text:
		e.Op, e.Text = "string", p.take(text, "")
	case p.tok.kind == number:
		e.Op, e.Text = "number", p.take(number, "")
	case p.tok.kind == python:
		e.Op, e.Text = "python", strings.TrimSpace(strings.Trim(p.take(python, ""), "{}"))
	default:
		e.Op, e.Text = "symbol", p.take(name, "a term")
	}
	return e
}
