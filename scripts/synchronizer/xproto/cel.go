package xproto

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apiserver/pkg/cel"
)

// Operand is a field of a model that a policy can name.
type Operand struct {
	// Name is what the field is called in the API.
	Name  string
	Class string
	// Many says that the field is a list.
	Many bool
	// Optional says that the field can be missing.
	Optional bool
}

// path is the field in CEL, beginning at the spec.
func (o Operand) path() string {
	name, ok := cel.Escape(o.Name)
	if !ok {
		name = o.Name
	}
	return "self." + name
}

// maxRule is how long a rule can be. It bounds what policies that call each other can become.
const maxRule = 10_000

// Rules translates policies into rules of CEL about the spec of one model.
type Rules struct {
	// Field finds a field of the model by its name in xproto.
	Field func(name string) (Operand, bool)
	// Policies are those that a policy can call.
	Policies map[string]*Policy
	// within are the policies that are being translated.
	within []string
}

// CEL translates a policy. The error says what CEL cannot do in a CustomResourceDefinition, and where.
func (r *Rules) CEL(e *Expr) (string, error) {
	switch e.Op {
	case "->", "|", "&":
		a, err := r.CEL(e.Args[0])
		if err != nil {
			return "", err
		}
		b, err := r.CEL(e.Args[1])
		if err != nil {
			return "", err
		}
		if len(a)+len(b) > maxRule {
			return "", e.Pos.Errorf("the policy is too long for a rule")
		}
		form := map[string]string{"->": "!(%s) || (%s)", "|": "(%s) || (%s)", "&": "(%s) && (%s)"}[e.Op]
		return fmt.Sprintf(form, a, b), nil
	case "not":
		a, err := r.CEL(e.Args[0])
		return "!(" + a + ")", err
	case "exists", "forall":
		return "", e.Pos.Errorf("%s %s looks at other objects, which a rule of a CustomResourceDefinition cannot", e.Op, e.Text)
	case "*":
		return r.call(e)
	case "python":
		return r.python(e)
	case "=":
		return r.equal(e)
	case "in":
		return r.in(e)
	}
	return r.truth(e)
}

// call puts in the policy that is called, if it is about the same object.
func (r *Rules) call(e *Expr) (string, error) {
	called := r.Policies[e.Text]
	switch about := e.Args[0].Text; {
	case called == nil || called.Expr == nil:
		return "", e.Pos.Errorf("there is no policy %s", e.Text)
	case about != "obj" && about != "self":
		return "", e.Pos.Errorf("*%s(%s) looks at another object, which a rule of a CustomResourceDefinition cannot", e.Text, about)
	case len(r.within) >= 10:
		return "", e.Pos.Errorf("policies call each other too deep: %s", strings.Join(append(r.within, e.Text), ", "))
	}
	inner := *r
	inner.within = append(append([]string(nil), r.within...), e.Text)
	return inner.CEL(called.Expr)
}

// The Python that the validators of XOS use.
var (
	pythonIn  = regexp.MustCompile(`^(?:'([^'\\]*)'|"([^"\\]*)")\s+(not\s+)?in\s+obj\.(\w+)$`)
	pythonLen = regexp.MustCompile(`^len\(obj\.(\w+)\)\s*(<|<=|>|>=|==|!=)\s*(\d+)$`)
)

func (r *Rules) python(e *Expr) (string, error) {
	if m := pythonIn.FindStringSubmatch(e.Text); m != nil {
		o, err := r.operand(&Expr{Pos: e.Pos, Op: "symbol", Text: "obj." + m[4]})
		if err != nil || o.Class != ClassString || o.Many {
			return "", e.cannot()
		}
		s := o.optional(o.path() + ".contains(" + quote(m[1]+m[2]) + ")")
		if m[3] != "" {
			return "!(" + s + ")", nil
		}
		return s, nil
	}
	if m := pythonLen.FindStringSubmatch(e.Text); m != nil {
		o, err := r.operand(&Expr{Pos: e.Pos, Op: "symbol", Text: "obj." + m[1]})
		if err == nil && (o.Class == ClassString || o.Many) {
			return o.optional(fmt.Sprintf("%s.size() %s %s", o.path(), m[2], m[3])), nil
		}
	}
	return "", e.cannot()
}

func (e *Expr) cannot() error {
	return e.Pos.Errorf("{{ %s }} is Python without a counterpart", e.Text)
}

// optional is a condition on a field that can be missing: then it does not hold.
func (o Operand) optional(condition string) string {
	if !o.Optional {
		return condition
	}
	return "has(" + o.path() + ") && " + condition
}

// operand finds the field of the object that a symbol names.
func (r *Rules) operand(e *Expr) (Operand, error) {
	name, ok := strings.CutPrefix(e.Text, "obj.")
	if e.Op != "symbol" || !ok {
		return Operand{}, e.Pos.Errorf("%s is no field of the object, and rules of a CustomResourceDefinition know nothing else", e.Text)
	}
	o, ok := r.Field(strings.TrimSuffix(name, ".all()"))
	switch {
	case ok:
		return o, nil
	case strings.Contains(name, "."):
		return Operand{}, e.Pos.Errorf("%s is a field of another object, which a rule of a CustomResourceDefinition cannot read", e.Text)
	}
	return Operand{}, e.Pos.Errorf("the model has no field %s in its spec", name)
}

