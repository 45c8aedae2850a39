package xos

import (
	"fmt"
	"go/format"
	"slices"
	"strconv"
	"strings"

	"knative.dev/pkg/apis"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/xproto"
)

const (
	dir = "api/v1alpha1/"
	// width is where comments are broken.
	width = 110
	// columns is how many fields kubectl shows.
	columns = 3
)

// files writes the Go sources.
func (c *converter) files() (map[string][]byte, error) {
	sources := map[string]string{dir + "doc.go": c.doc()}
	for _, k := range c.kinds {
		file := dir + strings.ToLower(k.Name) + ".go"
		if _, taken := sources[file]; taken {
			file = dir + strings.ToLower(k.Name) + "_model.go"
		}
		sources[file] = c.source(k)
	}
	files := map[string][]byte{}
	for file, source := range sources {
		formatted, err := format.Source([]byte(source))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		files[file] = formatted
	}
	return files, nil
}

// writer writes lines.
type writer struct{ strings.Builder }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// comment writes a comment, broken into lines. No line begins with what controller-gen would take for a marker.
func (w *writer) comment(text string) {
	line := "//"
	for _, word := range strings.Fields(text) {
		if line == "//" && strings.ContainsAny(word[:1], "+-") || strings.HasPrefix(word, "TODO") {
			word = "'" + word + "'"
		}
		if len(line)+1+len(word) > width && line != "//" && !strings.ContainsAny(word[:1], "+-") {
			w.line("%s", line)
			line = "//"
		}
		line += " " + word
	}
	w.line("%s", line)
}

func (w *writer) markers(markers ...string) {
	for _, m := range markers {
		w.line("// +%s", m)
	}
}

// quote is a string in a marker. gofmt makes other characters of two quotes of a kind in a comment.
func quote(s string) string {
	for _, double := range []string{"''", "``"} {
		if strings.Contains(s, double) {
			return strings.ReplaceAll(strings.ReplaceAll(strconv.Quote(s), "'", `\x27`), "`", `\x60`)
		}
	}
	if strings.Contains(s, `"`) && strconv.CanBackquote(s) {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}

// sentence ends a text with a full stop.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || strings.ContainsAny(s[len(s)-1:], ".!?") {
		return s
	}
	return s + "."
}

