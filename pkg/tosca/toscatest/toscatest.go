// Package toscatest has recipes for tests: those of the parser and those of the HTTP server, which
// have to agree on what is a bad one.
package toscatest

import (
	"fmt"
	"strings"
)

// The limits of package tosca, written out: a test that takes them from there would not see them
// change.
const (
	maxBytes = 1 << 20
	maxNodes = 5000
	maxMarks = 200_000
	maxDepth = 32
)

// Bad is a recipe that is refused before the API is asked about its objects.
type Bad struct {
	// Reason is a sentence that says why.
	Reason string
	Recipe string
	// Want has what each line of the answer starts with.
	Want []string
}

// Recipe puts node templates, indented by two spaces, into an otherwise complete recipe. They start
// on line 4.
func Recipe(nodes string) string {
	return "tosca_definitions_version: tosca_simple_yaml_1_0\ntopology_template:\n  node_templates:\n    " +
		strings.ReplaceAll(strings.TrimSpace(nodes), "\n", "\n    ") + "\n"
}

// Widget is a node of type Widget (pkg/tosca/testdata/crds) that is in order, with more lines below
// its properties.
func Widget(name string, more ...string) string {
	return fmt.Sprintf("%s:\n  type: tosca.nodes.Widget\n  properties:\n    name: %s\n    count: 1\n%s", name, name, strings.Join(more, ""))
}

