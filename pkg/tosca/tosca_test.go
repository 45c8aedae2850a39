package tosca

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// crdFiles are the models that the tests know.
var crdFiles = []string{"testdata/crds/*.yaml", "../../config/crds/*.yaml"}

func testTypes(t testing.TB) *Types {
	t.Helper()
	return TypesFromCRDs(readCRDs(t))
}

func readCRDs(t testing.TB) []apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	var crds []apiextensionsv1.CustomResourceDefinition
	for _, glob := range crdFiles {
		files, err := filepath.Glob(glob)
		if err != nil || len(files) == 0 {
			t.Fatalf("no CRDs in %s: %v", glob, err)
		}
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			var crd apiextensionsv1.CustomResourceDefinition
			if err := yaml.Unmarshal(raw, &crd); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			crds = append(crds, crd)
		}
	}
	return crds
}

// recipe puts node templates, indented by two spaces, into an otherwise complete recipe. They start on line 4.
func recipe(nodes string) string {
	return "tosca_definitions_version: tosca_simple_yaml_1_0\ntopology_template:\n  node_templates:\n    " +
		strings.ReplaceAll(strings.TrimSpace(nodes), "\n", "\n    ") + "\n"
}

// widget is a node that is in order, with more properties.
func widget(name string, more ...string) string {
	return fmt.Sprintf("%s:\n  type: tosca.nodes.Widget\n  properties:\n    name: %s\n    count: 1\n%s", name, name, strings.Join(more, ""))
}

func check(t testing.TB, text string) ([]*Node, error) {
	t.Helper()
	r, err := Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	nodes, errs := Check(r, testTypes(t))
	return nodes, errs.OrNil()
}

