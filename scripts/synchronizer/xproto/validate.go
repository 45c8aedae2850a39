package xproto

import (
	"slices"
	"strconv"
)

// Classes of fields. Fields of one class have the same options.
const (
	ClassString = "string"
	ClassDate   = "date"
	ClassBool   = "bool"
	ClassInt    = "int"
	ClassFloat  = "float"
	ClassBytes  = "bytes"
	ClassLink   = "link"
	// ClassNamed is a field whose type is an enum or a message.
	ClassNamed = "named"
)

// Class is the class of the field.
func (f *Field) Class() string {
	content, _ := f.Option("content_type")
	switch {
	case f.Link != nil:
		return ClassLink
	case f.Type == "string" && content.Value.Text == "date":
		return ClassDate
	case f.Type == "string", f.Type == "bool", f.Type == "bytes":
		return f.Type
	case f.Type == "float", f.Type == "double":
		return ClassFloat
	case slices.Contains(primitives, f.Type):
		return ClassInt
	}
	return ClassNamed
}

// The options that xosgenx takes (its validator.py), and those that it only hands over to Django.
var (
	always = []string{"help_text", "gui_hidden", "tosca_key", "tosca_key_one_of", "bookkeeping_state", "feedback_state", "unique", "unique_with",
		"verbose_name", "on_delete", "editable"}
	allowed = map[string][]string{
		ClassString: {"blank", "choices", "content_type", "db_index", "default", "max_length", "null", "text"},
		ClassDate:   {"auto_now_add", "blank", "content_type", "db_index", "default", "max_length", "null"},
		ClassBool:   {"db_index", "default", "null"},
		ClassInt:    {"blank", "db_index", "default", "max_value", "min_value", "null"},
		ClassFloat:  {"blank", "db_index", "default", "null"},
		ClassBytes:  {"blank", "default", "max_length", "null"},
		ClassLink:   {"blank", "db_index", "default", "link_type", "model", "null", "port", "type"},
		ClassNamed:  {"blank", "db_index", "default", "null"},
	}
	booleans = []string{"auto_now_add", "blank", "bookkeeping_state", "db_index", "editable", "feedback_state", "gui_hidden", "null", "text", "tosca_key", "unique"}
	numbers  = []string{"max_value", "min_value"}
	contents = []string{"stripped", "ip", "url", "date"}
)

// Validate checks the options of a message's fields, and that no two of its fields have one name.
func Validate(m *Message) []error {
	var errs []error
	names := map[string]Pos{}
	for _, f := range m.Fields {
		if first, twice := names[f.Name]; twice {
			errs = append(errs, f.Pos.Errorf("%s.%s: expected one field of this name, got a second one; the first is at %s", m.Name, f.Name, first))
		}
		names[f.Name] = f.Pos
		v := &validator{message: m, field: f, class: f.Class()}
		for _, o := range f.Options {
			v.option(o)
		}
		v.modifier()
		errs = append(errs, v.errs...)
	}
	return errs
}

type validator struct {
	message *Message
	field   *Field
	class   string
	errs    []error
}

func (v *validator) expected(o Option, what string) {
	v.errs = append(v.errs, o.Pos.Errorf("%s.%s: option %s: expected %s, got %q", v.message.Name, v.field.Name, o.Name, what, o.Value.Text))
}

func (v *validator) option(o Option) {
	switch _, isBool := o.Value.Bool(); {
	case o.Name == "varchar" && v.class == ClassString:
		v.expected(o, "text, which varchar is called since XOS 4")
	case !slices.Contains(always, o.Name) && !slices.Contains(allowed[v.class], o.Name):
		known := slices.Sorted(slices.Values(slices.Concat(always, allowed[v.class])))
		v.errs = append(v.errs, o.Pos.Errorf("%s.%s: option %s is not allowed for a field of class %s; expected one of %s",
			v.message.Name, v.field.Name, o.Name, v.class, words(known...)))
	case slices.Contains(booleans, o.Name) && !isBool:
		v.expected(o, "True or False")
	case o.Name == "null" && v.class == ClassBool && v.field.Modifier == "optional" && v.field.True("null"):
		v.expected(o, "False")
	case o.Name == "max_length" && !within(o.Value.Text, 1, 1<<31-1):
		v.expected(o, "a number from 1 on")
	case slices.Contains(numbers, o.Name) && !v.fits(o.Value):
		v.expected(o, "a whole number")
	case o.Name == "content_type" && !slices.Contains(contents, o.Value.Text):
		v.expected(o, words(contents...))
	case o.Name == "link_type" && o.Value.Text != v.field.Link.Kind:
		v.expected(o, v.field.Link.Kind)
	case o.Name == "choices":
		if _, err := Choices(o.Value.Text); err != nil {
			v.expected(o, "pairs as Python has them, such as (('a', 'A'), (None, 'None')): "+err.Error())
		}
	case o.Name == "default" && !o.Value.None() && o.Value.Text != "" && !v.fits(o.Value):
		v.expected(o, map[string]string{ClassBool: "True or False", ClassInt: "a whole number that " + v.field.Type + " can hold", ClassFloat: "a number"}[v.class])
	}
}

// fits reports whether a field of the class can have the value.
func (v *validator) fits(value Value) bool {
	switch v.class {
	case ClassBool:
		_, ok := value.Bool()
		return ok
	case ClassFloat:
		_, err := strconv.ParseFloat(value.Text, 64)
		return err == nil
	case ClassInt:
		least, most := v.field.Range()
		return within(value.Text, least, most)
	}
	return true
}

func within(s string, least, most int64) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && n >= least && n <= most
}

// Range is what a field of [ClassInt] can hold. Of unsigned integers of 64 bits that is what JSON and Kubernetes can
// hold of them.
func (f *Field) Range() (least, most int64) {
	switch f.Type {
	case "uint32", "fixed32":
		return 0, 1<<32 - 1
	case "uint64", "fixed64":
		return 0, 1<<63 - 1
	case "int64", "sint64", "sfixed64":
		return -1 << 63, 1<<63 - 1
	}
	return -1 << 31, 1<<31 - 1
}

// modifier checks what required and optional say of blank and null.
func (v *validator) modifier() {
	if v.field.Modifier == "repeated" {
		return
	}
	optional := v.field.Modifier == "optional"
	for _, name := range []string{"blank", "null"} {
		exempt := name == "null" && (v.class == ClassLink && v.field.Link.Kind == "manytomany" || v.class == ClassBool && optional)
		o, ok := v.field.Option(name)
		if value, isBool := o.Value.Bool(); ok && isBool && value != optional && !exempt {
			want := "False, because the field is required"
			if optional {
				want = "True, because the field is optional"
			}
			v.expected(o, want)
		}
	}
}
