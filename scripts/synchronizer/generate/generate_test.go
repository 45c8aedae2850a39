package generate_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/xos-knative/synchronizer/scripts/synchronizer/generate"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/scaffold"
)

// project is a repository with a model that has a sync step, and a pull step.
type project struct {
	*testing.T
	dir string
}

func newProject(t *testing.T) project {
	t.Helper()
	p := project{t, filepath.Join(t.TempDir(), "dns")}
	if err := scaffold.Init(t.Context(), scaffold.Repository{Dir: p.dir, Group: "dns.example.com", Checkout: "../../.."}); err != nil {
		t.Fatal(err)
	}
	author, err := scaffold.In(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := author.AddModel("Zone", []string{"sync"}, nil); err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"sync", "pull"} {
		if _, err := author.AddStep(step, "Zone", ""); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// run makes everything, and returns what was not up to date.
func (p project) run(check bool) []string {
	p.Helper()
	changed, err := generate.Run(p.Context(), p.dir, check)
	if err != nil {
		p.Fatal(err)
	}
	return changed
}

func (p project) read(path string) string {
	p.Helper()
	content, err := os.ReadFile(filepath.Join(p.dir, path))
	if err != nil {
		p.Fatal(err)
	}
	return string(content)
}

func (p project) write(path, content string) {
	p.Helper()
	path = filepath.Join(p.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		p.Fatal(err)
	}
}

func (p project) has(path string, parts ...string) {
	p.Helper()
	content := p.read(path)
	for _, part := range parts {
		if !strings.Contains(content, part) {
			p.Errorf("%s: expected %q, got\n%s", path, part, content)
		}
	}
}

func TestWhatIsMadeFollowsTheCode(t *testing.T) {
	p := newProject(t)
	made := p.run(false)
	for _, path := range []string{
		"api/v1alpha1/zz_generated.deepcopy.go", "api/v1alpha1/zz_generated.register.go", "config/00-namespace.yaml",
		"config/crds/dns.example.com_zones.yaml", "config/pull.yaml", "config/rights.yaml", "config/sync.yaml",
		"eventing/pingsource-pull.yaml", "eventing/trigger-sync.yaml",
	} {
		if !slices.Contains(made, path) {
			t.Errorf("expected %s to be made, got %q", path, made)
		}
	}
	if again := p.run(true); len(again) > 0 {
		t.Errorf("made of the same, the same comes out: got other %q", again)
	}

	p.write("config/zones.yaml", "# The micro-service: not made here.\n")
	p.write("sync/settings.go", `package main

// +synchronizer:env:name=DNS_URL,value="http://dns.dns.svc.cluster.local"
// +kubebuilder:rbac:groups=dns.example.com,resources=zones,verbs=delete
`)
	p.write("patches/sync.yaml", `apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: sync, namespace: dns}
spec:
  template:
    spec:
      containers:
      - name: user-container
        resources: {limits: {memory: 1Gi}}
`)
	if err := os.RemoveAll(filepath.Join(p.dir, "pull")); err != nil {
		t.Fatal(err)
	}
	before := p.read("config/sync.yaml")
	out := p.run(true)
	for _, path := range []string{"config/sync.yaml", "config/pull.yaml", "eventing/pingsource-pull.yaml", "config/kustomization.yml"} {
		if !slices.Contains(out, path) {
			t.Errorf("check: expected that %s is not up to date, got %q", path, out)
		}
	}
	if p.read("config/sync.yaml") != before || p.read("config/pull.yaml") == "" {
		t.Error("check: expected that it changes nothing")
	}
	p.run(false)
	p.has("config/sync.yaml", "- name: DNS_URL\n          value: http://dns.dns.svc.cluster.local\n", "resources: [zones]\n  verbs: [delete]", "memory: 1Gi", "cpu: 75m")
	p.has("config/kustomization.yml", "- sync.yaml", "- zones.yaml")
	for _, path := range []string{"config/pull.yaml", "eventing/pingsource-pull.yaml"} {
		if _, err := os.Stat(filepath.Join(p.dir, path)); err == nil {
			t.Errorf("the function is gone: expected that %s goes with it", path)
		}
	}
	if again := p.run(true); len(again) > 0 {
		t.Errorf("made of the same, the same comes out, with patches, too: got other %q", again)
	}
}

func TestWhatCannotBeMadeIsSaid(t *testing.T) {
	for name, test := range map[string]struct {
		file, content, want string
	}{
		"name":         {"synchronizer.yaml", "name: My_DNS\n", `synchronizer.yaml: name: expected the name of a namespace, got "My_DNS"`},
		"field":        {"synchronizer.yaml", "name: dns\nnames: dns\n", `unknown field "names"`},
		"syntax":       {"api/v1alpha1/zone.go", "package v1alpha1\n\ntype Zone struct {\n", "zone.go:3:20"},
		"group":        {"api/v1alpha1/doc.go", "package v1alpha1\n", "expected a marker // +groupName=GROUP"},
		"code":         {"sync/zone.go", "package main\n\nvar Zone = 1\n", "sync/main.go:"},
		"patch":        {"patches/p.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n", "patches/p.yaml: expected something that is made here, got Namespace /other of v1"},
		"no patch":     {"patches/p.yaml", "name: other\n", "patches/p.yaml: expected apiVersion, kind and metadata.name"},
		"marker":       {"sync/m.go", "package main\n\n// +synchronizer:env:name=A\n", "example.com/dns/sync: +synchronizer:env:name=A: [missing argument \"value\""},
		"other rights": {"sync/m.go", "package main\n\n// +kubebuilder:rbac:groups=a,resources=b,verbs=get,namespace=other\n", `expected rights in namespace dns, got namespace "other"`},
		"setting": {"sync/main.go", `package main

import (
	"context"

	"example.com/dns/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

func steps(context.Context, *model.Client) ([]step.Registration, error) {
	_, err := function.Env[struct {
		URL string ` + "`envconfig:\"DNS_URL\" required:\"true\"`" + `
	}]()
	return []step.Registration{step.Sync(Zone{})}, err
}

func main() { step.Main("sync", steps, v1alpha1.AddToScheme) }
`, "DNS_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			p.write(test.file, test.content)
			if _, err := generate.Run(t.Context(), p.dir, false); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("expected an error with %q, got %v", test.want, err)
			}
		})
	}
	if _, err := generate.Run(t.Context(), t.TempDir(), false); err == nil || !strings.Contains(err.Error(), "expected a project, with a file synchronizer.yaml") {
		t.Errorf("no project: got %v", err)
	}
}
