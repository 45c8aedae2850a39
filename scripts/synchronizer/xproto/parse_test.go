package xproto_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xos-knative/synchronizer/scripts/synchronizer/xproto"
)

func lines(s string) string { return strings.Join(strings.Fields(s), " ") }

// constructs has each construct of the grammar. What is empty is printed as it is written.
var constructs = map[string]struct{ reason, src, want string }{
	"Empty":         {"a file can be empty", " \t\r\n// nothing\n", ""},
	"Options":       {"values are numbers, strings and words", `option a = 1; option b = -2.5; option c = "x y"; option d = True; option e = true; option f = false; option g = None; option h = +3;`, ""},
	"Escapes":       {"a string ends at the first quote that is not escaped", `option a = "say \"hi\" \\"; option b = "it's // no comment";`, ""},
	"Comments":      {"comments are of both kinds, and between any two tokens", "/* a\n * b */ option /* c */ a // d\n = 1 ; // e", "option a = 1;"},
	"Message":       {"a message has an access policy and bases", `message A::p (B, core.C) { }`, ""},
	"Plain":         {"or none of them", `message A { } message B () { }`, `message A () { } message B () { }`},
	"MessageOption": {"a message has options of its own", `message A () { option verbose_name = "An A"; }`, ""},
	"Primitives": {"all primitive types of protobuf", `message A () { required double a = 1 []; required float b = 2 []; required int32 c = 3 []; required int64 d = 4 [];
		required uint32 e = 5 []; required uint64 f = 6 []; required sint32 g = 7 []; required sint64 h = 8 []; required fixed32 i = 9 []; required fixed64 j = 10 [];
		required sfixed32 k = 11 []; required sfixed64 l = 12 []; required bool m = 13 []; required string n = 14 []; required bytes o = 15 []; }`, ""},
	"Modifiers":    {"three modifiers, and types by name", `message A () { required string a = 1 []; optional B b = 2 []; repeated core.C c = 3 []; }`, ""},
	"NoOptions":    {"the brackets can be left out", `message A () { required string a = 1; }`, `message A () { required string a = 1 []; }`},
	"FieldOptions": {"options of a field", `message A () { required string a = 1 [default = "x", max_length = 3, null = False, tosca_key_one_of = b]; }`, ""},
	"FieldPolicy":  {"a field can have an access policy", `message A () { required string a :: p = 1 []; }`, ""},
	"FieldNames":   {"message, max and + are names of fields, and service is a word like any other", `message A () { required string message = 1 []; required string max = 2 []; required string + = 3 []; required string service = 4 []; }`, ""},
	"OddNames":     {"a name can have + and $ in it", `message A$+b () { required string a+b$ = 1 []; }`, ""},
	"Links":        {"the three kinds of links", `message A () { required manytoone a -> B = 1 []; optional manytomany b -> core.C / core.D : es = 2 : 1001 []; optional onetoone c -> B : + = 3 []; }`, ""},
	"LinkNoBlanks": {"the reverse name comes after a colon, its number after another one", `message A () { required manytoone slice->Slice:instances = 1:1001 [db_index = True]; }`,
		`message A () { required manytoone slice -> Slice : instances = 1 : 1001 [db_index = True]; }`},
	"LinkPolicy": {"a link can have an access policy", `message A () { required manytoone a :: p -> B = 1 []; }`, ""},
	"Enum":       {"an enum has names, numbers and options", `enum E { option a = 1; A = 0; max = -1; }`, ""},
	"Nested":     {"messages, enums, extensions and extend can be within a message", `message A () { extensions 100 to 199; extensions 200 to max; extend B { required string a = 1 []; } enum E { A = 0; } message C () { } }`, ""},
	"Extend":     {"extend is for files, too", `extend B { option a = 1; required string a = 1 []; }`, ""},
	"Package":    {"a package has dots", `package a.b.c;`, ""},
	"Import":     {"an import is a string", `import "core.xproto";`, ""},
	"MapReduce":  {"bodies of map and reduce are Python", `map m <lambda x: x.a> reduce r <lambda a, b: a if a else b>`, ""},
	"Service":    {"rpc has no semicolon", `_service S { rpc a (B) returns (C) rpc d (E) returns (F) }`, ""},
	"Policy":     {"no blank is needed after <, and an arrow does not end the body", `policy p <ctx.user.is_admin -> (obj.a -> obj.b)>`, ""},
}