func (c *converter) doc() string {
	w := &writer{}
	names := make([]string, 0, len(c.service))
	for _, f := range c.service {
		names = append(names, f.Name[strings.LastIndexAny(f.Name, `/\`)+1:])
	}
	of := c.group
	if o, ok := xproto.Find(c.service[0].Options, "name"); ok {
		of = o.Value.Text
	}
	w.comment("Package v1alpha1 holds the models of " + of + ", imported from " + strings.Join(names, ", ") + " of XOS.")
	w.line("//")
	w.markers("kubebuilder:object:generate=true", "groupName="+c.group)
	w.line("package v1alpha1")
	return w.String()
}

// source is the file of one kind.
func (c *converter) source(k *kind) string {
	w := &writer{}
	w.line("package v1alpha1\n\nimport (\n\tmetav1 \"k8s.io/apimachinery/pkg/apis/meta/v1\"\n\n\t\"github.com/xos-knative/synchronizer/pkg/model\"\n)\n")
	c.root(w, k)
	status := "model.Status"
	if len(k.observed) > 0 {
		status = k.Name + "Status"
	}
	w.line(`type %s struct {
	metav1.TypeMeta %[2]s
	// +optional
	metav1.ObjectMeta %[3]s

	// What the user declares.
	// +required
	Spec %[1]sSpec %[4]s
	// What the steps acknowledge; not written by users.
	// +optional
	// +kubebuilder:default={}
	Status %[5]s %[6]s
}
`, k.Name, tag(",inline"), tag("metadata,omitempty"), tag("spec"), status, tag("status,omitempty"))
	c.spec(w, k)
	if len(k.observed) > 0 {
		c.status(w, k)
	}
	return w.String()
}

func tag(json string) string { return "`json:\"" + json + "\"`" }

// root writes what is above the type of the kind.
func (c *converter) root(w *writer, k *kind) {
	about := k.Name + " is a model of " + c.group + "."
	if o, ok := k.option("description"); ok && o.Value.Text != "" {
		about = k.Name + ": " + sentence(o.Value.Text)
	}
	w.comment(about)
	w.line("//")
	w.markers("kubebuilder:object:root=true", "kubebuilder:subresource:status")
	for _, f := range k.selectable {
		w.markers("kubebuilder:selectablefield:JSONPath=`." + f.path() + "`")
	}
	resource := "kubebuilder:resource:categories=models"
	if o, ok := xproto.Find(k.Options, "plural"); ok {
		resource += ",path=" + strings.ToLower(o.Value.Text)
	}
	if o, ok := xproto.Find(k.Options, "singular"); ok {
		resource += ",singular=" + strings.ToLower(o.Value.Text)
	}
	w.markers(resource)
	for _, l := range append([]string{model.LabelModel + "=true"}, k.labels...) {
		w.markers("kubebuilder:metadata:labels=" + quote(l))
	}
	annotated := &kind{}
	annotated.annotate(model.AnnotationSteps, strings.Join(k.steps, ","))
	annotated.annotate(model.AnnotationDependsOn, strings.Join(k.dependencies(), ","))
	for _, a := range append(annotated.annotations, k.annotations...) {
		w.markers("kubebuilder:metadata:annotations=" + quote(a))
	}
	c.columns(w, k)
}

// columns are what kubectl shows: required fields and keys, what steps report, links on demand, and how the steps are.
func (c *converter) columns(w *writer, k *kind) {
	column := func(f *field, path string, wide bool) {
		kinds := map[string]string{xproto.ClassBool: "boolean", xproto.ClassInt: "integer", xproto.ClassFloat: "number", xproto.ClassDate: "date"}
		typ := kinds[f.class]
		if typ == "" {
			typ = "string"
		}
		s := fmt.Sprintf("kubebuilder:printcolumn:name=%q,type=%s,JSONPath=`.%s`", f.goName, typ, path)
		if wide {
			s += ",priority=1"
		}
		w.markers(s)
	}
	shown := 0
	for _, f := range k.spec {
		plain := f.Link == nil && !f.many && f.class != xproto.ClassBytes && f.Name != "name"
		if plain && (f.required || f.True("tosca_key")) && shown < columns {
			column(f, f.path(), f.True("gui_hidden"))
			shown++
		}
	}
	for i, f := range k.observed {
		if !f.many && i < columns {
			column(f, "status.observed."+f.json, f.True("gui_hidden"))
		}
	}
	for _, f := range k.dependsOn {
		column(f, f.path(), true)
	}
	condition := func(name string, condition apis.ConditionType, of string) {
		w.line("// +kubebuilder:printcolumn:name=%q,type=string,JSONPath=`.status.conditions[?(@.type==%q)].%s`", name, condition, of)
	}
	if slices.Contains(k.steps, stepSync) {
		condition("Synced", model.ConditionSynced, "status")
	}
	if slices.Contains(k.steps, stepPolicy) {
		condition("Policy", model.ConditionPolicyApplied, "status")
	}
	if len(k.steps) > 0 {
		condition("Ready", model.ConditionReady, "status")
		condition("Message", model.ConditionReady, "message")
	}
	w.markers("kubebuilder:printcolumn:name=\"Age\",type=date,JSONPath=`.metadata.creationTimestamp`")
}

func (c *converter) spec(w *writer, k *kind) {
	w.comment(k.Name + "Spec is what a user declares of an object of kind " + k.Name + ".")
	if len(k.rules) > 0 {
		w.line("//")
	}
	for _, r := range k.rules {
		s := "kubebuilder:validation:XValidation:rule=" + quote(r.rule)
		switch {
		case r.expression != "":
			s += ",messageExpression=" + quote(r.expression)
		case r.message != "":
			s += ",message=" + quote(r.message)
		}
		w.markers(s)
	}
	w.line("type %sSpec struct {", k.Name)
	for _, f := range k.spec {
		f.write(w, k)
	}
	w.line("}\n")
}

func (c *converter) status(w *writer, k *kind) {
	w.comment(k.Name + "Status has what the steps report of an object of kind " + k.Name + ".")
	w.line("type %sStatus struct {\n\tmodel.Status %s\n\t// What the steps have found.\n\t// +optional\n\tObserved %[1]sObserved %[3]s\n}\n", k.Name, tag(",inline"), tag("observed,omitempty"))
	w.comment(k.Name + "Observed is what the steps have found.")
	w.line("type %sObserved struct {", k.Name)
	for _, f := range k.observed {
		f.write(w, k)
	}
	w.line("}\n")
}

// write writes the field. Its number, which the API does not have, is in a comment for who compares it with the xproto.
func (f *field) write(w *writer, k *kind) {
	help, _ := f.Option("help_text")
	about := help.Value.Text
	switch {
	case about != "":
	case f.Link != nil:
		about = "The " + last(f.Link.Peer) + " that it links to"
	default:
		about = strings.ToUpper(f.Name[:1]) + strings.ReplaceAll(f.Name[1:], "_", " ")
	}
	w.comment(sentence(about) + " " + sentence(strings.Join(f.labels, ", ")))
	json := f.json + ",omitempty"
	if f.required {
		w.markers("required")
		if f.Link == nil && !f.many {
			json = f.json
		}
	} else {
		w.markers("optional")
	}
	w.markers(f.markers...)
	from := ""
	if !f.from.core {
		from = " // xproto " + f.ID
		if f.Link != nil && f.Link.ReverseID != "" {
			from += ":" + f.Link.ReverseID
		}
		if f.Link != nil && f.Link.Reverse != "" && f.Link.Reverse != "+" {
			from += ", the other way round " + f.Link.Reverse
		}
		if f.from.Message != k.Message {
			from += ", of " + f.from.Name
		}
	}
	w.line("%s %s %s%s", f.goName, f.goType, tag(json), from)
}