// truth is what Python takes the term for in a condition.
func (r *Rules) truth(e *Expr) (string, error) {
	switch {
	case e.Op == "symbol" && (e.Text == "True" || e.Text == "False"):
		return strings.ToLower(e.Text), nil
	case e.Op != "symbol":
		return "", e.Pos.Errorf("expected a condition, got the %s %q", e.Op, e.Text)
	}
	o, err := r.operand(e)
	if err != nil {
		return "", err
	}
	switch {
	case o.Many, o.Class == ClassBytes:
		return o.optional(o.path() + ".size() > 0"), nil
	case o.Class == ClassLink || o.Class == ClassDate:
		if o.Optional {
			return "has(" + o.path() + ")", nil
		}
		return "true", nil
	case o.Class == ClassBool:
		return o.optional(o.path()), nil
	case o.Class == ClassInt, o.Class == ClassFloat:
		return o.optional(o.path() + " != " + literalOf(o.Class, "0")), nil
	}
	return o.optional(o.path() + ` != ""`), nil
}

// value is one side of a comparison: of a link it is the name of the object.
func (r *Rules) value(e *Expr, other string) (s, class string, o Operand, err error) {
	switch {
	case e.Op == "string":
		return quote(e.Text), ClassString, o, nil
	case e.Op == "number" && other == ClassFloat:
		return literalOf(ClassFloat, e.Text), ClassFloat, o, nil
	case e.Op == "number":
		return e.Text, ClassInt, o, nil
	case e.Op == "symbol" && (e.Text == "True" || e.Text == "False"):
		return strings.ToLower(e.Text), ClassBool, o, nil
	}
	if o, err = r.operand(e); err != nil {
		return "", "", o, err
	}
	if o.Class == ClassLink && !o.Many {
		return o.path() + ".name", o.Class, o, nil
	}
	return o.path(), o.Class, o, nil
}

// class is that of a term without looking further, so that a number can be written as the other side needs it.
func (r *Rules) class(e *Expr) string {
	if o, err := r.operand(e); err == nil {
		return o.Class
	}
	return ""
}

func (r *Rules) equal(e *Expr) (string, error) {
	a, classA, left, err := r.value(e.Args[0], r.class(e.Args[1]))
	if err != nil {
		return "", err
	}
	b, classB, right, err := r.value(e.Args[1], classA)
	switch {
	case err != nil:
		return "", err
	case classA != classB || left.Many || right.Many || strings.Contains(b, ".") && classB == ClassInt && e.Args[1].Op == "number":
		return "", e.Pos.Errorf("%s and %s are not of one type", e.Args[0].Text, e.Args[1].Text)
	}
	same := a + " == " + b
	if left.Optional && right.Optional {
		return fmt.Sprintf("has(%s) == has(%s) && (!has(%[1]s) || %[3]s)", left.path(), right.path(), same), nil
	}
	return left.optional(right.optional(same)), nil
}

func (r *Rules) in(e *Expr) (string, error) {
	many, err := r.operand(e.Args[1])
	if err != nil {
		return "", err
	}
	a, class, one, err := r.value(e.Args[0], many.Class)
	switch {
	case err != nil:
		return "", err
	case class != many.Class || one.Many || !many.Many && class != ClassString:
		return "", e.Pos.Errorf("%s cannot be in %s", e.Args[0].Text, e.Args[1].Text)
	case !many.Many:
		return one.optional(many.optional(many.path() + ".contains(" + a + ")")), nil
	case class == ClassLink:
		return one.optional(many.optional(many.path() + ".exists(e, e.name == " + a + ")")), nil
	}
	return one.optional(many.optional(a + " in " + many.path())), nil
}

// literalOf is a number as CEL wants it for the class: 1 is no float.
func literalOf(class, n string) string {
	if class == ClassFloat && !strings.Contains(n, ".") {
		return n + ".0"
	}
	return n
}

// quote is a string literal of CEL. Its escapes are those of Go.
func quote(s string) string { return strconv.Quote(s) }

// inText is a field in braces in the text of a validator.
var inText = regexp.MustCompile(`\{\s*(obj\.[A-Za-z0-9_.]+)\s*\}`)

// Message translates the text of a validator, in which {obj.name} stands for a field, into an expression of CEL. It is
// empty if the text has no such field, and the error says which field cannot be shown.
func (r *Rules) Message(pos Pos, s string) (string, error) {
	var parts []string
	for at := inText.FindStringSubmatchIndex(s); at != nil; at = inText.FindStringSubmatchIndex(s) {
		symbol := s[at[2]:at[3]]
		o, err := r.operand(&Expr{Pos: pos, Op: "symbol", Text: symbol})
		// A number can be made text, too, but the API takes that for too expensive.
		shown := err == nil && !o.Many && o.Class == ClassString
		if !shown {
			// The name of a link is in the model, all else of the other object is not.
			o, err = r.operand(&Expr{Pos: pos, Op: "symbol", Text: strings.TrimSuffix(symbol, ".name")})
			shown = err == nil && !o.Many && o.Class == ClassLink
		}
		if !shown {
			return "", pos.Errorf("{%s} is no text of the spec, and no link", symbol)
		}
		if at[0] > 0 {
			parts = append(parts, quote(s[:at[0]]))
		}
		parts, s = append(parts, o.shown()), s[at[1]:]
	}
	if s != "" && len(parts) > 0 {
		parts = append(parts, quote(s))
	}
	return strings.Join(parts, " + "), nil
}

// shown is the field as text.
func (o Operand) shown() string {
	s := o.path()
	if o.Class == ClassLink {
		s += ".name"
	}
	if o.Optional {
		s = "(has(" + o.path() + ") ? " + s + ` : "")`
	}
	return s
}