// Each construct of the grammar, and each trap of it, is read as XOS reads it.
func TestParse(t *testing.T) {
	for name, tc := range constructs {
		t.Run(name, func(t *testing.T) {
			f, err := xproto.Parse("a.xproto", []byte(tc.src))
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if tc.want == "" && name != "Empty" {
				tc.want = tc.src
			}
			if diff := cmp.Diff(lines(tc.want), lines(printed(f))); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// An error says where it is, what was expected and what is there; what comes after it is read, too.
func TestParseErrors(t *testing.T) {
	deep := strings.Repeat("message A { ", 60)
	cases := map[string]struct {
		reason, src string
		want        []string
	}{
		"DocumentedLink": {"the sample of XOS's documentation never was xproto", "message A {\n  required manytoone slice:Slice->instances = 1;\n}",
			[]string{`2:27: expected "->", got ":"`}},
		"OneToMany": {"onetomany is no keyword", "message A { required onetomany a->B = 1; }", []string{`1:33: expected "=", got "->"`}},
		"Reserved":  {"reserved words are no names", "message A { required string policy = 1; }\nmessage map {}", []string{`1:29: expected the name of a field, got "policy"`, `2:9: expected the name of a message, got "map"`}},
		"Several": {"the next field, and the next message, are read", "message A {\n  string a = 1;\n  required string b = ;\n  required string c 3;\n}\nmessage B { required string a = 1 }\noption x;",
			[]string{`2:3: expected required, optional, repeated, option, enum, message, extensions, extend or "}", got "string"`, `3:23: expected a number, got ";"`,
				`4:21: expected "=", got "3"`, `6:35: expected ";", got "}"`, `7:9: expected "=", got ";"`}},
		"TopLevel":    {"what can be in a file", "required string a = 1;", []string{`1:1: expected option, message, policy, enum, extend, import, package, map, reduce or _service, got "required"`}},
		"NoEnd":       {"the end comes too early", "message A {\n  option a = 1;", []string{`2:16: expected "}", got the end of the file`}},
		"Brace":       {"a brace too many", "message A { } }\noption a = 1;", []string{`1:15: expected option, message, policy, enum, extend, import, package, map, reduce or _service, got "}"`}},
		"Character":   {"a character that is in no token; columns count characters", "option é = 1;", []string{`1:8: expected the name of an option, got the character 'é'`}},
		"String":      {"a string ends on its line", "option a = \"x\n;", []string{`1:12: expected a number, a string or a word, got a string without its end`}},
		"Comment":     {"a comment has an end", "option a = 1; /* x", []string{`1:15: expected option, message, policy, enum, extend, import, package, map, reduce or _service, got a comment without its end`}},
		"Body":        {"so has a policy", "policy p <a ->", []string{`1:10: expected an expression between < and >, got a policy without its end`}},
		"EmptyPolicy": {"and something in it", "policy p < >", []string{`1:12: expected a term, got the end of the policy`}},
		"TwoEquals":   {"= is not associative", "policy p <a =\n  b = c>", []string{`2:5: expected "->", "|", "&", "=", "in" or ">", got "="`}},
		"Quantifier":  {"what is quantified has a colon", "policy p <exists A b>", []string{`1:20: expected ":", got "b"`}},
		"Brackets":    {"options are separated by commas, without one at the end", "message A { required string a = 1 [a = 1,]; }", []string{`1:42: expected the name of an option, got "]"`}},
		"Bases":       {"so are bases", "message A (B,) { }", []string{`1:14: expected the name of a base, got ")"`}},
		"Deep":        {"nesting is bounded", deep, []string{`1:613: expected at most 50 levels of nesting, got "message"`}},
		"DeepPolicy":  {"in policies, too", "policy p <" + strings.Repeat("(", 60) + "a" + strings.Repeat(")", 60) + ">", []string{`1:36: expected at most 50 levels of nesting, got "("`}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := xproto.Parse("a.xproto", []byte(tc.src))
			if err == nil {
				t.Fatalf("%s: want an error, got none", tc.reason)
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), "a.xproto:", ""), "\n")
			if diff := cmp.Diff(tc.want, got[:min(len(got), len(tc.want))]); diff != "" || len(got) != len(tc.want) && !strings.HasPrefix(name, "Deep") {
				t.Errorf("%s: -want +got:\n%s\nall: %q", tc.reason, diff, got)
			}
		})
	}
}

// Expressions are grouped as those of plyxproto.
func TestPolicy(t *testing.T) {
	for src, want := range map[string]string{
		"a -> b -> c":                     "(a -> (b -> c))",
		"a | b | c & d":                   "((a | b) | (c & d))",
		"a & b -> c | d":                  "((a & b) -> (c | d))",
		"a | b -> c":                      "((a | b) -> c)",
		"not a & b":                       "((not a) & b)",
		"not a = b":                       "(not (a = b))",
		"not not a":                       "(not (not a))",
		"exists A: A.b = c & d":           "((exists A: (A.b = c)) & d)",
		"exists A: (A.b = c & d)":         "(exists A: ((A.b = c) & d))",
		"not forall A: not a":             "(not (forall A: (not a)))",
		"*p(obj.site) & b":                "(*p(obj.site) & b)",
		"a.b in c.all()":                  "(a.b in c.all())",
		`a = "x \"y\"" | b = -1.5`:        `((a = "x \"y\"") | (b = -1.5))`,
		"{{ ' ' not in obj.name }}":       "{{ ' ' not in obj.name }}",
		"{{ a }} & True":                  "({{ a }} & True)",
		"((a))":                           "a",
		"a // comment\n & /* and */ b":    "(a & b)",
		"ctx.write_access->obj.a":         "(ctx.write_access -> obj.a)",
		"a = *p(obj)":                     "(a = *p(obj))",
		"exists $x+:$x+.y":                "(exists $x+: $x+.y)",
		"a & exists P: P.x = a & P.y":     "((a & (exists P: (P.x = a))) & P.y)",
		"a -> exists P: P.x -> P.y":       "(a -> ((exists P: P.x) -> P.y))",
		"(a -> b) -> c":                   "((a -> b) -> c)",
		"1 = 2":                           "(1 = 2)",
		"obj.network.permitted.all() & b": "(obj.network.permitted.all() & b)",
	} {
		f, err := xproto.Parse("a.xproto", []byte("policy p <"+src+">"))
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got := grouped(f.Policies[0].Expr); got != want {
			t.Errorf("%s: want %s, got %s", src, want, got)
		}
	}
}

var positioned = regexp.MustCompile(`^a\.xproto:[1-9]\d*:[1-9]\d*: expected .+, got .+$`)

// Whatever is in a file, parsing it ends, errors have a place, and what is printed again is the same.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("../xos/testdata/*/*.xproto")
	if err != nil || len(files) == 0 {
		f.Fatalf("there are no files to begin with: %v", err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(src))
	}
	f.Add(`package a; import "b"; extend C { extensions 1 to max; } enum D { A = 0; } map e <lambda> reduce f <lambda> _service G { rpc a (B) returns (C) }`)
	f.Add("policy p <a -> exists B: not *c(d) | {{ e }} & f in g>")
	f.Fuzz(func(t *testing.T, src string) {
		file, err := xproto.Parse("a.xproto", []byte(src))
		if err != nil {
			for _, e := range unjoin(err) {
				if !positioned.MatchString(e.Error()) {
					t.Errorf("want a place, what was expected and what is there, got %q", e)
				}
			}
			return
		}
		for _, m := range file.Messages {
			xproto.Validate(m)
		}
		again, err := xproto.Parse("a.xproto", []byte(printed(file)))
		if err != nil {
			t.Fatalf("%v in\n%s", err, printed(file))
		}
		if diff := cmp.Diff(file, again, cmpopts.IgnoreTypes(xproto.Pos{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("-first +printed:\n%s", diff)
		}
	})
}

func unjoin(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{fmt.Errorf("expected joined errors, got %w", err)}
}

// Everything has the place at which it begins.
func TestPositions(t *testing.T) {
	f, err := xproto.Parse("a.xproto", []byte("option a = 1;\n  enum E { A = 0; }\npolicy p <\n  a &\n  *q(b)>\nmessage M {\n  option o = 1;\n  required string r = 1;\n\trequired string s = 1 [é = 1];\n}\nimport \"x\";"))
	if err == nil {
		t.Fatal("want an error about the name é")
	}
	if want := "a.xproto:9:25: expected the name of an option, got the character 'é'"; err.Error() != want {
		t.Errorf("want %s, got %v", want, err)
	}
	m, e := f.Messages[0], f.Policies[0].Expr
	for what, at := range map[string]struct{ got, want string }{
		"option":         {f.Options[0].Pos.String(), "a.xproto:1:8"},
		"enum":           {f.Enums[0].Pos.String(), "a.xproto:2:3"},
		"enum value":     {f.Enums[0].Values[0].Pos.String(), "a.xproto:2:12"},
		"policy":         {f.Policies[0].Pos.String(), "a.xproto:3:1"},
		"operator":       {e.Pos.String(), "a.xproto:4:5"},
		"term":           {e.Args[0].Pos.String(), "a.xproto:4:3"},
		"call":           {e.Args[1].Pos.String(), "a.xproto:5:3"},
		"argument":       {e.Args[1].Args[0].Pos.String(), "a.xproto:5:6"},
		"message":        {m.Pos.String(), "a.xproto:6:1"},
		"message option": {m.Options[0].Pos.String(), "a.xproto:7:10"},
		"field":          {m.Fields[0].Pos.String(), "a.xproto:8:3"},
		"other":          {f.Others[0].Pos.String(), "a.xproto:11:1"},
	} {
		if at.got != at.want {
			t.Errorf("%s: want %s, got %s", what, at.want, at.got)
		}
	}
}
