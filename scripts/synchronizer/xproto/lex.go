package xproto

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

type kind int

const (
	end kind = iota
	name
	number
	text
	// body is that of a policy, with < and >.
	body
	// python is {{ }} in a policy.
	python
	// mark is a punctuation mark.
	mark
	// bad is what the language does not have.
	bad
)

type token struct {
	kind kind
	// text is what was written; of a string what is between the quotes, without escapes; of what is bad and of the end
	// what an error calls it.
	text string
	pos  Pos
}

// String says what the token is, for errors.
func (t token) String() string {
	switch t.kind {
	case text:
		return "the string " + clip(fmt.Sprintf("%q", t.text))
	case body:
		return "a policy"
	case end, bad:
		return t.text
	}
	return clip(fmt.Sprintf("%q", t.text))
}

func clip(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "..."
	}
	return s
}

// lexer cuts a text into tokens, one after the other.
type lexer struct {
	src string
	at  int
	pos Pos
	// policy says that the text is within the body of a policy: symbols have dots, and {{ }} is Python.
	policy bool
}

// skip moves over n bytes.
func (l *lexer) skip(n int) string {
	s := l.src[l.at : l.at+n]
	l.at += n
	if lines := strings.Count(s, "\n"); lines > 0 {
		l.pos.Line += lines
		l.pos.Column = 1
		s = s[strings.LastIndexByte(s, '\n')+1:]
	}
	l.pos.Column += utf8.RuneCountInString(s)
	return l.src[l.at-n : l.at]
}

// blank moves over blanks and comments. It reports whether the last comment has an end.
func (l *lexer) blank() bool {
	for l.at < len(l.src) {
		rest := l.src[l.at:]
		switch {
		case strings.IndexByte(" \t\f\r\n", rest[0]) >= 0:
			l.skip(1)
		case strings.HasPrefix(rest, "//"):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			l.skip(n)
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				return false
			}
			l.skip(n + 4)
		default:
			return true
		}
	}
	return true
}

func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$'
}
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// next is the next token.
func (l *lexer) next() token {
	ended := l.blank()
	start := l.pos
	if !ended {
		l.skip(len(l.src) - l.at)
		return token{bad, "a comment without its end", start}
	}
	rest := l.src[l.at:]
	switch {
	case rest == "" && l.policy:
		return token{end, "the end of the policy", start}
	case rest == "":
		return token{end, "the end of the file", start}
	}
	k, n := l.measure(rest)
	if k == bad {
		what := map[byte]string{'"': "a string without its end", '<': "a policy without its end", '{': "Python without its end"}[rest[0]]
		if what == "" {
			r, size := utf8.DecodeRuneInString(rest)
			what, n = fmt.Sprintf("the character %q", r), size
		}
		l.skip(n)
		return token{bad, what, start}
	}
	s := l.skip(n)
	if k == text {
		s = unescape(s[1 : len(s)-1])
	}
	return token{k, s, start}
}

// measure says what the text begins with, and how many bytes that has.
func (l *lexer) measure(s string) (kind, int) {
	c := s[0]
	switch {
	case isLetter(c):
		return name, l.name(s)
	case isDigit(c), (c == '+' || c == '-') && len(s) > 1 && isDigit(s[1]):
		return number, digits(s)
	case c == '"':
		return quoted(s)
	case l.policy && strings.HasPrefix(s, "{{"):
		if n := strings.Index(s[2:], "}}"); n >= 0 {
			return python, n + 4
		}
		return bad, len(s)
	case strings.HasPrefix(s, "->"), !l.policy && strings.HasPrefix(s, "::"):
		return mark, 2
	case !l.policy && c == '<':
		// The shortest text up to a > that ends no arrow. It has at least one character.
		for i := 2; i < len(s); i++ {
			if s[i] == '>' && s[i-1] != '-' {
				return body, i + 1
			}
		}
		return bad, len(s)
	case l.policy && strings.IndexByte("()|&:=*", c) >= 0, !l.policy && strings.IndexByte("{}[]()=;:,./+", c) >= 0:
		return mark, 1
	}
	return bad, 1
}

// name is the length of a name; in a policy that is a symbol, with dots and maybe () at its end.
func (l *lexer) name(s string) int {
	n := 1
	for n < len(s) && (isLetter(s[n]) || isDigit(s[n]) || s[n] == '+' || l.policy && s[n] == '.') {
		n++
	}
	if l.policy && strings.HasPrefix(s[n:], "()") {
		n += 2
	}
	return n
}

func digits(s string) int {
	n := 1
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	if n+1 < len(s) && s[n] == '.' && isDigit(s[n+1]) {
		n++
		for n < len(s) && isDigit(s[n]) {
			n++
		}
	}
	return n
}

// quoted is the length of a string. It ends on its line.
func quoted(s string) (kind, int) {
	for i := 1; i < len(s) && s[i] != '\n'; i++ {
		switch {
		case s[i] == '"':
			return text, i + 1
		case s[i] == '\\' && i+1 < len(s) && s[i+1] != '\n':
			i++
		}
	}
	if n := strings.IndexByte(s, '\n'); n > 0 {
		return bad, n
	}
	return bad, len(s)
}

// unescape leaves what it does not know: choices are Python in a string, which has escapes of its own.
func unescape(s string) string {
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n", `\t`, "\t").Replace(s)
}
