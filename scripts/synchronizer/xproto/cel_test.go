package xproto_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/scripts/synchronizer/xproto"
)

// rules are about a model with a field of each class.
func rules(t *testing.T) *xproto.Rules {
	t.Helper()
	f, err := xproto.Parse("b.xproto", []byte(`
		policy named <obj.name = "x">
		policy loop <*loop(obj)>
`))
	if err != nil {
		t.Fatal(err)
	}
	policies := map[string]*xproto.Policy{}
	for _, p := range f.Policies {
		policies[p.Name] = p
	}
	fields := map[string]xproto.Operand{
		"name":      {Name: "name", Class: xproto.ClassString},
		"hello_to":  {Name: "helloTo", Class: xproto.ClassString, Optional: true},
		"namespace": {Name: "namespace", Class: xproto.ClassString},
		"on":        {Name: "on", Class: xproto.ClassBool},
		"count":     {Name: "count", Class: xproto.ClassInt},
		"ratio":     {Name: "ratio", Class: xproto.ClassFloat, Optional: true},
		"when":      {Name: "when", Class: xproto.ClassDate},
		"site":      {Name: "site", Class: xproto.ClassLink},
		"owner":     {Name: "owner", Class: xproto.ClassLink, Optional: true},
		"creator":   {Name: "creator", Class: xproto.ClassLink, Optional: true},
		"sites":     {Name: "sites", Class: xproto.ClassLink, Many: true, Optional: true},
		"tags":      {Name: "tags", Class: xproto.ClassString, Many: true},
	}
	return &xproto.Rules{Policies: policies, Field: func(name string) (xproto.Operand, bool) {
		o, ok := fields[name]
		return o, ok
	}}
}

// rulesOf has policies, and the rules that they become.
var rulesOf = map[string]string{
	"obj.on -> obj.on":                  "!(self.on) || (self.on)",
	"obj.on & obj.on | not obj.on":      "((self.on) && (self.on)) || (!(self.on))",
	"True & False":                      "(true) && (false)",
	"obj.name":                          `self.name != ""`,
	"obj.count":                         "self.count != 0",
	"obj.ratio":                         "has(self.ratio) && self.ratio != 0.0",
	"obj.site":                          "true",
	"obj.owner":                         "has(self.owner)",
	"obj.when":                          "true",
	"obj.tags":                          "self.tags.size() > 0",
	`obj.name = "a 'b'"`:                `self.name == "a 'b'"`,
	`"x" = obj.namespace`:               `"x" == self.__namespace__`,
	`obj.hello_to = "x"`:                `has(self.helloTo) && self.helloTo == "x"`,
	"obj.count = 3":                     "self.count == 3",
	"3 = obj.ratio":                     "has(self.ratio) && 3.0 == self.ratio",
	"obj.ratio = 1.5":                   "has(self.ratio) && self.ratio == 1.5",
	"obj.on = True":                     "self.on == true",
	"obj.site = obj.owner":              "has(self.owner) && self.site.name == self.owner.name",
	"obj.owner = obj.creator":           "has(self.owner) == has(self.creator) && (!has(self.owner) || self.owner.name == self.creator.name)",
	"obj.site in obj.sites.all()":       "has(self.sites) && self.sites.exists(e, e.name == self.site.name)",
	`"a" in obj.tags`:                   `"a" in self.tags`,
	`"a" in obj.name`:                   `self.name.contains("a")`,
	"{{ ' ' not in obj.name }}":         `!(self.name.contains(" "))`,
	`{{ "x" in obj.hello_to }}`:         `has(self.helloTo) && self.helloTo.contains("x")`,
	"{{ len(obj.name) < 20 }}":          "self.name.size() < 20",
	"*named(obj) & obj.on":              `(self.name == "x") && (self.on)`,
	"exists A: A.b":                     "error: exists A looks at other objects, which a rule of a CustomResourceDefinition cannot",
	"forall A: A.b":                     "error: forall A looks at other objects, which a rule of a CustomResourceDefinition cannot",
	"*named(obj.site)":                  "error: *named(obj.site) looks at another object, which a rule of a CustomResourceDefinition cannot",
	"*nobody(obj)":                      "error: there is no policy nobody",
	"*loop(obj)":                        "error: policies call each other too deep: loop, loop, loop, loop, loop, loop, loop, loop, loop, loop, loop",
	"{{ obj.name.startswith('x') }}":    "error: {{ obj.name.startswith('x') }} is Python without a counterpart",
	"{{ ' ' in obj.count }}":            "error: {{ ' ' in obj.count }} is Python without a counterpart",
	"obj.site.kind":                     "error: obj.site.kind is a field of another object, which a rule of a CustomResourceDefinition cannot read",
	"ctx.user.is_admin":                 "error: ctx.user.is_admin is no field of the object, and rules of a CustomResourceDefinition know nothing else",
	"obj.nobody":                        "error: the model has no field nobody in its spec",
	"obj.name = 3":                      "error: obj.name and 3 are not of one type",
	"obj.count = 1.5":                   "error: obj.count and 1.5 are not of one type",
	"obj.count in obj.tags":             "error: obj.count cannot be in obj.tags",
	`obj.on & "x"`:                      `error: expected a condition, got the string "x"`,
	"obj.sites = obj.sites":             "error: obj.sites and obj.sites are not of one type",
	"obj.site in obj.network.all.all()": "error: obj.network.all.all() is a field of another object, which a rule of a CustomResourceDefinition cannot read",
}

