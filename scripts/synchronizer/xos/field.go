package xos

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/xos-knative/synchronizer/pkg/tosca"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/xproto"
)

// field is a field of a model's spec, or of what its steps report.
type field struct {
	inherited
	class string
	// json and goName are what the field is called.
	json, goName string
	goType       string
	// many says that it is a list.
	many bool
	// required says that users have to give it, def is its default as JSON, empty if there is none.
	required bool
	def      string
	// observed says that steps write it.
	observed bool
	// labels are what XOS's GUI called the choices.
	labels  []string
	markers []string
	// target is the Kind or Kind.group that a link depends on; empty if it does on none.
	target string
}

// operand is the field as policies see it: an enum is text.
func (f *field) operand() xproto.Operand {
	class := f.class
	if class == xproto.ClassNamed {
		class = xproto.ClassString
	}
	return xproto.Operand{Name: f.json, Class: class, Many: f.many, Optional: !f.required && f.def == ""}
}

// path leads to what is selected and depended on: the name of a link, or the field.
func (f *field) path() string {
	if f.Link != nil {
		return "spec." + f.json + ".name"
	}
	return "spec." + f.json
}

// mark adds a validation. Of a list it is of its items.
func (f *field) mark(format string, args ...any) {
	at := "kubebuilder:validation:"
	if f.many {
		at += "items:"
	}
	f.markers = append(f.markers, at+fmt.Sprintf(format, args...))
}

// field is nil for what the metadata has already.
func (c *converter) field(k *kind, in inherited) *field {
	f := &field{inherited: in, class: in.Class(), many: in.Modifier == "repeated", required: in.Modifier == "required"}
	f.json, f.goName = c.names(k, f)
	f.observed = f.True("feedback_state")
	if f.True("bookkeeping_state") && !f.observed {
		if !f.from.main {
			c.note(f.Pos, "%s.%s is XOS's own bookkeeping, which is in the status of each model", f.from.Name, f.Name)
			return nil
		}
		f.observed = true
	}
	if f.observed && f.Link != nil {
		f.observed = false
		c.note(f.Pos, "%s.%s is written by steps, but stays in the spec, because an object depends on what it declares: give the right to write it only to the Role of the functions", k.Name, f.Name)
	}
	if c.moment(k, f) {
		return nil
	}
	c.access(f.Pos, k.Name+"."+f.Name, f.Policy)
	c.typed(k, f)
	c.defaulted(k, f)
	if o, ok := f.Option("verbose_name"); ok {
		f.markers = append(f.markers, "kubebuilder:title="+strconv.Quote(o.Value.Text))
	}
	if f.observed {
		f.required = false
	}
	if f.pointer() {
		f.goType = "*" + f.goType
	}
	return f
}

// pointer reports whether the Go type has to tell a field that is missing from one that is 0 or false.
func (f *field) pointer() bool {
	switch {
	case f.many || f.goType == "string" || f.class == xproto.ClassBytes:
		return false
	case f.class == xproto.ClassLink:
		return true
	}
	return !f.required && f.def != "0" && f.def != "false"
}

// initials are words that Go writes in capital letters.
var initials = []string{"api", "cpu", "dns", "html", "http", "id", "ip", "mac", "tcp", "udp", "uri", "url", "uuid"}

