package xproto

import (
	"fmt"
	"strings"
)

// Pos is a place in a file. Lines and columns count from 1, columns in characters.
type Pos struct {
	File         string
	Line, Column int
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Errorf makes an error about this place.
func (p Pos) Errorf(format string, args ...any) *Error {
	return &Error{Pos: p, Message: fmt.Sprintf(format, args...)}
}

// Error is something that is wrong at a place.
type Error struct {
	Pos     Pos
	Message string
}

func (e *Error) Error() string { return e.Pos.String() + ": " + e.Message }

// File is one file as it was written.
type File struct {
	Name     string
	Options  []Option
	Messages []*Message
	Enums    []*Enum
	Policies []*Policy
	Others   []*Other
}

// Option is an assignment: that of an option statement, or one of a field's brackets.
type Option struct {
	Pos   Pos
	Name  string
	Value Value
}

// Value is what an option has. XOS takes True, "True" and true alike.
type Value struct {
	// Text is without the quotes.
	Text string
	// Quoted says that it was a string.
	Quoted bool
}

// Bool reads True or False.
func (v Value) Bool() (value, ok bool) {
	switch v.Text {
	case "True", "true":
		return true, true
	case "False", "false":
		return false, true
	}
	return false, false
}

// None reports whether the value is Python's None.
func (v Value) None() bool { return v.Text == "None" }

// Message is a model, or a base of models.
type Message struct {
	Pos  Pos
	Name string
	// Policy says who has access, empty if none is named.
	Policy   string
	Bases    []string
	Options  []Option
	Fields   []*Field
	Enums    []*Enum
	Messages []*Message
	Others   []*Other
}

// Field is a field of a message, or a link.
type Field struct {
	Pos Pos
	// Modifier is required, optional or repeated.
	Modifier string
	// Type is the primitive type, or the name of an enum or message; empty for a link.
	Type string
	// Link is nil for what is no link.
	Link *Link
	Name string
	// Policy says who has access, empty if none is named.
	Policy  string
	ID      string
	Options []Option
}

// Option finds an option of the field.
func (f *Field) Option(name string) (Option, bool) { return Find(f.Options, name) }

// True reports whether the option is there and True.
func (f *Field) True(name string) bool {
	o, _ := f.Option(name)
	v, _ := o.Value.Bool()
	return v
}

// Find finds an option. The last one of a name wins, as in XOS.
func Find(options []Option, name string) (found Option, ok bool) {
	for _, o := range options {
		if o.Name == name {
			found, ok = o, true
		}
	}
	return found, ok
}

// Link leads from a message to another one.
type Link struct {
	// Kind is manytoone, manytomany or onetoone.
	Kind string
	// Peer is the message that it leads to.
	Peer string
	// Through is the message between both ends of a manytomany.
	Through string
	// Reverse is what the peer calls the link: empty if that is not said, + for no name.
	Reverse   string
	ReverseID string
}

// Enum is a list of names with numbers.
type Enum struct {
	Pos     Pos
	Name    string
	Values  []EnumValue
	Options []Option
}

// EnumValue is one name of an Enum.
type EnumValue struct {
	Pos    Pos
	Name   string
	Number string
}

// Policy is a named expression over models and the user.
type Policy struct {
	Pos  Pos
	Name string
	// Body is the text between < and >.
	Body string
	Expr *Expr
}

// Expr is an expression of a policy.
type Expr struct {
	Pos Pos
	// Op is ->, |, &, not, exists, forall, =, in, * (the call of a policy), python, symbol, string or number. True and
	// False are symbols.
	Op string
	// Text is the symbol, the text of a string, the number, the Python text, the name of the policy that is called, or
	// the model of exists and forall.
	Text string
	Args []*Expr
}

// Other is a statement of the language that none of the services of XOS has: import, package, extend, extensions,
// map, reduce or _service.
type Other struct {
	Pos     Pos
	Keyword string
	// Name is what the statement is about: the path of an import, the first number of extensions.
	Name string
	// Text is the last number of extensions, and the body of map and reduce.
	Text string
	// Body is what extend adds to a message.
	Body *Message
	// Calls are those of _service.
	Calls []Call
}

// Call is an rpc of a _service.
type Call struct {
	Pos               Pos
	Name, In, Returns string
}

// words joins words for an error.
func words(list ...string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}
