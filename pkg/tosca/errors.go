package tosca

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Names of errors. The first group are those of XOS and of its TOSCA parser, so that scripts that
// look for them still find them.
const (
	MissingRequiredField = "MissingRequiredFieldError"
	UnknownField         = "UnknownFieldError"
	InvalidType          = "InvalidTypeError"
	TypeMismatch         = "TypeMismatchError"
	ImportFailed         = "ImportError"
	InvalidVersion       = "InvalidTemplateVersion"
	InvalidPropertyValue = "InvalidPropertyValueError"

	SyntaxError     = "SyntaxError"
	TooLarge        = "TooLargeError"
	InvalidName     = "InvalidNameError"
	DuplicateNode   = "DuplicateNodeError"
	DuplicateField  = "DuplicateFieldError"
	UnknownNode     = "UnknownNodeError"
	Cycle           = "CycleError"
	NameCollision   = "NameCollisionError"
	MustExist       = "MustExistError"
	Conflict        = "ConflictError"
	InvalidArgument = "InvalidArgumentError"
)

// Error is one thing that is wrong with a recipe, in the words of the recipe.
type Error struct {
	// Name is one of the constants above.
	Name string `json:"error"`

	// Node is the name of the node template, empty if the error is outside of any.
	Node string `json:"node,omitempty"`

	// Property is the property or requirement as the recipe spells it, empty if the error is about
	// a whole node.
	Property string `json:"property,omitempty"`

	// Line and Column count from 1; 0 means that there is no such place. (A property that is
	// missing has the line of its node.)
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`

	// Message says what was found and what was expected.
	Message string `json:"message"`
}

// Error is one line: name, place, message.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Name)
	b.WriteString(": ")
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Node != "" {
		fmt.Fprintf(&b, "node %q: ", e.Node)
	}
	if e.Property != "" {
		fmt.Fprintf(&b, "property %q: ", e.Property)
	}
	b.WriteString(e.Message)
	return b.String()
}

// Errors is everything that is wrong with a recipe. An empty list means that the recipe is good.
type Errors []*Error

// Error has one line for each error.
func (e Errors) Error() string {
	lines := make([]string, 0, len(e))
	for _, err := range e {
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, "\n")
}

// OrNil returns nil for an empty list, which is not nil as an error.
func (e Errors) OrNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Sort puts the errors in the order of the recipe's lines.
func (e Errors) Sort() {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