// What rules of a CustomResourceDefinition can say is translated; of all else there is a sentence that says why not.
func TestCEL(t *testing.T) {
	r := rules(t)
	for src, want := range rulesOf {
		f, err := xproto.Parse("a.xproto", []byte("policy p <"+src+">"))
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		got, err := r.CEL(f.Policies[0].Expr)
		if err != nil {
			_, message, _ := strings.Cut(err.Error(), ": ")
			got = "error: " + message
		}
		if got != want {
			t.Errorf("%s:\nwant %s\ngot  %s", src, want, got)
		}
	}
}

// Policies that call each other often become no rule of any length.
func TestCELLength(t *testing.T) {
	src := "policy p0 <obj.on>"
	for _, p := range []string{"p1", "p2", "p3", "p4", "p5", "p6", "p7"} {
		before := "*p" + string(p[1]-1) + "(obj)"
		src += " policy " + p + " <" + before + strings.Repeat(" & "+before, 20) + ">"
	}
	f, err := xproto.Parse("a.xproto", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	r := rules(t)
	for _, p := range f.Policies {
		r.Policies[p.Name] = p
	}
	if _, err := r.CEL(r.Policies["p7"].Expr); err == nil || !strings.Contains(err.Error(), "too long for a rule") {
		t.Errorf("want an error about the length, got %v", err)
	}
}

// The text of a validator shows fields.
func TestMessage(t *testing.T) {
	r := rules(t)
	for text, want := range map[string]string{
		"no field":                  "",
		"{obj.name}":                "self.name",
		"the { obj.name } is 'bad'": `"the " + self.name + " is 'bad'"`,
		"{obj.hello_to} of {obj.site.name} of {obj.owner}": `(has(self.helloTo) ? self.helloTo : "") + " of " + self.site.name + " of " + (has(self.owner) ? self.owner.name : "")`,
		"{obj.count} are too many":                         "error",
		"{obj.site.kind}":                                  "error",
		"{obj.name.name}":                                  "error",
	} {
		got, err := r.Message(xproto.Pos{File: "a", Line: 1, Column: 1}, text)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: want %s, got %s", text, want, got)
		}
	}
}

func TestChoices(t *testing.T) {
	for src, want := range map[string]string{
		`(('a', 'A'), ('b', "B's"))`:      "a=A b=B's",
		`(('admin', 'Admin'),)`:           "admin=Admin",
		`((None, 'None'), ('x', 'X'), )`:  "None=None x=X",
		` [ ['a','A'] , ("b" , u'B') ] `:  "a=A b=B",
		`(('', 'Empty'), ('it\'s', 'x'))`: "=Empty it's=x",
		``:                                `error: ( is missing before ""`,
		`()`:                              "error: there are none",
		`('a', 'b')`:                      `error: ( is missing before "'a', 'b')"`,
		`(('a',))`:                        "error: a choice has a value and a label, this one has 1 parts",
		`(('a', 'A') ('b', 'B'))`:         `error: a comma or ) is missing before "('b', 'B'))"`,
		`(('a', 'A')) x`:                  `error: there is more: "x"`,
		`((1, 'A'))`:                      `error: a string in quotes is missing before "1, 'A'))"`,
		`(('a', 'A`:                       `error: the quote is not closed: "'A"`,
	} {
		choices, err := xproto.Choices(src)
		var parts []string
		for _, c := range choices {
			if c.None {
				c.Value = "None"
			}
			parts = append(parts, c.Value+"="+c.Label)
		}
		got := strings.Join(parts, " ")
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%s: want %s, got %s", src, want, got)
		}
	}
}