// BadRecipes is the table of recipes that can go wrong without an API server's help. The types are
// those of pkg/tosca/testdata/crds and config/crds.
func BadRecipes() map[string]Bad {
	var deep strings.Builder
	deep.WriteString(Widget("a", "    anything:\n"))
	for i := range maxDepth {
		deep.WriteString(strings.Repeat(" ", 6+i) + "x:\n")
	}
	bomb := "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"
	var many strings.Builder
	for i := range maxNodes + 1 {
		fmt.Fprintf(&many, "n%d: {type: t}\n", i)
	}

	return map[string]Bad{
		"Empty":          {"An empty body is no recipe", " \n", []string{"SyntaxError: the recipe is empty"}},
		"OnlyComments":   {"Comments are not a recipe either", "# hello\n", []string{"SyntaxError: the recipe is empty"}},
		"Binary":         {"A picture is no recipe", "\x89PNG\x00\x01", []string{"SyntaxError: the recipe is binary"}},
		"NUL":            {"NUL is no text, even inside of UTF-8", "a: \x00b", []string{"SyntaxError: the recipe is binary"}},
		"TooLarge":       {"Size is bounded", strings.Repeat("#", maxBytes+1), []string{"TooLargeError: the recipe has 1048577 bytes"}},
		"TooManyNodes":   {"So is the number of nodes", Recipe(many.String()), []string{"TooLargeError: line 4: the recipe has 5001 nodes"}},
		"TooManyMarks":   {"So is what a few bytes can hold: each of these would be two values", "{" + strings.Repeat("a,", maxMarks) + "}", []string{"TooLargeError: the recipe has 200001 line ends, colons, commas and opening brackets"}},
		"Tab":            {"A tab gets words of its own, since nobody sees it", "a:\n\tb: 1\n", []string{"SyntaxError: line 2: a tab is used to indent"}},
		"NotYAML":        {"The line of a syntax error is told", "a: b\nc: [\n", []string{"SyntaxError: line 2: "}},
		"Scalar":         {"A recipe is a map", "hello\n", []string{"TypeMismatchError: line 1: the recipe is the string \"hello\"; expected a map"}},
		"List":           {"A list is no map", "- a\n", []string{"TypeMismatchError: line 1: the recipe is a list"}},
		"TwoDocuments":   {"A second document would be dropped without a word", "a: 1\n---\nb: 1\n", []string{"SyntaxError: line 2: a second YAML document"}},
		"AfterVersion":   {"A directive moves no line", "%YAML 1.2\n---\n" + Recipe("a: {type: tosca.nodes.Gadget}"), []string{"InvalidTypeError: line 6: node \"a\""}},
		"SecondVersion":  {"A second document may have directives, too", "a: 1\n...\n# more\n%YAML 1.2\n---\nb: 1\n", []string{"SyntaxError: line 4: a second YAML document"}},
		"OtherYAML":      {"YAML 2 may mean anything", "# hi\n%YAML 2.0\n---\na: 1\n", []string{"SyntaxError: line 2: %YAML 2.0 is not known; expected 1.1 or 1.2"}},
		"TwoVersions":    {"A document has one version", "%YAML 1.2\n%YAML 1.2\n---\na: 1\n", []string{"SyntaxError: line 1: found duplicate %YAML directive"}},
		"VersionAlone":   {"A directive needs the start of a document", "%YAML 1.2\na: 1\n", []string{"SyntaxError: line 2: "}},
		"FirstLine":      {"An error on the first line has a line", "a: b: c\n", []string{"SyntaxError: line 1: mapping values are not allowed"}},
		"Control":        {"So has one about a character", "a: b\nc: \x07\n", []string{"SyntaxError: line 2: control characters are not allowed"}},
		"Bomb":           {"Aliases are refused before they are followed", bomb, []string{"SyntaxError: line 1: anchor &a", "SyntaxError: line 2: anchor &b", "SyntaxError: line 3: anchor &c"}},
		"Alias":          {"An alias to nothing is YAML's own error", "a: *b\n", []string{"SyntaxError: unknown anchor 'b'"}},
		"MergeKey":       {"A merge key is a kind of expansion", "<<: {a: 1}\n", []string{"SyntaxError: line 1: a key must be a plain word"}},
		"Tag":            {"Tags made Python build objects", "a: !!python/object/apply:os.system [ls]\n", []string{"SyntaxError: line 1: tag !!python/object"}},
		"ComplexKey":     {"A key is a word", "? [a, b]\n: c\n", []string{"SyntaxError: line 1: a key must be a plain word"}},
		"DuplicateKey":   {"One of two equal keys would be lost", "a: 1\na: 2\n", []string{"DuplicateFieldError: line 2: key \"a\" is given twice, first on line 1"}},
		"DuplicateNodes": {"That goes for nodes as well", Recipe("a: {type: t}\na: {type: t}"), []string{"DuplicateFieldError: line 5: key \"a\""}},
		"TooDeep":        {"Depth is bounded", Recipe(deep.String()), []string{"SyntaxError: line 36: nested deeper than 32 levels"}},
		"NoVersion":      {"The version is required", "topology_template: {node_templates: {a: {type: t}}}\n", []string{"MissingRequiredFieldError: line 1: \"tosca_definitions_version\" is required"}},
		"OtherVersion":   {"Only one version is known", strings.Replace(Recipe(Widget("a")), "yaml_1_0", "yaml_2_0", 1), []string{"InvalidTemplateVersion: line 1: tosca_definitions_version is \"tosca_simple_yaml_2_0\"; expected \"tosca_simple_yaml_1_0\""}},
		"NoTopology":     {"A recipe without nodes does nothing", "tosca_definitions_version: tosca_simple_yaml_1_0\n", []string{"MissingRequiredFieldError: line 1: \"topology_template\""}},
		"NoTemplates":    {"Nodes are below node_templates", "tosca_definitions_version: tosca_simple_yaml_1_0\ntopology_template: {}\n", []string{"MissingRequiredFieldError: line 2: \"node_templates\""}},
		"NoNodes":        {"An empty list of nodes is most likely a mistake", "tosca_definitions_version: tosca_simple_yaml_1_0\ntopology_template: {node_templates: {}}\n", []string{"MissingRequiredFieldError: line 2: node_templates has no node"}},
		"UnknownTop":     {"A misspelt section would be ignored", "import: []\n" + Recipe(Widget("a")), []string{"UnknownFieldError: line 1: unknown field \"import\"; expected one of tosca_definitions_version"}},
		"Inputs":         {"Inputs are not supported and must not be dropped", Recipe(Widget("a")) + "  inputs: {}\n", []string{"UnknownFieldError: line 9: unknown field \"inputs\""}},
		"NodeField":      {"Neither are artifacts", Recipe("a: {type: tosca.nodes.Maker, artifacts: {}}"), []string{"UnknownFieldError: line 4: node \"a\": unknown field \"artifacts\""}},
		"NodeNoMap":      {"A node is a map", Recipe("a: b"), []string{"TypeMismatchError: line 4: node \"a\": a node template is the string \"b\"; expected a map"}},
		"NoType":         {"A node has a type", Recipe("a: {properties: {type: x}}"), []string{"MissingRequiredFieldError: line 4: node \"a\": \"type\" is required"}},
		"TypeList":       {"A type is a name", Recipe("a: {type: [x]}"), []string{"TypeMismatchError: line 4: node \"a\": type: expected a name"}},
		"PropertyList":   {"Properties are a map", Recipe("a: {type: tosca.nodes.Maker, properties: [x]}"), []string{"TypeMismatchError: line 4: node \"a\": properties is a list"}},
		"ImportsMap":     {"Imports are a list", "imports: {}\n" + Recipe(Widget("a")), []string{"TypeMismatchError: line 1: imports: expected a list"}},
		"ImportMap":      {"An import is a path", "imports: [{a: b}]\n" + Recipe(Widget("a")), []string{"ImportError: line 1: expected a path"}},
		"ImportUnknown":  {"Imports are held against the types", "imports: [custom_types/gadget.yaml]\n" + Recipe(Widget("a")), []string{"ImportError: line 1: there is no \"custom_types/gadget.yaml\"; known are: custom_types/book.yaml, custom_types/deadletter.yaml, "}},
		"ImportPath":     {"An import never becomes a path to a file", "imports: [custom_types/../../etc/passwd]\n" + Recipe(Widget("a")), []string{"ImportError: line 1: "}},
		"UnknownType":    {"Types come from the CRDs", Recipe("a: {type: tosca.nodes.Gadget}"), []string{"InvalidTypeError: line 4: node \"a\": type \"tosca.nodes.Gadget\" is not known; known are: tosca.nodes.Book, tosca.nodes.DeadLetter, "}},
		"TypeCase":       {"The kind is spelt as it is", Recipe("a: {type: tosca.nodes.widget}"), []string{"InvalidTypeError: line 4"}},
		"TypePrefix":     {"The prefix belongs to the name", Recipe("a: {type: Widget}"), []string{"InvalidTypeError: line 4"}},
		"UnknownProp":    {"Unknown properties list the known ones", Recipe(Widget("a", "    size: 1")), []string{"UnknownFieldError: line 9: node \"a\": property \"size\": is not known; tosca.nodes.Widget has: anything, base_url, "}},
		"Reported":       {"What steps report cannot be set", Recipe(Widget("a", "    made_by: me")), []string{"UnknownFieldError: line 9: node \"a\": property \"made_by\": cannot be set: it is what the steps of the model report"}},
		"CamelCase":      {"Who writes the name of the field is told the property", Recipe(Widget("a", "    itemCode: AB")), []string{"UnknownFieldError: line 9: node \"a\": property \"itemCode\": is not known; it is written item_code"}},
		"LinkAsProp":     {"A link is no property", Recipe(Widget("a", "    parent: b")), []string{"UnknownFieldError: line 9: node \"a\": property \"parent\": is a link and not a property"}},
		"MissingProps":   {"All that is missing is listed; a default is enough", Recipe("a:\n  type: tosca.nodes.Widget"), []string{"MissingRequiredFieldError: line 4: node \"a\": property \"count\"", "MissingRequiredFieldError: line 4: node \"a\": property \"name\""}},
		"StringInt":      {"A number is no string", Recipe(Widget("a", "    base_url: 5")), []string{"TypeMismatchError: line 9: node \"a\": property \"base_url\": is 5; expected a string (put the value in quotes)"}},
		"StringNull":     {"Nothing is no string", Recipe(Widget("a", "    base_url:")), []string{"TypeMismatchError: line 9: node \"a\": property \"base_url\": is empty; expected a string"}},
		"StringMap":      {"A TOSCA function is no string", Recipe(Widget("a", "    base_url: {get_input: x}")), []string{"TypeMismatchError: line 9: node \"a\": property \"base_url\": is a map"}},
		"IntText":        {"A word is no number", Recipe("a: {type: tosca.nodes.Widget, properties: {name: a, count: many}}"), []string{"TypeMismatchError: line 4: node \"a\": property \"count\": is the string \"many\"; expected an integer"}},
		"IntFloat":       {"A fraction is no integer", Recipe("a: {type: tosca.nodes.Widget, properties: {name: a, count: 1.5}}"), []string{"TypeMismatchError: line 4: node \"a\": property \"count\": is 1.5"}},
		"IntHuge":        {"Numbers have limits", Recipe("a: {type: tosca.nodes.Widget, properties: {name: a, count: 99999999999999999999}}"), []string{"TypeMismatchError: line 4: node \"a\": property \"count\""}},
		"NumberInf":      {"JSON has no infinity", Recipe(Widget("a", "    ratio: .inf")), []string{"TypeMismatchError: line 9: node \"a\": property \"ratio\": is .inf; expected a number"}},
		"BoolText":       {"Maybe is not a boolean", Recipe(Widget("a", "    enabled: maybe")), []string{"TypeMismatchError: line 9: node \"a\": property \"enabled\""}},
		"ListScalar":     {"A list is a list", Recipe(Widget("a", "    tags: x")), []string{"TypeMismatchError: line 9: node \"a\": property \"tags\": is the string \"x\"; expected a list"}},
		"ListItem":       {"Items are checked", Recipe(Widget("a", "    tags: [x, 1]")), []string{"TypeMismatchError: line 9: node \"a\": property \"tags\": [1] is 1; expected a string"}},
		"Nested":         {"So are maps in lists", Recipe(Widget("a", "    ports: [{proto: 1, x: 2}]")), []string{"TypeMismatchError: line 9: node \"a\": property \"ports\": [0].proto is 1", "UnknownFieldError: line 9: node \"a\": property \"ports\": [0].x is not known; known are: portNumber, proto", "MissingRequiredFieldError: line 9: node \"a\": property \"ports\": [0].port_number is required"}},
		"TwoSpellings":   {"A field that is there in two spellings is given twice", Recipe(Widget("a", "    ports: [{portNumber: 1, port_number: 2}]")), []string{"DuplicateFieldError: line 9"}},
		"IntOrString":    {"Neither an integer nor a string", Recipe(Widget("a", "    window: [1]")), []string{"TypeMismatchError: line 9"}},
		"FreeInf":        {"Free form is still JSON", Recipe(Widget("a", "    anything: {x: .nan}")), []string{"TypeMismatchError: line 9: node \"a\": property \"anything\": x is .nan"}},
		"MustExistText":  {"must-exist is a boolean", Recipe(Widget("a", "    must-exist: sure")), []string{"TypeMismatchError: line 9: node \"a\": property \"must-exist\""}},
		"NamePath":       {"A name that tries to be a path", Recipe("a: {type: tosca.nodes.Widget, properties: {name: ../../etc/passwd, count: 1}}"), []string{"InvalidNameError: line 4: node \"a\": property \"name\": \"../../etc/passwd\" looks like a path"}},
		"NameDots":       {"Dots alone are a path, too", Recipe("a: {type: tosca.nodes.Widget, properties: {name: .., count: 1}}"), []string{"InvalidNameError: line 4"}},
		"NameBackslash":  {"So are those of another system", Recipe(`a: {type: tosca.nodes.Widget, properties: {name: 'c:\x', count: 1}}`), []string{"InvalidNameError: line 4"}},
		"NameLong":       {"300 characters", Recipe("a: {type: tosca.nodes.Widget, properties: {name: " + strings.Repeat("x", 300) + ", count: 1}}"), []string{"InvalidNameError: line 4: node \"a\": property \"name\": \"xxxx"}},
		"NameBlank":      {"A blank name is none", Recipe("a: {type: tosca.nodes.Widget, properties: {name: ' ', count: 1}}"), []string{"InvalidNameError: line 4: node \"a\": property \"name\": \" \" is blank"}},
		"NameControl":    {"A name with a line break would fake lines of a log", Recipe("a: {type: tosca.nodes.Widget, properties: {name: \"a\\nb\", count: 1}}"), []string{"InvalidNameError: line 4"}},
		"NodeNamePath":   {"Nodes are named by the same rules", Recipe("../a: {type: tosca.nodes.Maker}"), []string{"InvalidNameError: line 4: node name \"../a\" looks like a path"}},
		"SameModel":      {"Two nodes that are one model", Recipe(Widget("a") + "\n" + strings.Replace(Widget("b"), "name: b", "name: a", 1)), []string{"DuplicateNodeError: line 10: node \"b\": it is the same Widget \"a\" as node \"a\" on line 4"}},
		"Collision":      {"Two names that become one object", Recipe(strings.Replace(Widget("a"), "name: a", "name: A B", 1) + "\n" + strings.Replace(Widget("b"), "name: b", "name: a-b", 1)), []string{"NameCollisionError: line 10: node \"b\": \"a-b\" and \"A B\" (node \"a\" on line 4) would both become the object a-b"}},
		"ReqMap":         {"Requirements are a list", Recipe(Widget("a") + "  requirements: {parent: b}"), []string{"TypeMismatchError: line 9: node \"a\": requirements: expected a list"}},
		"ReqTwoKeys":     {"Each of one requirement", Recipe(Widget("a") + "  requirements: [{parent: b, maker: c}]"), []string{"TypeMismatchError: line 9"}},
		"ReqList":        {"A requirement is a name or a map", Recipe(Widget("a") + "  requirements: [{parent: [b]}]"), []string{"TypeMismatchError: line 9: node \"a\": property \"parent\""}},
		"ReqNoNode":      {"A requirement names a node", Recipe(Widget("a") + "  requirements: [{parent: {relationship: tosca.relationships.BelongsToOne}}]"), []string{"MissingRequiredFieldError: line 9: node \"a\": property \"parent\": the requirement names no node"}},
		"ReqField":       {"And nothing that is not known", Recipe(Widget("a") + "  requirements: [{parent: {node: a, capability: x}}]"), []string{"UnknownFieldError: line 9: node \"a\": property \"parent\": unknown field \"capability\""}},
		"ReqUnknown":     {"Requirements come from depends-on", Recipe(Widget("a") + "  requirements: [{owner: a}]"), []string{"UnknownFieldError: line 9: node \"a\": property \"owner\": is not a requirement that tosca.nodes.Widget can have; it has: parent, maker"}},
		"ReqTwice":       {"A link has one end", Recipe(Widget("a") + "  requirements: [{maker: m}, {maker: m}]\nm: {type: tosca.nodes.Maker}"), []string{"DuplicateFieldError: line 9: node \"a\": property \"maker\""}},
		"ReqRelation":    {"Relationships are known", Recipe(Widget("a") + "  requirements: [{maker: {node: m, relationship: tosca.relationships.Likes}}]\nm: {type: tosca.nodes.Maker}"), []string{"InvalidTypeError: line 9: node \"a\": property \"maker\": relationship \"tosca.relationships.Likes\""}},
		"ReqNowhere":     {"The target is a node of the recipe", Recipe(Widget("a") + "  requirements: [{maker: m}]"), []string{"UnknownNodeError: line 9: node \"a\": property \"maker\": there is no node \"m\" in the recipe"}},
		"ReqKind":        {"And of the kind that is depended on", Recipe(Widget("a") + "  requirements: [{maker: b}]\n" + Widget("b")), []string{"TypeMismatchError: line 9: node \"a\": property \"maker\": node \"b\" is a Widget.example.com; expected a Maker.makers.example.com"}},
		"Self":           {"A node cannot require itself", Recipe(Widget("a") + "  requirements: [{parent: a}]"), []string{"CycleError: line 4: node \"a\": the node requires itself: a, a"}},
		"Cycle":          {"Nor by way of another; who merely requires one of them is not named", Recipe(Widget("a") + "  requirements: [{parent: b}]\n" + Widget("b") + "  requirements: [{parent: c}]\n" + Widget("c") + "  requirements: [{parent: b}]"), []string{"CycleError: line 10: node \"b\": the node requires itself: b, c, b"}},
	}
}
