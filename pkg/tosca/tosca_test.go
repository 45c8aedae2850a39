package tosca

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/tosca/toscatest"
)

// crdFiles are the models that the tests know.
var crdFiles = []string{"testdata/crds/*.yaml", "../../config/core/crds/*.yaml", "../testdata/library/config/crds/*.yaml"}

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
	cases := toscatest.BadRecipes()
	if len(cases) < 40 {
		t.Fatalf("the table has %d bad recipes; 40 were promised", len(cases))
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := check(t, tc.Recipe)
			if err == nil {
				t.Fatalf("%s: the recipe was taken", tc.Reason)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tc.Want) {
				t.Fatalf("%s: want %d errors, got:\n%v", tc.Reason, len(tc.Want), err)
			}
			for i, want := range tc.Want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("%s:\nwant %s...\ngot  %s", tc.Reason, want, lines[i])
				}
			}
		})
	}
}

// What may stand around the one document of a recipe, as PyYAML takes it.
func TestDirectives(t *testing.T) {
	good := toscatest.Recipe(toscatest.Widget("a", "    base_url: \"%YAML 1.2\"\n"))
	cases := map[string]struct{ before, after string }{
		"1.1":       {before: "%YAML 1.1\n---\n"},
		"1.2":       {before: "%YAML 1.2\n---\n"},
		"Later":     {before: "%YAML   1.10 # the newest\n---\n"},
		"Windows":   {before: "%YAML 1.2\r\n---\r\n"},
		"BOM":       {before: "\ufeff"},
		"BOMBefore": {before: "\ufeff%YAML 1.2\n---\n"},
		"Comments":  {before: "# a\n\n  # b\n%YAML 1.2\n# c\n--- # d\n"},
		"Tag":       {before: "%TAG !x! tag:example.com,2026:\n%YAML 1.2\n---\n"},
		"Start":     {before: "---\n"},
		"End":       {after: "...\n"},
		"Both":      {before: "%YAML 1.2\n---\n", after: "... # end\n# bye\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			nodes, err := check(t, tc.before+good+tc.after)
			if err != nil || len(nodes) != 1 {
				t.Fatalf("the recipe is in order, got %v", err)
			}
			if want := 4 + strings.Count(tc.before, "\n"); nodes[0].Line != want {
				t.Errorf("want the node on line %d, got %d", want, nodes[0].Line)
			}
			if f := nodes[0].Fields; !slices.ContainsFunc(f, func(f Field) bool { return f.Value == "%YAML 1.2" }) {
				t.Errorf("a value stays as it is: %v", f)
			}
		})
	}
}

func TestErrorsAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "n%d: {type: tosca.nodes.Gadget}\n", i)
	}
	_, err := check(t, toscatest.Recipe(b.String()))
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
			nodes, err := check(t, toscatest.Recipe(toscatest.Widget("a", "    "+tc.in)))
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
	text := toscatest.Recipe("z: {type: tosca.nodes.Maker}\n" +
		toscatest.Widget("d") + "  requirements:\n  - parent: {node: b, relationship: tosca.relationships.BelongsToOne}\n  - maker: z\n" +
		toscatest.Widget("b") + "  requirements:\n  - parent: {node: c, relationship: tosca.relationships.ManyToOne}\n" +
		toscatest.Widget("c") + toscatest.Widget("a", "    must-exist: true\n") + "e:\n  type: tosca.nodes.Widget\n  properties: {name: a, must-exist: yes}")
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
	r, err := Parse([]byte(toscatest.Recipe(toscatest.Widget("bad", "    size: 1\n") + toscatest.Widget("child") + "  requirements: [{parent: bad}]\n" + toscatest.Widget("good"))))
	if err != nil {
		t.Fatal(err)
	}
	nodes, errs := Check(r, testTypes(t))
	if len(errs) != 1 || len(nodes) != 1 || nodes[0].Name != "good" {
		t.Errorf("want one error and the node that has nothing to do with it, got %v and %d nodes", errs, len(nodes))
	}
}

func TestSnake(t *testing.T) {
	for in, want := range map[string]string{"itemCode": "item_code", "name": "name", "baseURL": "base_url", "URLPath": "url_path", "x2Y": "x2_y", "a_b": "a_b", "": ""} {
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

	want := []string{"book", "deadletter", "maker.makers.example.com", "maker.other.com", "servicegraphconstraint", "shared", "shelf", "widget"}
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
	for id, file := range map[string]string{"widget": "testdata/widget.golden.yaml", "book": "testdata/book.golden.yaml"} {
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
			t.Errorf("%s: -want +got (UPDATE_GOLDEN=1 writes the file again):\n%s", file, diff)
		}
	}
}

func TestRecipesOfXOS(t *testing.T) {
	for file, want := range map[string][]string{
		"library.yml":      {"constraints", "shelf", "volume"},
		"library-more.yml": {"constraints", "volume1", "volume2"},
	} {
		raw, err := os.ReadFile("testdata/recipes/" + file)
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

func TestKey(t *testing.T) {
	for name, test := range map[string]struct {
		reason, annotation, want string
		required                 []string
	}{
		"name":   {"without an annotation it is the display name", "", "name", []string{"name"}},
		"other":  {"the annotation names another field", "serialNumber", "serial_number", []string{"serial_number"}},
		"number": {"a key is text", "port", "", nil},
		"none":   {"a field that is not there is none", "mac", "", nil},
		"two":    {"two fields are no key here, and the name need not be given", "serialNumber,port", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			crds := readCRDs(t)
			i := slices.IndexFunc(crds, func(c apiextensionsv1.CustomResourceDefinition) bool { return c.Spec.Names.Kind == "Maker" })
			crd := crds[i].DeepCopy()
			if test.annotation != "" {
				crd.Annotations = map[string]string{model.AnnotationKey: test.annotation}
			}
			crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] = apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
				"name": {Type: "string"}, "serialNumber": {Type: "string"}, "port": {Type: "integer"},
			}}
			typ := TypesFromCRDs([]apiextensionsv1.CustomResourceDefinition{*crd}).ByID("maker")
			key := ""
			if typ.Key != nil {
				key = typ.Key.Name
			}
			var required []string
			for _, p := range typ.Properties {
				if p.Required {
					required = append(required, p.Name)
				}
			}
			if key != test.want || !slices.Equal(required, test.required) {
				t.Errorf("%s: want key %q and required %q, got %q and %q", test.reason, test.want, test.required, key, required)
			}
		})
	}
}