func TestBadRecipes(t *testing.T) {
	var deep strings.Builder
	deep.WriteString(widget("a", "    anything:\n"))
	for i := range MaxDepth {
		deep.WriteString(strings.Repeat(" ", 6+i) + "x:\n")
	}
	bomb := "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"
	var many strings.Builder
	for i := range MaxNodes + 1 {
		fmt.Fprintf(&many, "n%d: {type: t}\n", i)
	}

	cases := map[string]struct {
		reason string
		in     string
		want   []string // what each line of the error starts with
	}{
		"Empty":          {"An empty body is no recipe", " \n", []string{"SyntaxError: the recipe is empty"}},
		"OnlyComments":   {"Comments are not a recipe either", "# hello\n", []string{"SyntaxError: the recipe is empty"}},
		"Binary":         {"A picture is no recipe", "\x89PNG\x00\x01", []string{"SyntaxError: the recipe is binary"}},
		"NUL":            {"NUL is no text, even inside of UTF-8", "a: \x00b", []string{"SyntaxError: the recipe is binary"}},
		"TooLarge":       {"Size is bounded", strings.Repeat("#", MaxBytes+1), []string{"TooLargeError: the recipe has 1048577 bytes"}},
		"TooManyNodes":   {"So is the number of nodes", recipe(many.String()), []string{"TooLargeError: line 4: the recipe has 5001 nodes"}},
		"Tab":            {"A tab gets words of its own, since nobody sees it", "a:\n\tb: 1\n", []string{"SyntaxError: line 2: a tab is used to indent"}},
		"NotYAML":        {"The line of a syntax error is told", "a: b\nc: [\n", []string{"SyntaxError: line 2: "}},
		"Scalar":         {"A recipe is a map", "hello\n", []string{"TypeMismatchError: line 1: the recipe is the string \"hello\"; expected a map"}},
		"List":           {"A list is no map", "- a\n", []string{"TypeMismatchError: line 1: the recipe is a list"}},
		"TwoDocuments":   {"A second document would be dropped without a word", "a: 1\n---\nb: 1\n", []string{"SyntaxError: line 2: a second YAML document"}},
		"Bomb":           {"Aliases are refused before they are followed", bomb, []string{"SyntaxError: line 1: anchor &a", "SyntaxError: line 2: anchor &b", "SyntaxError: line 3: anchor &c"}},
		"Alias":          {"An alias to nothing is YAML's own error", "a: *b\n", []string{"SyntaxError: unknown anchor 'b'"}},
		"MergeKey":       {"A merge key is a kind of expansion", "<<: {a: 1}\n", []string{"SyntaxError: line 1: a key must be a plain word"}},
		"Tag":            {"Tags made Python build objects", "a: !!python/object/apply:os.system [ls]\n", []string{"SyntaxError: line 1: tag !!python/object"}},
		"ComplexKey":     {"A key is a word", "? [a, b]\n: c\n", []string{"SyntaxError: line 1: a key must be a plain word"}},
		"DuplicateKey":   {"One of two equal keys would be lost", "a: 1\na: 2\n", []string{"DuplicateFieldError: line 2: key \"a\" is there twice, first on line 1"}},
		"DuplicateNodes": {"That goes for nodes as well", recipe("a: {type: t}\na: {type: t}"), []string{"DuplicateFieldError: line 5: key \"a\""}},
		"TooDeep":        {"Depth is bounded", recipe(deep.String()), []string{"SyntaxError: line 36: nested deeper than 32 levels"}},
		"NoVersion":      {"The version is required", "topology_template: {node_templates: {a: {type: t}}}\n", []string{"MissingRequiredFieldError: line 1: \"tosca_definitions_version\" is required"}},
		"OtherVersion":   {"Only one version is known", strings.Replace(recipe(widget("a")), "yaml_1_0", "yaml_2_0", 1), []string{"InvalidTemplateVersion: line 1: tosca_definitions_version is \"tosca_simple_yaml_2_0\"; expected \"tosca_simple_yaml_1_0\""}},
		"NoTopology":     {"A recipe without nodes does nothing", "tosca_definitions_version: tosca_simple_yaml_1_0\n", []string{"MissingRequiredFieldError: line 1: \"topology_template\""}},
		"NoTemplates":    {"Nodes are below node_templates", "tosca_definitions_version: tosca_simple_yaml_1_0\ntopology_template: {}\n", []string{"MissingRequiredFieldError: line 2: \"node_templates\""}},
		"NoNodes":        {"An empty list of nodes is most likely a mistake", "tosca_definitions_version: tosca_simple_yaml_1_0\ntopology_template: {node_templates: {}}\n", []string{"MissingRequiredFieldError: line 2: node_templates has no node"}},
		"UnknownTop":     {"A misspelt section would be ignored", "import: []\n" + recipe(widget("a")), []string{"UnknownFieldError: line 1: unknown field \"import\"; expected one of tosca_definitions_version"}},
		"Inputs":         {"Inputs are not supported and must not be dropped", recipe(widget("a")) + "  inputs: {}\n", []string{"UnknownFieldError: line 9: unknown field \"inputs\""}},
		"NodeField":      {"Neither are artifacts", recipe("a: {type: tosca.nodes.Maker, artifacts: {}}"), []string{"UnknownFieldError: line 4: node \"a\": unknown field \"artifacts\""}},
		"NodeNoMap":      {"A node is a map", recipe("a: b"), []string{"TypeMismatchError: line 4: node \"a\": a node template is the string \"b\"; expected a map"}},
		"NoType":         {"A node has a type", recipe("a: {properties: {type: x}}"), []string{"MissingRequiredFieldError: line 4: node \"a\": \"type\" is required"}},
		"TypeList":       {"A type is a name", recipe("a: {type: [x]}"), []string{"TypeMismatchError: line 4: node \"a\": type: expected a name"}},
		"PropertyList":   {"Properties are a map", recipe("a: {type: tosca.nodes.Maker, properties: [x]}"), []string{"TypeMismatchError: line 4: node \"a\": properties is a list"}},
		"ImportsMap":     {"Imports are a list", "imports: {}\n" + recipe(widget("a")), []string{"TypeMismatchError: line 1: imports: expected a list"}},
		"ImportMap":      {"An import is a path", "imports: [{a: b}]\n" + recipe(widget("a")), []string{"ImportError: line 1: expected a path"}},
		"ImportUnknown":  {"Imports are held against the types", "imports: [custom_types/gadget.yaml]\n" + recipe(widget("a")), []string{"ImportError: line 1: there is no \"custom_types/gadget.yaml\"; known are: custom_types/deadletter.yaml, "}},
		"ImportPath":     {"An import never becomes a path to a file", "imports: [custom_types/../../etc/passwd]\n" + recipe(widget("a")), []string{"ImportError: line 1: "}},
		"UnknownType":    {"Types come from the CRDs", recipe("a: {type: tosca.nodes.Gadget}"), []string{"InvalidTypeError: line 4: node \"a\": type \"tosca.nodes.Gadget\" is not known; known are: tosca.nodes.DeadLetter, "}},
		"TypeCase":       {"The kind is spelt as it is", recipe("a: {type: tosca.nodes.widget}"), []string{"InvalidTypeError: line 4"}},
		"TypePrefix":     {"The prefix belongs to the name", recipe("a: {type: Widget}"), []string{"InvalidTypeError: line 4"}},
		"UnknownProp":    {"Unknown properties list the known ones", recipe(widget("a", "    size: 1")), []string{"UnknownFieldError: line 9: node \"a\": property \"size\": is not known; tosca.nodes.Widget has: anything, base_url, "}},
		"CamelCase":      {"Who writes the name of the field is told the property", recipe(widget("a", "    itemCode: AB")), []string{"UnknownFieldError: line 9: node \"a\": property \"itemCode\": is not known; it is written item_code"}},
		"LinkAsProp":     {"A link is no property", recipe(widget("a", "    parent: b")), []string{"UnknownFieldError: line 9: node \"a\": property \"parent\": is a link and not a property"}},
		"MissingProps":   {"All that is missing is listed; a default is enough", recipe("a:\n  type: tosca.nodes.Widget"), []string{"MissingRequiredFieldError: line 4: node \"a\": property \"count\"", "MissingRequiredFieldError: line 4: node \"a\": property \"name\""}},
		"StringInt":      {"A number is no string", recipe(widget("a", "    base_url: 5")), []string{"TypeMismatchError: line 9: node \"a\": property \"base_url\": is 5; expected a string (put the value in quotes)"}},
		"StringNull":     {"Nothing is no string", recipe(widget("a", "    base_url:")), []string{"TypeMismatchError: line 9: node \"a\": property \"base_url\": is empty; expected a string"}},
		"StringMap":      {"A TOSCA function is no string", recipe(widget("a", "    base_url: {get_input: x}")), []string{"TypeMismatchError: line 9: node \"a\": property \"base_url\": is a map"}},
		"IntText":        {"A word is no number", recipe("a: {type: tosca.nodes.Widget, properties: {name: a, count: many}}"), []string{"TypeMismatchError: line 4: node \"a\": property \"count\": is the string \"many\"; expected an integer"}},
		"IntFloat":       {"A fraction is no integer", recipe("a: {type: tosca.nodes.Widget, properties: {name: a, count: 1.5}}"), []string{"TypeMismatchError: line 4: node \"a\": property \"count\": is 1.5"}},
		"IntHuge":        {"Numbers have limits", recipe("a: {type: tosca.nodes.Widget, properties: {name: a, count: 99999999999999999999}}"), []string{"TypeMismatchError: line 4: node \"a\": property \"count\""}},
		"NumberInf":      {"JSON has no infinity", recipe(widget("a", "    ratio: .inf")), []string{"TypeMismatchError: line 9: node \"a\": property \"ratio\": is .inf; expected a number"}},
		"BoolText":       {"Maybe is not a boolean", recipe(widget("a", "    enabled: maybe")), []string{"TypeMismatchError: line 9: node \"a\": property \"enabled\""}},
		"ListScalar":     {"A list is a list", recipe(widget("a", "    tags: x")), []string{"TypeMismatchError: line 9: node \"a\": property \"tags\": is the string \"x\"; expected a list"}},
		"ListItem":       {"Items are checked", recipe(widget("a", "    tags: [x, 1]")), []string{"TypeMismatchError: line 9: node \"a\": property \"tags\": [1] is 1; expected a string"}},
		"Nested":         {"So are maps in lists", recipe(widget("a", "    ports: [{proto: 1, x: 2}]")), []string{"TypeMismatchError: line 9: node \"a\": property \"ports\": [0].proto is 1", "UnknownFieldError: line 9: node \"a\": property \"ports\": [0].x is not known; known are: portNumber, proto", "MissingRequiredFieldError: line 9: node \"a\": property \"ports\": [0].port_number is required"}},
		"TwoSpellings":   {"A field that is there in two spellings is there twice", recipe(widget("a", "    ports: [{portNumber: 1, port_number: 2}]")), []string{"DuplicateFieldError: line 9"}},
		"IntOrString":    {"Neither an integer nor a string", recipe(widget("a", "    window: [1]")), []string{"TypeMismatchError: line 9"}},
		"FreeInf":        {"Free form is still JSON", recipe(widget("a", "    anything: {x: .nan}")), []string{"TypeMismatchError: line 9: node \"a\": property \"anything\": x is .nan"}},
		"MustExistText":  {"must-exist is a boolean", recipe(widget("a", "    must-exist: sure")), []string{"TypeMismatchError: line 9: node \"a\": property \"must-exist\""}},
		"NamePath":       {"A name that tries to be a path", recipe("a: {type: tosca.nodes.Widget, properties: {name: ../../etc/passwd, count: 1}}"), []string{"InvalidNameError: line 4: node \"a\": property \"name\": \"../../etc/passwd\" looks like a path"}},
		"NameDots":       {"Dots alone are a path, too", recipe("a: {type: tosca.nodes.Widget, properties: {name: .., count: 1}}"), []string{"InvalidNameError: line 4"}},
		"NameBackslash":  {"So are those of another system", recipe(`a: {type: tosca.nodes.Widget, properties: {name: 'c:\x', count: 1}}`), []string{"InvalidNameError: line 4"}},
		"NameLong":       {"300 characters", recipe("a: {type: tosca.nodes.Widget, properties: {name: " + strings.Repeat("x", 300) + ", count: 1}}"), []string{"InvalidNameError: line 4: node \"a\": property \"name\": \"xxxx"}},
		"NameBlank":      {"A blank name is none", recipe("a: {type: tosca.nodes.Widget, properties: {name: ' ', count: 1}}"), []string{"InvalidNameError: line 4: node \"a\": property \"name\": \" \" is blank"}},
		"NameControl":    {"A name with a line break would fake lines of a log", recipe("a: {type: tosca.nodes.Widget, properties: {name: \"a\\nb\", count: 1}}"), []string{"InvalidNameError: line 4"}},
		"NodeNamePath":   {"Nodes are named by the same rules", recipe("../a: {type: tosca.nodes.Maker}"), []string{"InvalidNameError: line 4: node name \"../a\" looks like a path"}},
		"SameModel":      {"Two nodes that are one model", recipe(widget("a") + "\n" + strings.Replace(widget("b"), "name: b", "name: a", 1)), []string{"DuplicateNodeError: line 10: node \"b\": it is the same Widget \"a\" as node \"a\" on line 4"}},
		"Collision":      {"Two names that become one object", recipe(strings.Replace(widget("a"), "name: a", "name: A B", 1) + "\n" + strings.Replace(widget("b"), "name: b", "name: a-b", 1)), []string{"NameCollisionError: line 10: node \"b\": \"a-b\" and \"A B\" (node \"a\" on line 4) would both become the object a-b"}},
		"ReqMap":         {"Requirements are a list", recipe(widget("a") + "  requirements: {parent: b}"), []string{"TypeMismatchError: line 9: node \"a\": requirements: expected a list"}},
		"ReqTwoKeys":     {"Each of one requirement", recipe(widget("a") + "  requirements: [{parent: b, maker: c}]"), []string{"TypeMismatchError: line 9"}},
		"ReqList":        {"A requirement is a name or a map", recipe(widget("a") + "  requirements: [{parent: [b]}]"), []string{"TypeMismatchError: line 9: node \"a\": property \"parent\""}},
		"ReqNoNode":      {"A requirement names a node", recipe(widget("a") + "  requirements: [{parent: {relationship: tosca.relationships.BelongsToOne}}]"), []string{"MissingRequiredFieldError: line 9: node \"a\": property \"parent\": the requirement names no node"}},
		"ReqField":       {"And nothing that is not known", recipe(widget("a") + "  requirements: [{parent: {node: a, capability: x}}]"), []string{"UnknownFieldError: line 9: node \"a\": property \"parent\": unknown field \"capability\""}},
		"ReqUnknown":     {"Requirements come from depends-on", recipe(widget("a") + "  requirements: [{owner: a}]"), []string{"UnknownFieldError: line 9: node \"a\": property \"owner\": is not a requirement that tosca.nodes.Widget can have; it has: parent, maker"}},
		"ReqTwice":       {"A link has one end", recipe(widget("a") + "  requirements: [{maker: m}, {maker: m}]\nm: {type: tosca.nodes.Maker}"), []string{"DuplicateFieldError: line 9: node \"a\": property \"maker\""}},
		"ReqRelation":    {"Relationships are known", recipe(widget("a") + "  requirements: [{maker: {node: m, relationship: tosca.relationships.Likes}}]\nm: {type: tosca.nodes.Maker}"), []string{"InvalidTypeError: line 9: node \"a\": property \"maker\": relationship \"tosca.relationships.Likes\""}},
		"ReqNowhere":     {"The target is a node of the recipe", recipe(widget("a") + "  requirements: [{maker: m}]"), []string{"UnknownNodeError: line 9: node \"a\": property \"maker\": there is no node \"m\" in the recipe"}},
		"ReqKind":        {"And of the kind that is depended on", recipe(widget("a") + "  requirements: [{maker: b}]\n" + widget("b")), []string{"TypeMismatchError: line 9: node \"a\": property \"maker\": node \"b\" is a Widget.example.com; expected a Maker.makers.example.com"}},
		"Self":           {"A node cannot require itself", recipe(widget("a") + "  requirements: [{parent: a}]"), []string{"CycleError: line 4: node \"a\": the node requires itself: a, a"}},
		"Cycle":          {"Nor by way of another; who merely requires one of them is not named", recipe(widget("a") + "  requirements: [{parent: b}]\n" + widget("b") + "  requirements: [{parent: c}]\n" + widget("c") + "  requirements: [{parent: b}]"), []string{"CycleError: line 10: node \"b\": the node requires itself: b, c, b"}},
	}
	if len(cases) < 40 {
		t.Fatalf("the table has %d bad recipes; 40 were promised", len(cases))
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := check(t, tc.in)
			if err == nil {
				t.Fatalf("%s: the recipe was taken", tc.reason)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tc.want) {
				t.Fatalf("%s: want %d errors, got:\n%v", tc.reason, len(tc.want), err)
			}
			for i, want := range tc.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("%s:\nwant %s...\ngot  %s", tc.reason, want, lines[i])
				}
			}
		})
	}
}

func TestErrorsAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "n%d: {type: tosca.nodes.Gadget}\n", i)
	}
	_, err := check(t, recipe(b.String()))
	if n := len(strings.Split(err.Error(), "\n")); n != MaxErrors {
		t.Errorf("want the first %d errors, got %d", MaxErrors, n)
	}
}

func TestValues(t *testing.T) {
	cases := map[string]struct {
		reason string
		in     string
		path   string
		want   any
	}{
		"String":        {"As it is", "base_url: http://x", "spec.baseURL", "http://x"},
		"StringQuoted":  {"Quotes keep a number a string", "base_url: '5'", "spec.baseURL", "5"},
		"Date":          {"A date is text", "made_at: 2020-01-02T03:04:05Z", "spec.madeAt", "2020-01-02T03:04:05Z"},
		"Yes":           {"YAML 1.1, which XOS read, has yes and no", "enabled: no", "spec.enabled", false},
		"TrueQuoted":    {"The parser of XOS took true in quotes", "enabled: 'true'", "spec.enabled", true},
		"Whole":         {"Whole numbers come back from the API as integers", "ratio: 2", "spec.ratio", int64(2)},
		"Fraction":      {"Others as they are", "ratio: 0.5", "spec.ratio", 0.5},
		"Hex":           {"YAML knows more than one way to write a number", "ratio: 0x10", "spec.ratio", int64(16)},
		"IntQuoted":     {"The parser of XOS took numbers in quotes", "ratio: '7'", "spec.ratio", int64(7)},
		"List":          {"Lists keep their order", "tags: [b, a]", "spec.tags", []any{"b", "a"}},
		"NestedSnake":   {"Nested fields are in snake_case, too", "ports: [{port_number: 80}]", "spec.ports", []any{map[string]any{"portNumber": int64(80)}}},
		"NestedCamel":   {"Or as the schema has them", "ports: [{portNumber: 80}]", "spec.ports", []any{map[string]any{"portNumber": int64(80)}}},
		"Map":           {"Keys of a free map are not touched", "labels: {aB: c, a_b: d}", "spec.labels", map[string]any{"aB": "c", "a_b": "d"}},
		"IntOrString":   {"Either", "window: 5", "spec.window", int64(5)},
		"StringOrInt":   {"Or", "window: 5%", "spec.window", "5%"},
		"Free":          {"Anything goes", "anything: {a: [1, b, null, true, 1.5]}", "spec.anything", map[string]any{"a": []any{int64(1), "b", nil, true, 1.5}}},
		"Null":          {"Where the schema allows it", "note: null", "spec.note", nil},
		"NoSync":        {"XOS's no_sync is an annotation here", "no_sync: true", "metadata.annotations.synchronizer.xos-knative.dev/no-sync", "true"},
		"MultiLineText": {"Block text keeps its lines", "base_url: |\n      a\n      b", "spec.baseURL", "a\nb\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			nodes, err := check(t, recipe(widget("a", "    "+tc.in)))
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			for _, f := range nodes[0].Fields {
				if strings.Join(f.Path, ".") != tc.path {
					continue
				}
				if diff := cmp.Diff(tc.want, f.Value); diff != "" {
					t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
				}
				return
			}
			t.Errorf("%s: no field %s", tc.reason, tc.path)
		})
	}
}

