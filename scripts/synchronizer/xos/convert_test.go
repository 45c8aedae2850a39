package xos_test

import (
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/scripts/synchronizer/xos"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/xproto"
)

// convert makes files of an xproto text; the name of its file is a.xproto.
func convert(t *testing.T, src string, o xos.Options) (*xos.Result, error) {
	t.Helper()
	f, err := xproto.Parse("a.xproto", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	if o.Domain == "" {
		o.Domain = "example.com"
	}
	return xos.Convert([]*xproto.File{f}, o)
}

// notes are what a conversion notes, without the name of the file, and without that no model has a step.
func notes(r *xos.Result) []string {
	var all []string
	for _, n := range r.Notes {
		if !strings.HasPrefix(n.Text, "no model has a step") {
			all = append(all, strings.TrimPrefix(n.String(), "a.xproto:"))
		}
	}
	return all
}

// plain is a Go source with one blank between words, so that gofmt's columns do not matter.
func plain(src []byte) string { return strings.Join(strings.Fields(string(src)), " ") }

// mappings has items of a message, and what has to be in its Go source.
var mappings = map[string]struct{ reason, message, want string }{
	"Required":        {"required without a default: users have to give it", `required string a_b = 1 [max_length = 3];`, "// A b. // +required // +kubebuilder:validation:MinLength=1 // +kubebuilder:validation:MaxLength=3 AB string `json:\"aB\"` // xproto 1"},
	"RequiredDefault": {"required with a default: TOSCA does not require it", `required string a = 1 [default = "x"];`, "// +optional // +kubebuilder:default=\"x\" A string `json:\"a,omitempty\"`"},
	"Optional":        {"optional text", `optional string a = 1 [text = True, help_text = "What a is"];`, "// What a is. // +optional A string `json:\"a,omitempty\"`"},
	"Title":           {"the name for humans", `optional string a = 1 [verbose_name = "An A"];`, `+kubebuilder:title="An A"`},
	"Stripped":        {"blanks were trimmed by XOS, and are refused here", `optional string a = 1 [content_type = "stripped"];`, "XValidation:rule=\"self == self.trim()\""},
	"IP":              {"an address", `optional string a = 1 [content_type = "ip"];`, "XValidation:rule=\"isIP(self)\""},
	"URL":             {"a URL", `optional string a_url = 1 [content_type = "url"];`, "validation:Format=uri AURL string `json:\"aUrl,omitempty\"`"},
	"Date":            {"a date is a time", `optional string a = 1 [content_type = "date", null = True, default = None];`, "// +optional A *metav1.Time `json:\"a,omitempty\"`"},
	"DateRequired":    {"which can be required", `required string a = 1 [content_type = "date"];`, "// +required A metav1.Time `json:\"a\"`"},
	"Choices":         {"choices are an enum", `required string a = 1 [default = "it's", choices = "(('x', 'X'), ('it\'s', 'Y'))"];`, `+kubebuilder:validation:Enum=x;"it's" // +kubebuilder:default="it's"`},
	"ChoiceLabels":    {"and what the GUI called them is in the description", `required string a = 1 [help_text = "How", choices = "(('x', 'An X'), ('ON', 'on'))"];`, "// How. x is An X. // +required"},
	"ChoicesNone":     {"one of which can be nothing", `required string a = 1 [choices = "((None, 'N'), ('x', 'X'))"];`, "// +optional // +kubebuilder:validation:MinLength=1 // +kubebuilder:validation:Enum=x A string `json:\"a,omitempty\"`"},
	"Bool":            {"a bool that is false by default", `required bool a = 1 [default = False];`, "// +optional // +kubebuilder:default=false A bool `json:\"a,omitempty\"`"},
	"BoolTrue":        {"one that is true needs to tell false from missing", `required bool a = 1 [default = "True"];`, "// +kubebuilder:default=true A *bool `json:\"a,omitempty\"`"},
	"BoolOptional":    {"so does an optional one", `optional bool a = 1;`, "// +optional A *bool"},
	"Int32":           {"an integer with bounds", `required int32 a = 1 [min_value = 1, max_value = 5];`, "// +kubebuilder:validation:Minimum=1 // +kubebuilder:validation:Maximum=5 A int32 `json:\"a\"`"},
	"IntDefault":      {"a default that is not 0 is not taken for 0", `required int32 a = 1 [default = "7"];`, "// +kubebuilder:default=7 A *int32 `json:\"a,omitempty\"`"},
	"Uint32":          {"an unsigned integer of 32 bits", `optional uint32 a = 1;`, "// +kubebuilder:validation:Format=int64 // +kubebuilder:validation:Minimum=0 // +kubebuilder:validation:Maximum=4294967295 A *uint32"},
	"Int64":           {"an integer of 64 bits", `optional sint64 a = 1;`, "A *int64"},
	"Float":           {"a number", `optional float a = 1 [default = 3.30];`, "// +kubebuilder:default=3.3 A *float64"},
	"Bytes":           {"bytes are text in which 4 characters are 3 bytes", `optional bytes a = 1 [max_length = 4];`, "// +kubebuilder:validation:MaxLength=8 A []byte"},
	"EnumType":        {"an enum is text", `enum E { ONE = 0; two = 1; } optional E a = 1;`, "// +kubebuilder:validation:Enum=ONE;two A string"},
	"Repeated":        {"a list", `repeated string a = 1 [max_length = 3];`, "// +kubebuilder:validation:items:MaxLength=3 // +listType=atomic A []string"},
	"Feedback":        {"what steps report is in status.observed", `required string a = 1 [feedback_state = True, max_length = 9];`, "type MObserved struct { // A. // +optional // +kubebuilder:validation:MaxLength=9 A string `json:\"a,omitempty\"`"},
	"Bookkeeping":     {"so is bookkeeping that is the service's own", `optional int32 a = 1 [bookkeeping_state = True];`, "type MObserved struct { // A. // +optional A *int32"},
	"ObservedColumn":  {"which kubectl shows", `optional bool a = 1 [feedback_state = True, gui_hidden = True];`, "name=\"A\",type=boolean,JSONPath=`.status.observed.a`,priority=1"},
	"Link":            {"a link names an object", `optional manytoone p->P:ms = 1:1001;`, "// The P that it links to. // +optional P *model.Ref `json:\"p,omitempty\"` // xproto 1:1001, the other way round ms"},
	"LinkDepends":     {"and depends on it", `required manytoone p->P = 1;`, "depends-on=P=spec.p.name"},
	"LinkSelectable":  {"so that lists can be filtered by it", `required manytoone p->P = 1;`, "+kubebuilder:selectablefield:JSONPath=`.spec.p.name`"},
	"OneToOne":        {"a link that no two objects share", `required onetoone p->P:+ = 1;`, "annotations=\"synchronizer.xos-knative.dev/unique=p\""},
	"ManyToMany":      {"a list of links", `optional manytomany ps->P/T:ms = 1;`, "// +listType=map // +listMapKey=name // +kubebuilder:validation:MaxItems=1000 Ps []model.Ref `json:\"ps,omitempty\"`"},
	"Key":             {"what XOS found models by", `required string a = 1 [tosca_key = True]; optional string b = 2 [tosca_key_one_of = c_d]; optional string c_d = 3 [];`, "annotations=\"synchronizer.xos-knative.dev/key=a,(b|cD)\""},
	"Unique":          {"unique_with is symmetric, and joins", `required string a = 1 [unique = True]; required string b = 2 [unique_with = "d"]; required string c = 3 [unique_with = "b"]; required string d = 4;`, "annotations=\"synchronizer.xos-knative.dev/unique=a;b,c,d\""},
	"Description":     {"the description", `option description = "does this"; optional string a = 1;`, "// M: does this. //"},
	"VerboseName":     {"the name for humans", `option verbose_name = "The M"; optional string a = 1;`, "annotations=\"synchronizer.xos-knative.dev/display-name=The M\""},
	"Hidden":          {"what consoles do not show", `option gui_hidden = "True"; optional string a = 1 [gui_hidden = True];`, "annotations=\"synchronizer.xos-knative.dev/console-hidden=*,a\""},
	"Plural":          {"the plural", `option plural = "Emmas"; option singular = "Emma"; optional string a = 1;`, "+kubebuilder:resource:categories=models,path=emmas,singular=emma"},
	"Kind":            {"the kind of a service", `option kind = "control"; optional string a = 1;`, "labels=\"synchronizer.xos-knative.dev/xos-kind=control\""},
	"Steps":           {"options say which steps there are", `option sync_implemented = True; option policy_implemented = "True"; optional string a = 1;`, "annotations=\"synchronizer.xos-knative.dev/steps=sync,policy\""},
	"NoSync":          {"and which not", `option sync_implemented = True; option policy_implemented = "True"; option no_sync = True; optional string a = 1;`, "annotations=\"synchronizer.xos-knative.dev/steps=policy\""},
	"Validator":       {"a validator is a rule", `option validators = "v:{obj.a} is bad, and more"; required string a = 1;`, "+kubebuilder:validation:XValidation:rule=`self.a == \"x\"`,messageExpression=`self.a + \" is bad, and more\"` type MSpec struct"},
	"MarkerInText":    {"no text becomes a marker", `option description = "+kubebuilder:x"; optional string a = 1 [help_text = "+optional"];`, "// '+optional.' // +optional A"},
	"Quotes":          {"gofmt leaves the quotes of a marker", `option verbose_name = "It''s"; optional string a = 1;`, `display-name=It\x27\x27s`},
	"Digit":           {"recipes call it as they did", `optional string ip_4 = 1;`, "IP4 string `json:\"ip_4,omitempty\"`"},
	"GoName":          {"no field is called as a method", `optional string deep_copy = 1;`, "DeepCopyField string `json:\"deepCopy,omitempty\"`"},
}

// Each thing that a model of XOS can have becomes what the API has for it.
func TestMapping(t *testing.T) {
	for name, tc := range mappings {
		t.Run(name, func(t *testing.T) {
			src := `option name = "it"; policy v <obj.a = "x"> message P () { optional string x = 1; } message M () { ` + tc.message + ` }`
			r, err := convert(t, src, xos.Options{})
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if got := plain(r.Files["api/v1alpha1/m.go"]); !strings.Contains(got, tc.want) {
				t.Errorf("%s: want %s\nin %s", tc.reason, tc.want, r.Files["api/v1alpha1/m.go"])
			}
		})
	}
}

// noted has files, and all that is noted about them.
var noted = map[string]struct{ src, want string }{
	"Python":        {`message M () { option custom_python = True; option legacy = False; optional string a = 1; }`, "1:23: option custom_python: XOS has Python for M; move what its save() and delete() do to a policy step"},
	"Option":        {`message M () { option tosca_description = "x"; optional string a = 1; }`, "1:23: option tosca_description of M has no counterpart"},
	"Access":        {`policy p <ctx.user.is_admin> message M::p () { optional string a = 1; }`, "1:30: M: policy p lets only administrators in: give the right to write only to their Role"},
	"AccessOther":   {"policy p <a |\n  b> message M () { optional string a::p = 1; }", "2:21: M.a: policy p has no counterpart, since rights are for all objects of a kind: write Roles that say who may read and write; the policy is <a | b>"},
	"Unused":        {`policy q <a> policy p <*q(obj)> message M () { optional string a = 1; }`, "1:14: policy p is used by no message of the service"},
	"Validator":     {`policy p <exists A: a> message M () { option validators = "p: no"; optional string a = 1; }`, "1:46: M: check policy p in the policy step: a.xproto:1:11: exists A looks at other objects, which a rule of a CustomResourceDefinition cannot"},
	"Text":          {`policy p <obj.a> message M () { option validators = "p:{obj.b}"; optional string a = 1; }`, "1:40: M: the text of policy p is shown as it is written: a.xproto:1:40: {obj.b} is no text of the spec, and no link"},
	"Created":       {`message M () { required string created = 1 [content_type = "date", auto_now_add = True]; }`, "1:16: M.created is in the metadata of each object"},
	"Now":           {`message M () { required string a = 1 [content_type = "date", default = "now()"]; }`, "1:16: M.a cannot have the time at which the object is made as its default: the policy step has to set it"},
	"Observed":      {`message M () { required int32 a = 1 [feedback_state = True, default = 3]; }`, `1:61: M.a: what steps report has no default "3": it is missing until a step reports it`},
	"ObservedLink":  {`message N () { optional string a = 1; } message M () { required manytoone n->N = 1 [feedback_state = True]; }`, "1:56: M.n is written by steps, but stays in the spec, because an object depends on what it declares: give the right to write it only to the Role of the functions"},
	"ObservedKey":   {`message M () { optional string b = 1; optional string a = 2 [feedback_state = True, unique_with = "b", tosca_key = True]; }`, "1:85: M.a: option unique_with: steps report the field, so that they have to see to it\n1:104: M.a: option tosca_key: steps report the field, so that they have to see to it"},
	"ListDefault":   {`message M () { repeated int32 a = 1 [default = 3]; }`, `1:38: M.a: the default "3" has no counterpart: the policy step has to set it`},
	"Uint64":        {`message M () { optional uint64 a = 1; }`, "1:16: M.a: the API holds integers of up to 2^63-1"},
	"PropertyName":  {`message M () { optional string numberCores = 1; }`, "1:16: M.numberCores is called number_cores in recipes"},
	"Self":          {`message M () { optional manytoone a->M:+ = 1; }`, "1:16: M.a leads to its own kind, so that it is no dependency: recipes set it as a property"},
	"Nowhere":       {`message M () { optional manytoone a->N = 1; }`, "1:16: M.a leads to N, which is in none of the files, so that it is no dependency: name the file that has it, too"},
	"Abstract":      {`message N () { option abstract = True; } message M () { optional manytoone a->N = 1; }`, "1:57: M.a leads to N, which is no kind, so that it is no dependency: recipes set it as a property"},
	"Circle":        {`message N () { required manytoone m->M = 1; } message M () { optional manytoone n->N = 1; required manytoone o->N = 2; }`, "1:16: N.m is part of a circle of required links, so that it is no dependency: make one of them optional\n1:91: M.o is part of a circle of required links, so that it is no dependency: make one of them optional"},
	"Many":          {`message N () { optional string a = 1; } message M () { optional manytomany a->N/T = 1; }`, "1:56: M.a: a list of links is no dependency, and recipes set it as a property: the step has to look at the objects of kind N that it names, at most 1000; what XOS has of each pair in T needs a model with two links"},
	"Owner":         {`message M () { option owner_class_name = "S"; optional string a = 1; }`, "1:23: option owner_class_name: M has no link owner"},
	"OwnerNowhere":  {`message M (ServiceInstance) { option owner_class_name = "S"; }`, "1:38: M.owner leads to S, which is in none of the files, so that it is no dependency: name the file that has it, too"},
	"Label":         {`message M () { option kind = "a b"; optional string a = 1; }`, `1:23: option kind: "a b" is no value of a label`},
	"Key":           {`message M () { required string a = 1 [tosca_key = True]; }`, "1:1: M: the API does not check that no two objects have the same a; the policy step has to"},
	"NameKey":       {`message M () { required string name = 1 [tosca_key = True, unique = True]; }`, ""},
	"Core":          {`message Service () { optional string mine = 1; } message M (Service) { }`, "1:1: Service is the core's: what has a counterpart is taken from the built-in core.xproto instead"},
	"Selectable":    {`message M () { ` + strings.Join(keys(9), " ") + ` }`, "1:1: M: recipes find objects by the name of their node template, and not by the key a1,a2,a3,a4,a5,a6,a7,a8,a9 of XOS\n1:1: M: the API does not check that no two objects have the same a1,a2,a3,a4,a5,a6,a7,a8,a9; the policy step has to\n1:1: M: the API filters lists by at most 8 fields; a9 cannot be filtered by"},
	"FileOption":    {`option legacy = "True"; message M () { optional string a = 1; }`, "1:8: option legacy: XOS has Python for a.xproto; move what its save() and delete() do to a policy step"},
	"NothingToNote": {`message S (Service) { } message M (ServiceInstance) { }`, ""},
}

// What cannot be carried over is noted, with what to do instead.
func TestNotes(t *testing.T) {
	for name, tc := range noted {
		t.Run(name, func(t *testing.T) {
			r, err := convert(t, tc.src, xos.Options{Group: "it.example.com"})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, strings.Join(notes(r), "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// keys are fields a1, a2... that are all part of the key.
func keys(n int) []string {
	var all []string
	for i := range n {
		id := string(rune('1' + i))
		all = append(all, "required string a"+id+" = "+id+" [tosca_key = True];")
	}
	return all
}

// refusals has files, and what has to be in the error.
var refusals = map[string]string{
	`import "b.xproto"; message M () { optional string a = 1; }`:                                         "1:1: import b.xproto has no counterpart: name the file together with this one",
	`package a; message M () { optional string a = 1; }`:                                                 "1:1: package a has no counterpart: the API group is made of option app_label",
	`extend N { optional string b = 1; } message M () { optional string a = 1; }`:                        "1:1: extend N has no counterpart: put the fields into the message itself",
	`message M () { extensions 1 to max; optional string a = 1; }`:                                       "1:16: extensions 1 has no counterpart: fields have no numbers here",
	`map a <lambda> reduce b <lambda> message M () { optional string a = 1; }`:                           "1:1: map a has no counterpart: compute it in a policy step\n1:16: reduce b has no counterpart: compute it in a policy step",
	`_service S { } message M () { optional string a = 1; }`:                                             "1:1: _service S has no counterpart: models are read and written through the API of Kubernetes",
	`message M () { message N () { } optional string a = 1; }`:                                           "1:16: message N within M has no counterpart: put it beside it, and link to it",
	`message M () { optional N a = 1; }`:                                                                 "1:16: M.a: expected the type to be a primitive one or an enum, got N; a link to a message is written manytoone a->N",
	`message M () { repeated manytomany a->M = 1; }`:                                                     "1:16: M.a: expected required or optional before manytomany, got repeated",
	`message M (AttributeMixin) { }`:                                                                     "1:1: base AttributeMixin of M is in none of the files: name the one that has it, too",
	`message N (M) { option abstract = True; } message M (N) { }`:                                        "1:43: M is a base of itself: M, N, M",
	`message M () { optional string a = 1; } message M () { }`:                                           "1:41: expected one message M, got a second one; the first is at a.xproto:1:1",
	`policy p <a> policy p <b> message M () { optional string a = 1; }`:                                  "1:14: expected one policy p, got a second one",
	`message M::p () { optional string a = 1; }`:                                                         "1:1: M: there is no policy p",
	`message M () { option validators = "p:x"; optional string a = 1; }`:                                 "1:23: option validators: there is no policy p",
	`message M () { option validators = "x"; optional string a = 1; }`:                                   `1:23: option validators: expected policy:text, policy:text, got "x"`,
	`message m_n () { optional string a = 1; }`:                                                          `1:1: expected a kind's name of at most 63 letters and digits that begins with a capital one, got "m_n"`,
	`message M () { optional string a = 1; } message MSpec () { optional string a = 1; }`:                "1:41: expected another name than MSpec, whose Go type mspec is there already for M",
	`message M () { optional string a_b = 1; optional string aB = 2; }`:                                  "1:41: M.aB and a_b would both become aB: rename one of them",
	`message M () { optional string $1 = 1; }`:                                                           "1:16: M.$1: expected a name that begins with a letter",
	`message M () { option plural = "many m"; optional string a = 1; }`:                                  `1:23: option plural: expected at most 63 letters and digits, got "many m"`,
	`message M () { required string a = 1 [unique_with = "b"]; }`:                                        `1:39: M.a: option unique_with: expected a field of the spec, got "b"`,
	`message M () { required string a = 1 [default = "b", choices = "(('a', 'A'),)"]; }`:                 `1:39: M.a: default: expected one of the choices a, got "b"`,
	`message M () { required string a = 1 [default = "abcd", max_length = 3]; }`:                         `1:39: M.a: default: expected at most 3 characters, got "abcd"`,
	`message M () { required string a = 1 [default = " a", content_type = "stripped"]; }`:                `1:39: M.a: default: expected no blank at the beginning or end, got " a"`,
	`message M () { required string a = 1 [default = "x", content_type = "ip"]; }`:                       `1:39: M.a: default: expected an IP address, got "x"`,
	`message M () { required string a = 1 [default = "x", content_type = "url"]; }`:                      `1:39: M.a: default: expected a URL, got "x"`,
	`message M () { required int32 a = 1 [default = 3, max_value = 2]; }`:                                "1:38: M.a: default: expected a number from -2147483648 to 2, got 3",
	`message M () { required string a = 1 [min_value = 1, db_index = 3]; required string a = 2; }`:       "1:39: M.a: option min_value is not allowed",
	`option p = "policy:<a>"; message M () { option bases = "A,B"; optional string a = 1; }`:             "1:8: option p is the spelling of plain protobuf: write policy p <a>\n1:48: option bases is the spelling of plain protobuf: write message M (A,B)",
	`message M () { option abstract = True; }`:                                                           "expected at least one message that is a model, got none",
	`message M () { optional string a = 1; } message N () { required manytoone m->M = 1 [blank=True]; }`: `1:85: N.m: option blank: expected False, because the field is required, got "True"`,
}

// What has no counterpart at all is refused where it is.
func TestRefused(t *testing.T) {
	for src, want := range refusals {
		_, err := convert(t, src, xos.Options{Group: "it.example.com"})
		if err == nil {
			t.Errorf("%s: want an error", src)
			continue
		}
		got := strings.ReplaceAll(strings.ReplaceAll(err.Error(), "a.xproto:", ""), "at 1:1", "at a.xproto:1:1")
		if !strings.Contains(got, want) {
			t.Errorf("%s:\nwant %s\ngot  %s", src, want, got)
		}
	}
}

// The API group is what the options say, and what the file says otherwise.
func TestGroup(t *testing.T) {
	const message = ` message M () { optional string a = 1; }`
	for src, tc := range map[string]struct {
		o    xos.Options
		want string
	}{
		`option app_label = "vOLT_service"; option name = "x";` + message: {xos.Options{Domain: "cord.org"}, "volt-service.cord.org"},
		`option name = "volt";` + message:                                 {xos.Options{Domain: "cord.org"}, "volt.cord.org"},
		`option name = "volts";` + message:                                {xos.Options{Group: "a.b.c", Domain: "cord.org"}, "a.b.c"},
	} {
		r, err := convert(t, src, tc.o)
		if err != nil {
			t.Fatal(err)
		}
		if doc := string(r.Files["api/v1alpha1/doc.go"]); r.Group != tc.want || !strings.Contains(doc, "+groupName="+tc.want+"\n") {
			t.Errorf("%s: want %s, got %s in %s", src, tc.want, r.Group, doc)
		}
	}
	for src, want := range map[string]string{message: "expected option app_label or name, or an API group", `option name = "a";` + message: "expected an API group, or a domain for the group a.<domain>"} {
		f, err := xproto.Parse("a.xproto", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := xos.Convert([]*xproto.File{f}, xos.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want %s, got %v", src, want, err)
		}
	}
}

// Bases are flattened, a message's own fields win, and a message of another service is only a base, or the end of a link.
func TestBases(t *testing.T) {
	files := make([]*xproto.File, 0, 2)
	for name, src := range map[string]string{
		"a.xproto": `option app_label = "a"; message M (core.XOSBase, Mixin) { optional int32 a = 1; optional manytoone site->core.Site = 2; }`,
		"b.xproto": `option app_label = "core"; message Mixin (XOSBase) { required string a = 1; required string b = 2; optional string c = 3 [bookkeeping_state = True]; } message Site () { optional string x = 1; }`,
	} {
		f, err := xproto.Parse(name, []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b *xproto.File) int { return strings.Compare(a.Name, b.Name) })
	r, err := xos.Convert(files, xos.Options{Domain: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Files) != 2 {
		t.Errorf("want one kind and doc.go, got %d files", len(r.Files))
	}
	got := plain(r.Files["api/v1alpha1/m.go"])
	for _, want := range []string{"depends-on=Site.core.example.com=spec.site.name", "B string `json:\"b\"` // xproto 2, of Mixin // A. // +optional A *int32"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %s in %s", want, got)
		}
	}
	if want := "b.xproto:1:100: Mixin.c is XOS's own bookkeeping, which is in the status of each model"; !slices.Contains(notes(r), want) {
		t.Errorf("want %s in %q", want, notes(r))
	}
}

// Steps are those that options name, otherwise those of the files, otherwise those that the configuration has a
// directory for.
func TestSteps(t *testing.T) {
	const models = `option name = "it"; message VegService (Service) { } message VegServiceInstance (ServiceInstance) { } message Tin (XOSBase) { option plural = "tinnies"; optional string a = 1; }`
	const depends = " VegService=spec.owner.name"
	cases := map[string]struct {
		reason, src, config string
		files               []string
		want, notes         []string
	}{
		"Nothing": {"nobody says", models, "", nil, nil, nil},
		"Files": {"steps are named after their models, in several ways; tests are none", models, "",
			[]string{"steps/sync_veg_service_instance.py", "steps/test_sync_veg_service.py", "steps/__init__.py", "model_policies/model_policy_vegservice.py", "vegservice_sync.py", "steps/tin.py", "pull_steps/pull_tinnies.py", "event_steps/kitchen_event.py"},
			[]string{"VegService sync", "VegService policy", "VegServiceInstance sync" + depends, "Tin sync", "Tin pull tinnies", " event kitchen"}, nil},
		"Unknown": {"a file that is named after no model", models, "", []string{"steps/sync_cow.py", "steps/sync_veg.yaml", `pull_steps\pull_all.py`},
			[]string{" pull all"}, []string{`pull_steps\pull_all.py:1:1: the name of the pull step does not say which model it is about`,
				"steps/sync_cow.py:1:1: it is named after no model: if it is a step, say of which model in the annotation steps", "steps/sync_veg.yaml:1:1: it is no Python: what it does, such as a playbook of Ansible, is written in the step"}},
		"Options": {"options win", strings.Replace(models, "message Tin (XOSBase) {", "message Tin (XOSBase) { option sync_implemented = True; option policy_implemented = False;", 1), "steps_dir: x\n", []string{"model_policies/model_policy_tin.py"}, []string{"Tin sync"}, nil},
		"Inherited": {"the options of the file are those of its messages, unless they have their own", "option sync_implemented = True; " + strings.Replace(models, "message Tin (XOSBase) {", "message Tin (XOSBase) { option sync_implemented = False;", 1), "", nil,
			[]string{"VegService sync", "VegServiceInstance sync" + depends}, nil},
		"Config": {"only the configuration says", models, "name: it\nsteps_dir: x\nevent_steps_dir: y\nrequired_models: [Tin, Cow]\naccessor: {password: secret}\nfoo: 1\n", nil,
			[]string{"VegServiceInstance sync" + depends, " event"},
			[]string{"c.yaml:2:1: VegServiceInstance is taken to have a sync step, because it is a ServiceInstance and nothing else says which models have one",
				"c.yaml:3:1: there are event steps: give their files", "c.yaml:4:24: required model Cow is of another service: the functions that use it need a right to it",
				"c.yaml:5:1: accessor is not carried over: functions read and write models with the rights of their ServiceAccounts; credentials are not carried over", "c.yaml:6:1: foo has no counterpart"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			o := xos.Options{StepFiles: tc.files}
			if tc.config != "" {
				var err error
				if o.Config, err = xos.ParseConfig("c.yaml", []byte(tc.config)); err != nil {
					t.Fatal(err)
				}
			}
			r, err := convert(t, tc.src, o)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range r.Steps {
				got = append(got, strings.TrimSuffix(strings.Join(append([]string{s.Kind, s.Step, s.Name}, s.DependsOn...), " "), " "))
			}
			for i := range got {
				got[i] = strings.ReplaceAll(got[i], "  ", " ")
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.notes, notes(r)); diff != "" {
				t.Errorf("%s: notes: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// Whatever can be parsed is either refused where it is, or becomes Go: here it is a good file in which words have changed
// places.
func TestShuffled(t *testing.T) {
	src, err := os.ReadFile("testdata/everything/everything.xproto")
	if err != nil {
		t.Fatal(err)
	}
	tokens := regexp.MustCompile(`"(\\.|[^"])*"|<[^>]*>|\w+|\s+|.`).FindAllString(string(src), -1)
	core, converted := parse(t, "everything", "core"), 0
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 0))
		changed := slices.Clone(tokens)
		for range 1 + random.IntN(3) {
			i := random.IntN(len(changed))
			changed[i] = tokens[random.IntN(len(tokens))]
		}
		f, err := xproto.Parse("a.xproto", []byte(strings.Join(changed, "")))
		if err != nil {
			continue
		}
		switch _, err := xos.Convert(append([]*xproto.File{f}, core...), xos.Options{Domain: "example.com"}); {
		case err == nil:
			converted++
		case !strings.Contains(err.Error(), ".xproto:"):
			t.Fatalf("seed %d: want the place of what is refused, got %v", seed, err)
		}
	}
	if converted < 100 {
		t.Errorf("want some of the files to be converted, got %d", converted)
	}
}

func TestParseConfig(t *testing.T) {
	for src, want := range map[string]string{
		"a: [": "c.yaml: yaml:",
		"- a":  "c.yaml:1:1: expected a map of settings",
	} {
		if _, err := xos.ParseConfig("c.yaml", []byte(src)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want %s, got %v", src, want, err)
		}
	}
	if c, err := xos.ParseConfig("c.yaml", nil); err != nil || len(c.Steps) != 0 {
		t.Errorf("an empty file says nothing: %v, %v", c, err)
	}
}
