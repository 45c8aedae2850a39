package xproto

import (
	"fmt"
	"strings"
)

// Choice is one of the values that a field can have.
type Choice struct {
	Value string
	// None says that the value is Python's None: the field may be left out.
	None bool
	// Label is what the GUI shows.
	Label string
}

// Choices reads the option choices, which is a Python literal: a tuple or list of pairs.
func Choices(s string) ([]Choice, error) {
	l := &literal{rest: s}
	var choices []Choice
	err := l.sequence(func() error {
		var pair []string
		none := false
		err := l.sequence(func() error {
			none = none || len(pair) == 0 && l.word("None")
			if none && len(pair) == 0 {
				pair = append(pair, "")
				return nil
			}
			s, err := l.string()
			pair = append(pair, s)
			return err
		})
		switch {
		case err != nil:
			return err
		case len(pair) != 2:
			return fmt.Errorf("a choice has a value and a label, this one has %d parts", len(pair))
		}
		choices = append(choices, Choice{Value: pair[0], None: none, Label: pair[1]})
		return nil
	})
	if l.blank(); err == nil && l.rest != "" {
		return nil, fmt.Errorf("there is more: %q", clip(l.rest))
	}
	if err == nil && len(choices) == 0 {
		err = fmt.Errorf("there are none")
	}
	return choices, err
}

// literal reads a Python literal.
type literal struct{ rest string }

func (l *literal) blank() { l.rest = strings.TrimLeft(l.rest, " \t\r\n") }

func (l *literal) word(s string) (ok bool) {
	l.blank()
	l.rest, ok = strings.CutPrefix(l.rest, s)
	return ok
}

// sequence reads a tuple or a list.
func (l *literal) sequence(item func() error) error {
	closing := ")"
	if !l.word("(") {
		if closing = "]"; !l.word("[") {
			return fmt.Errorf("( is missing before %q", clip(l.rest))
		}
	}
	for !l.word(closing) {
		if err := item(); err != nil {
			return err
		}
		if !l.word(",") && !strings.HasPrefix(l.rest, closing) {
			return fmt.Errorf("a comma or %s is missing before %q", closing, clip(l.rest))
		}
	}
	return nil
}

func (l *literal) string() (string, error) {
	l.blank()
	l.rest = strings.TrimPrefix(l.rest, "u")
	if l.rest == "" || l.rest[0] != '\'' && l.rest[0] != '"' {
		return "", fmt.Errorf("a string in quotes is missing before %q", clip(l.rest))
	}
	for i := 1; i < len(l.rest); i++ {
		switch l.rest[i] {
		case '\\':
			i++
		case l.rest[0]:
			s := strings.ReplaceAll(unescape(l.rest[1:i]), `\'`, "'")
			l.rest = l.rest[i+1:]
			return s, nil
		}
	}
	return "", fmt.Errorf("the quote is not closed: %q", clip(l.rest))
}