func TestOrder(t *testing.T) {
	text := recipe("z: {type: tosca.nodes.Maker}\n" +
		widget("d") + "  requirements:\n  - parent: {node: b, relationship: tosca.relationships.BelongsToOne}\n  - maker: z\n" +
		widget("b") + "  requirements:\n  - parent: {node: c, relationship: tosca.relationships.ManyToOne}\n" +
		widget("c") + widget("a", "    must-exist: true\n") + "e:\n  type: tosca.nodes.Widget\n  properties: {name: a, must-exist: yes}")
	nodes, err := check(t, text)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range nodes {
		got = append(got, n.Name)
	}
	if diff := cmp.Diff([]string{"a", "c", "e", "z", "b", "d"}, got); diff != "" {
		t.Errorf("levels of requirements, and names inside a level: -want +got:\n%s", diff)
	}
	if !nodes[0].MustExist || nodes[1].MustExist {
		t.Error("must-exist is true of a and of no other")
	}
}

func TestErrorsDoNotHideGoodNodes(t *testing.T) {
	r, err := Parse([]byte(recipe(widget("bad", "    size: 1\n") + widget("child") + "  requirements: [{parent: bad}]\n" + widget("good"))))
	if err != nil {
		t.Fatal(err)
	}
	nodes, errs := Check(r, testTypes(t))
	if len(errs) != 1 || len(nodes) != 1 || nodes[0].Name != "good" {
		t.Errorf("want one error and the node that has nothing to do with it, got %v and %d nodes", errs, len(nodes))
	}
}

