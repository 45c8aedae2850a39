package tosca

import "gopkg.in/yaml.v3"

// Limits of a recipe. They are far above what people write and low enough that no recipe can hurt the function.
const (
	// MaxBytes is the size of a recipe: 1 MiB, as much as Kubernetes would take for one object by default.
	MaxBytes = 1 << 20

	// MaxMarks is how many of YAML's marks (line ends, colons, commas, opening brackets and braces) a recipe may have,
	// wherever they stand. Each can begin a value, for which yaml.v3 takes some 200 bytes before it can be looked at.
	// The largest recipe of MaxNodes has some 30 for each.
	MaxMarks = 200_000

	// MaxNodes is how many node templates one recipe may have.
	MaxNodes = 5000

	// MaxDepth is how deep maps and lists may be nested.
	MaxDepth = 32

	// MaxErrors is how many errors are listed; a file that is wrong everywhere is not worth a longer answer.
	MaxErrors = 100

	// MaxName is the length of a name in bytes, of node templates and of models: what Kubernetes allows for an object.
	MaxName = 253
)

// Version is the one template version that XOS knew, and that is known here.
const Version = "tosca_simple_yaml_1_0"

// Recipe is a TOSCA template as it was written; nothing in it has been held against node types yet.
type Recipe struct {
	Description string
	Imports     []Import
	Nodes       []*NodeTemplate
}

// Import is one entry of the list of imports.
type Import struct {
	Path string
	Line int
}

// NodeTemplate is one entry of node_templates.
type NodeTemplate struct {
	Name string
	// Type is the full name, such as tosca.nodes.Kind.
	Type         string
	TypeLine     int
	Line         int
	Properties   []Property
	Requirements []Requirement
}

// Property is a property with the YAML of its value, which is free of anchors, aliases and tags.
type Property struct {
	Name  string
	Value *yaml.Node
	Line  int
}

// Requirement is a link to another node of the recipe.
type Requirement struct {
	Name string
	Node string
	// Relationship is empty in TOSCA's short notation (`- owner: service`).
	Relationship string
	Line         int
}
