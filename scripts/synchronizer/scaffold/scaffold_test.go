package scaffold_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xos-knative/synchronizer/scripts/synchronizer/scaffold"
)

// root is the checkout that the repositories of the tests are built with.
const root = "../../.."

func repository(t *testing.T) (string, *scaffold.Author) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dns")
	if err := scaffold.Init(t.Context(), scaffold.Repository{Dir: dir, Group: "dns.example.com", Checkout: root}); err != nil {
		t.Fatal(err)
	}
	author, err := scaffold.In(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, author
}

func TestInitRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		reason string
		change func(*scaffold.Repository)
		want   string
	}{
		"name":     {"the name is that of a namespace", func(r *scaffold.Repository) { r.Dir = filepath.Join(r.Dir, "My_DNS") }, `NAME: expected one that can be the name of a namespace, got "My_DNS"`},
		"group":    {"a group has a dot", func(r *scaffold.Repository) { r.Group = "dns" }, `--group: expected the API group of the models, such as dns.example.com, got "dns"`},
		"module":   {"a module path is checked", func(r *scaffold.Repository) { r.Module = "a b" }, "--module: expected the path of a Go module"},
		"checkout": {"a checkout is that of the framework", func(r *scaffold.Repository) { r.Checkout = "." }, "--framework: expected a directory with the module github.com/xos-knative/synchronizer"},
		"none":     {"a program that is not published does not know its version", func(r *scaffold.Repository) { r.Checkout = "" }, "say with --framework DIRECTORY"},
	} {
		t.Run(name, func(t *testing.T) {
			r := scaffold.Repository{Dir: filepath.Join(t.TempDir(), "dns"), Group: "dns.example.com", Checkout: root}
			test.change(&r)
			if err := scaffold.Init(t.Context(), r); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: expected an error with %q, got %v", test.reason, test.want, err)
			}
			if _, err := os.Stat(r.Dir); err == nil {
				t.Errorf("%s: expected that nothing is made", test.reason)
			}
		})
	}
	dir, _ := repository(t)
	err := scaffold.Init(t.Context(), scaffold.Repository{Dir: dir, Group: "dns.example.com", Checkout: root})
	if err == nil || !strings.Contains(err.Error(), "expected a new or an empty directory") {
		t.Errorf("a repository that is there stays: got %v", err)
	}
}

func TestAddRefuses(t *testing.T) {
	_, author := repository(t)
	if _, err := author.AddModel("Record", []string{"sync"}, nil); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		add  func() error
		want string
	}{
		"kind":       {func() error { _, err := author.AddModel("record", nil, nil); return err }, `KIND: expected a name like AccessDevice, which is not that of a list, got "record"`},
		"list":       {func() error { _, err := author.AddModel("RecordList", nil, nil); return err }, "which is not that of a list"},
		"steps":      {func() error { _, err := author.AddModel("Zone", []string{"pull"}, nil); return err }, `--steps: expected sync, policy or sync,policy, got "pull"`},
		"depends":    {func() error { _, err := author.AddModel("Zone", nil, []string{"Record"}); return err }, `--depends-on: expected Kind=spec.FIELD.name, such as Zone=spec.zone.name, got "Record"`},
		"twice":      {func() error { _, err := author.AddModel("Record", nil, nil); return err }, "record.go is there already"},
		"step":       {func() error { _, err := author.AddStep("push", "Record", ""); return err }, `STEP: expected sync, policy, pull, event, got "push"`},
		"no model":   {func() error { _, err := author.AddStep("sync", "Zone", ""); return err }, `KIND: expected a model in api/v1alpha1, got "Zone"`},
		"no type":    {func() error { _, err := author.AddStep("event", "Record", ""); return err }, "--type: expected the type of the events"},
		"type twice": {func() error { _, err := author.AddStep("pull", "Record", "a.b"); return err }, "--type: expected the type of the events"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.add(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("expected an error with %q, got %v", test.want, err)
			}
		})
	}
}

// TestAStepIsDeclared adds steps to models that have others, or none.
func TestAStepIsDeclared(t *testing.T) {
	const marker = `/steps=`
	for name, test := range map[string]struct {
		before []string
		add    []string
		want   string
	}{
		"none":   {nil, []string{"policy"}, marker + `policy"`},
		"both":   {nil, []string{"sync", "policy"}, marker + `sync,policy"`},
		"second": {[]string{"sync"}, []string{"policy"}, marker + `sync,policy"`},
		"same":   {[]string{"sync"}, []string{"sync"}, marker + `sync"`},
		"pull":   {[]string{"sync"}, []string{"pull"}, marker + `sync"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir, author := repository(t)
			path, err := author.AddModel("Record", test.before, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range test.add {
				if _, err := author.AddStep(step, "Record", ""); err != nil {
					t.Fatal(err)
				}
			}
			content, err := os.ReadFile(filepath.Join(dir, path))
			if err != nil || !strings.Contains(string(content), test.want) || strings.Count(string(content), marker) != 1 {
				t.Errorf("expected %s once, got %v\n%s", test.want, err, content)
			}
		})
	}
}

// TestAnAuthorsMainIsKept adds steps to functions in the forms that authors write.
func TestAnAuthorsMainIsKept(t *testing.T) {
	const begin = "package main\n\nimport \"github.com/xos-knative/synchronizer/pkg/step\"\n\n"
	for name, test := range map[string]struct {
		reason, main, want string
	}{
		"of": {"the scaffold's form", "var steps = step.Of(\n\tstep.Sync(A{}),\n)\n",
			"var steps = step.Of(\n\tstep.Sync(A{}),\n\tstep.Sync[*v1alpha1.Record](Record{}),\n)\n"},
		"one line": {"on one line", "var steps = step.Of(step.Sync(A{}))\n",
			"var steps = step.Of(step.Sync(A{}),\n\tstep.Sync[*v1alpha1.Record](Record{}),\n)\n"},
		"settings": {"steps with settings", "func steps() ([]step.Registration, error) {\n\treturn []step.Registration{step.Sync(A{b})}, nil // Keep.\n}\n",
			"func steps() ([]step.Registration, error) {\n\treturn []step.Registration{step.Sync(A{b}),\n\t\tstep.Sync[*v1alpha1.Record](Record{}),\n\t}, nil // Keep.\n}\n"},
		"empty": {"no step is left", "var steps = step.Of()\n",
			"var steps = step.Of(\n\tstep.Sync[*v1alpha1.Record](Record{}),\n)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, author := repository(t)
			main := filepath.Join(dir, "sync", "main.go")
			if err := os.MkdirAll(filepath.Dir(main), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(main, []byte(begin+test.main), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := author.AddModel("Record", []string{"sync"}, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := author.AddStep("sync", "Record", ""); err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(main)
			if err != nil {
				t.Fatal(err)
			}
			if string(content) != begin+test.want {
				t.Errorf("%s: expected\n%s\ngot\n%s", test.reason, begin+test.want, content)
			}
		})
	}
}