func TestObjectName(t *testing.T) {
	cases := map[string]struct{ reason, key, want string }{
		"Valid":     {"A name that Kubernetes takes stays", "greeter-1", "greeter-1"},
		"Dots":      {"With its dots", "a.b", "a.b"},
		"Spaces":    {"Words become one", "HelloWorld Service Instance 1", "helloworld-service-instance-1"},
		"Runs":      {"Runs of other characters are one dash, none at the ends", "  (A) & b! ", "a-b"},
		"Accents":   {"Only ASCII is left", "Jürgen", "j-rgen"},
		"Nothing":   {"If nothing is left, a hash stands for it", "日本", "widget-cf2abf0c5b"},
		"Long":      {"Long names are shortened with a hash", strings.Repeat("A", 100), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa36a92cc94a9e0fa21f625f8bfb007adf"},
		"LongValid": {"Also those that are valid", strings.Repeat("a", 100), strings.Repeat("a", 100)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, ObjectName("Widget", tc.key)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestSnake(t *testing.T) {
	for in, want := range map[string]string{"helloFrom": "hello_from", "name": "name", "baseURL": "base_url", "URLPath": "url_path", "x2Y": "x2_y", "a_b": "a_b", "": ""} {
		if got := snake(in); got != want {
			t.Errorf("%q: want %q, got %q", in, want, got)
		}
	}
}

func TestTypesFromCRDs(t *testing.T) {
	crds := readCRDs(t)
	twin := *crds[0].DeepCopy()
	for i := range crds {
		if crds[i].Spec.Names.Kind == "Maker" {
			twin = *crds[i].DeepCopy()
		}
	}
	twin.Name, twin.Spec.Group = "makers.other.com", "other.com"
	broken := *twin.DeepCopy()
	broken.Spec.Names.Kind, broken.Spec.Versions[0].Schema = "Broken", nil
	unlabelled := *twin.DeepCopy()
	unlabelled.Labels, unlabelled.Spec.Names.Kind = nil, "Hidden"
	shared := *twin.DeepCopy()
	shared.Spec.Names.Kind = "Shared"
	shared.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] = apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
		"aB": {Type: "string"}, "a_b": {Type: "string"}, "must-exist": {Type: "string"},
	}}
	types := TypesFromCRDs(append(crds, twin, broken, unlabelled, shared))

	want := []string{"deadletter", "helloworldservice", "helloworldserviceinstance", "maker.makers.example.com", "maker.other.com", "servicegraphconstraint", "shared", "widget"}
	if diff := cmp.Diff(want, types.IDs()); diff != "" {
		t.Errorf("a kind of two groups carries its group; what has no label or no schema is no type: -want +got:\n%s", diff)
	}
	if _, reason := types.lookup("tosca.nodes.Broken"); !strings.Contains(reason, "has no schema") {
		t.Errorf("who asks for a broken type is told why: %s", reason)
	}
	if typ, _ := types.lookup("tosca.nodes.Maker.other.com"); typ == nil || typ.GVK.Group != "other.com" {
		t.Errorf("a type with its group is found: %v", typ)
	}
	var names []string
	for _, p := range types.ByID("shared").Properties {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"aB", "a_b", "must-exist"}, names); diff != "" {
		t.Errorf("fields that would share a name keep their own: -want +got:\n%s", diff)
	}
}

func TestCustomType(t *testing.T) {
	for id, file := range map[string]string{"widget": "testdata/widget.golden.yaml", "helloworldserviceinstance": "testdata/helloworldserviceinstance.golden.yaml"} {
		got, err := testTypes(t).ByID(id).YAML()
		if err != nil {
			t.Fatal(err)
		}
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: -want +got (UPDATE_GOLDEN=1 writes it anew):\n%s", file, diff)
		}
	}
}

func TestSeedRecipes(t *testing.T) {
	for file, want := range map[string][]string{
		"hello-world.yaml":      {"constraints", "service", "serviceinstance"},
		"hello-world-more.yaml": {"constraints", "serviceinstance1", "serviceinstance2"},
	} {
		raw, err := os.ReadFile("../../config/samples/tosca/" + file)
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := check(t, string(raw))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var got []string
		for _, n := range nodes {
			got = append(got, n.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", file, diff)
		}
	}
}