// names are those of the field in JSON and in Go: hello_from is helloFrom and HelloFrom. A name that recipes would
// have to write in another way stays as it is.
func (c *converter) names(k *kind, f *field) (json, goName string) {
	parts := strings.FieldsFunc(strings.ReplaceAll(f.Name, "$", "_"), func(r rune) bool { return r == '_' || r == '+' })
	for i, part := range parts {
		if i == 0 {
			json += strings.ToLower(part[:1]) + part[1:]
		} else {
			json += strings.ToUpper(part[:1]) + part[1:]
		}
		if slices.Contains(initials, part) {
			goName += strings.ToUpper(part)
		} else {
			goName += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	if goName == "DeepCopy" || goName == "DeepCopyInto" {
		// The type has methods of these names.
		goName += "Field"
	}
	if goName == "" || !unicode.IsLetter(rune(goName[0])) {
		c.fail(f.Pos, "%s.%s: expected a name that begins with a letter", k.Name, f.Name)
		return f.Name, "X" + goName
	}
	if tosca.PropertyName(json) != f.Name {
		if tosca.PropertyName(f.Name) == f.Name && !strings.ContainsAny(f.Name, "$+") {
			return f.Name, goName
		}
		c.note(f.Pos, "%s.%s is called %s in recipes", k.Name, f.Name, tosca.PropertyName(json))
	}
	return json, goName
}

// moment deals with the times that Django fills in. It reports whether the metadata has that one.
func (c *converter) moment(k *kind, f *field) bool {
	def, _ := f.Option("default")
	if f.class != xproto.ClassDate || !f.True("auto_now_add") && def.Value.Text != "now()" {
		return false
	}
	if f.Name == "created" || f.Name == "updated" {
		c.note(f.Pos, "%s.%s is in the metadata of each object", k.Name, f.Name)
		return true
	}
	f.required = false
	c.note(f.Pos, "%s.%s cannot have the time at which the object is made as its default: the policy step has to set it", k.Name, f.Name)
	return false
}

// maxLinks is how long a list of links can be. Without a limit the API does not take rules about lists.
const maxLinks = 1000

// typed finds the Go type, and what values it can have.
func (c *converter) typed(k *kind, f *field) {
	switch f.class {
	case xproto.ClassString:
		f.goType = "string"
		c.text(k, f)
	case xproto.ClassDate:
		f.goType = "metav1.Time"
	case xproto.ClassBool:
		f.goType = "bool"
	case xproto.ClassInt:
		c.integer(k, f)
	case xproto.ClassFloat:
		f.goType = "float64"
	case xproto.ClassBytes:
		f.goType = "[]byte"
		if o, ok := f.Option("max_length"); ok {
			// The API has bytes as text in which 4 characters stand for 3 bytes.
			n, _ := strconv.Atoi(o.Value.Text)
			f.mark("MaxLength=%d", (n+2)/3*4)
		}
	case xproto.ClassLink:
		f.goType = "model.Ref"
		switch {
		case f.many:
			c.fail(f.Pos, "%s.%s: expected required or optional before %s, got repeated", k.Name, f.Name, f.Link.Kind)
		case f.Link.Kind == "manytomany":
			f.many, f.goType = true, "[]model.Ref"
			f.markers = append(f.markers, "listType=map", "listMapKey=name", fmt.Sprintf("kubebuilder:validation:MaxItems=%d", maxLinks))
		}
		return
	default:
		f.goType = "string"
		c.enum(k, f)
	}
	if f.many {
		f.goType = "[]" + f.goType
		f.markers = append(f.markers, "listType=atomic")
	}
}

func (c *converter) text(k *kind, f *field) {
	if f.required && !f.hasDefault() && !f.observed || f.Name == "name" && !f.observed {
		f.mark("MinLength=1")
	}
	if o, ok := f.Option("max_length"); ok {
		f.mark("MaxLength=%s", o.Value.Text)
	}
	if o, ok := f.Option("choices"); ok {
		// Validate has read them already.
		choices, _ := xproto.Choices(o.Value.Text)
		var values []string
		for _, choice := range choices {
			if choice.None {
				f.required = false
				continue
			}
			values = append(values, choice.Value)
			if !strings.EqualFold(choice.Value, choice.Label) {
				f.labels = append(f.labels, choice.Value+" is "+choice.Label)
			}
		}
		c.oneOf(k, f, values)
	}
	content, _ := f.Option("content_type")
	switch content.Value.Text {
	case "stripped":
		f.mark(`XValidation:rule="self == self.trim()",message="must not begin or end with a blank"`)
	case "ip":
		f.mark(`XValidation:rule="isIP(self)",message="must be an IP address"`)
	case "url":
		f.mark("Format=uri")
	}
}

func (f *field) hasDefault() bool {
	o, ok := f.Option("default")
	return ok && !o.Value.None() && o.Value.Text != ""
}

// word is what a marker takes without quotes.
var word = regexp.MustCompile(`^[A-Za-z]\w*$`)

// oneOf allows only these values.
func (c *converter) oneOf(k *kind, f *field, values []string) {
	if len(values) == 0 {
		return
	}
	var quoted []string
	for _, v := range values {
		if !word.MatchString(v) || v == "true" || v == "false" {
			v = strconv.Quote(v)
		}
		quoted = append(quoted, v)
	}
	f.mark("Enum=%s", strings.Join(quoted, ";"))
	if o, ok := f.Option("default"); ok && f.hasDefault() && !slices.Contains(values, o.Value.Text) {
		c.fail(o.Pos, "%s.%s: default: expected one of the choices %s, got %q", k.Name, f.Name, strings.Join(values, ", "), o.Value.Text)
	}
}

func (c *converter) enum(k *kind, f *field) {
	e := c.enums[last(f.Type)]
	if e == nil {
		c.fail(f.Pos, "%s.%s: expected the type to be a primitive one or an enum, got %s; a link to a message is written manytoone %s->%[3]s", k.Name, f.Name, f.Type, f.Name)
		return
	}
	var values []string
	for _, v := range e.Values {
		values = append(values, v.Name)
	}
	c.oneOf(k, f, values)
}

func (c *converter) integer(k *kind, f *field) {
	least, most := f.Range()
	bounds := map[string]int64{"min_value": least, "max_value": most}
	_, limited := bounds["min_value"], false
	for name := range bounds {
		if o, ok := f.Option(name); ok {
			bounds[name], _ = strconv.ParseInt(o.Value.Text, 10, 64)
			limited = true
		}
	}
	switch {
	case f.Type == "uint32" || f.Type == "fixed32":
		f.goType = "uint32"
		f.mark("Format=int64")
	case most > 1<<32:
		f.goType = "int64"
	default:
		f.goType = "int32"
	}
	if f.Type == "uint64" || f.Type == "fixed64" {
		c.note(f.Pos, "%s.%s: the API holds integers of up to 2^63-1", k.Name, f.Name)
	}
	if least == 0 || bounds["min_value"] != least {
		f.mark("Minimum=%d", bounds["min_value"])
	}
	if f.goType == "uint32" || bounds["max_value"] != most {
		f.mark("Maximum=%d", bounds["max_value"])
	}
	if o, ok := f.Option("default"); ok && limited && f.hasDefault() {
		if n, err := strconv.ParseInt(o.Value.Text, 10, 64); err == nil && (n < bounds["min_value"] || n > bounds["max_value"]) {
			c.fail(o.Pos, "%s.%s: default: expected a number from %d to %d, got %d", k.Name, f.Name, bounds["min_value"], bounds["max_value"], n)
		}
	}
}

// defaulted carries over the default.
func (c *converter) defaulted(k *kind, f *field) {
	o, _ := f.Option("default")
	switch {
	case !f.hasDefault() || o.Value.Text == "now()" && f.class == xproto.ClassDate:
		return
	case f.observed:
		c.note(o.Pos, "%s.%s: what steps report has no default %q: it is missing until a step reports it", k.Name, f.Name, o.Value.Text)
		return
	case f.many, f.class == xproto.ClassLink, f.class == xproto.ClassDate, f.class == xproto.ClassBytes:
		c.note(o.Pos, "%s.%s: the default %q has no counterpart: the policy step has to set it", k.Name, f.Name, o.Value.Text)
		f.required = false
		return
	}
	f.required = false
	switch f.class {
	case xproto.ClassBool:
		v, _ := o.Value.Bool()
		f.def = strconv.FormatBool(v)
	case xproto.ClassInt:
		n, _ := strconv.ParseInt(o.Value.Text, 10, 64)
		f.def = strconv.FormatInt(n, 10)
	case xproto.ClassFloat:
		n, _ := strconv.ParseFloat(o.Value.Text, 64)
		f.def = strconv.FormatFloat(n, 'f', -1, 64)
	default:
		f.def = strconv.Quote(o.Value.Text)
		if problem := f.unfit(o.Value.Text); problem != "" {
			c.fail(o.Pos, "%s.%s: default: expected %s, got %q", k.Name, f.Name, problem, o.Value.Text)
		}
	}
	f.markers = append(f.markers, "kubebuilder:default="+f.def)
}

// unfit says what the text would have to be to fit the other options; empty if it does. The API takes no definition
// whose default does not.
func (f *field) unfit(s string) string {
	content, _ := f.Option("content_type")
	if o, ok := f.Option("max_length"); ok {
		if n, _ := strconv.Atoi(o.Value.Text); utf8.RuneCountInString(s) > n {
			return fmt.Sprintf("at most %d characters", n)
		}
	}
	switch content.Value.Text {
	case "stripped":
		if s != strings.TrimSpace(s) {
			return "no blank at the beginning or end"
		}
	case "ip":
		if _, err := netip.ParseAddr(s); err != nil {
			return "an IP address"
		}
	case "url":
		if u, err := url.Parse(s); err != nil || !u.IsAbs() {
			return "a URL"
		}
	}
	return ""
}