// fieldErrors has fields, and what is wrong with them.
var fieldErrors = map[string]string{
	`required string a = 1 [help_text = "x", gui_hidden = True, tosca_key = True, tosca_key_one_of = b, bookkeeping_state = True, feedback_state = True, unique = True, unique_with = "b"];`: "",
	`optional string a = 1 [blank = True, choices = "(('a', 'A'),)", content_type = "stripped", db_index = True, default = "a", max_length = 3, null = True, text = False];`:                 "",
	`optional string a = 1 [verbose_name = "A", on_delete = "x", editable = False];`:                                                                                                         "",
	`required string a = 1 [auto_now_add = True, content_type = "date", default = "now()"];`:                                                                                                 "",
	`required bool a = 1 [default = "True", db_index = false, null = False];`:                                                                                                                "",
	`optional float a = 1 [blank = True, default = 1.5, null = True];`:                                                                                                                       "",
	`optional int32 a = 1 [default = "3", max_value = 5, min_value = -5];`:                                                                                                                   "",
	`optional uint32 a = 1 [default = 4294967295];`:                                                                                                                                          "",
	`optional manytoone a->B = 1 [model = B, port = x, type = link, link_type = "manytoone", null = True];`:                                                                                  "",
	`required manytomany a->B/C = 1 [null = True];`:                                                                                                                                          "",
	`optional string a = 1 [default = None];`:                                                                                                                                                "",
	`optional int32 a = 1 [default = ""];`:                                                                                                                                                   "",
	`required string a = 1 [min_value = 1];`:                                                                                                                                                 "option min_value is not allowed for a field of class string",
	`required bool a = 1 [blank = False];`:                                                                                                                                                   "option blank is not allowed for a field of class bool",
	`required string a = 1 [auto_now_add = True];`:                                                                                                                                           "option auto_now_add is not allowed for a field of class string",
	`required manytoone a->B = 1 [max_length = 1];`:                                                                                                                                          "option max_length is not allowed for a field of class link",
	`optional string a = 1 [varchar = True];`:                                                                                                                                                `option varchar: expected text, which varchar is called since XOS 4, got "True"`,
	`required string a = 1 [db_index = 1];`:                                                                                                                                                  `option db_index: expected True or False, got "1"`,
	`required bool a = 1 [null = True];`:                                                                                                                                                     `option null: expected False, because the field is required, got "True"`,
	`optional bool a = 1 [null = True];`:                                                                                                                                                     `option null: expected False, got "True"`,
	`required string a = 1 [blank = True];`:                                                                                                                                                  `option blank: expected False, because the field is required, got "True"`,
	`required string a = 1 [null = "True"];`:                                                                                                                                                 `option null: expected False, because the field is required, got "True"`,
	`optional manytoone a->B = 1 [null = False];`:                                                                                                                                            `option null: expected True, because the field is optional, got "False"`,
	`required string a = 1 [max_length = 0];`:                                                                                                                                                `option max_length: expected a number from 1 on, got "0"`,
	`required string a = 1 [content_type = "html"];`:                                                                                                                                         `option content_type: expected stripped, ip, url or date, got "html"`,
	`required manytoone a->B = 1 [link_type = "manytomany"];`:                                                                                                                                `option link_type: expected manytoone, got "manytomany"`,
	`required string a = 1 [choices = "('a', 'A')"];`:                                                                                                                                        `option choices: expected pairs as Python has them`,
	`required int32 a = 1 [default = 1.5];`:                                                                                                                                                  `option default: expected a whole number that int32 can hold, got "1.5"`,
	`required int32 a = 1 [default = 2147483648];`:                                                                                                                                           `option default: expected a whole number that int32 can hold`,
	`required uint32 a = 1 [default = -1];`:                                                                                                                                                  `option default: expected a whole number that uint32 can hold`,
	`required int32 a = 1 [min_value = x];`:                                                                                                                                                  `option min_value: expected a whole number, got "x"`,
	`required float a = 1 [default = x];`:                                                                                                                                                    `option default: expected a number, got "x"`,
	`required bool a = 1 [default = 1];`:                                                                                                                                                     `option default: expected True or False, got "1"`,
	`required string a = 1; optional int32 a = 2;`:                                                                                                                                           `expected one field of this name, got a second one; the first is at a.xproto:1:15`,
}

// Options of fields are those that xosgenx allows for the type, with the values that it allows.
func TestValidate(t *testing.T) {
	for field, want := range fieldErrors {
		f, err := xproto.Parse("a.xproto", []byte("message M () {"+field+"}"))
		if err != nil {
			t.Errorf("%s: %v", field, err)
			continue
		}
		var got []string
		for _, err := range xproto.Validate(f.Messages[0]) {
			got = append(got, err.Error())
		}
		if len(got) > 1 || (want == "") != (len(got) == 0) || want != "" && !strings.Contains(got[0], "M.a: "+want) {
			t.Errorf("%s: %s", field, cmp.Diff(want, strings.Join(got, "\n")))
		}
	}
}
