package xos_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/tosca"
	"github.com/xos-knative/synchronizer/pkg/tosca/upload"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/xos"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/xproto"
)

const root = "../../.."

// service is a directory of testdata, with the steps of its kinds and what they depend on, by Kind.
type service struct {
	name  string
	files []string
	kinds map[string]string
}

func services() []service {
	return []service{
		{"testservice", []string{"testservice"}, map[string]string{
			"TestserviceService": "", "TestserviceServiceInstance": "sync,policy TestserviceService.testservice.example.com=spec.owner.name",
			"TestserviceDuplicateServiceInstance": "TestserviceServiceInstance.testservice.example.com=spec.serviceinstance.name"}},
		{"simpleexampleservice", []string{"simpleexampleservice"}, map[string]string{
			"SimpleExampleService": "", "ColorNew": "",
			"SimpleExampleServiceInstance": "policy SimpleExampleService.simpleexampleservice.example.com=spec.owner.name, " +
				"ColorNew.simpleexampleservice.example.com=spec.foregroundColor.name, ColorNew.simpleexampleservice.example.com=spec.backgroundColor.name",
			"EmbeddedImageNew": "SimpleExampleServiceInstance.simpleexampleservice.example.com=spec.serviceinstance.name"}},
		{"att-workflow-driver", []string{"att-workflow-driver"}, map[string]string{
			"AttWorkflowDriverService": "", "AttWorkflowDriverServiceInstance": "policy AttWorkflowDriverService.att-workflow-driver.example.com=spec.owner.name",
			"AttWorkflowDriverWhiteListEntry": "AttWorkflowDriverService.att-workflow-driver.example.com=spec.owner.name"}},
		{"everything", []string{"everything", "core"}, map[string]string{
			"Site": "", "Empty": "", "Account": "Tenant.core.example.com=spec.tenant.name",
			"Slice": "sync Site.every-thing.example.com=spec.site.name, Account.every-thing.example.com=spec.creator.name"}},
	}
}

// parse reads files of testdata.
func parse(t *testing.T, dir string, names ...string) []*xproto.File {
	t.Helper()
	var files []*xproto.File
	for _, name := range names {
		file := filepath.Join("testdata", dir, name+".xproto")
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := xproto.Parse(file, src)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// config is the configuration of a directory of testdata, nil if it has none.
func config(t *testing.T, dir string) *xos.Config {
	t.Helper()
	src, err := os.ReadFile(filepath.Join("testdata", dir, "config.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := xos.ParseConfig("config.yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// module makes a module of somebody who uses this project.
func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "go.mod" {
			const this = "github.com/xos-knative/synchronizer"
			content = bytes.Replace(content, []byte("module "+this), []byte("module example.com/author"), 1)
			content = fmt.Appendf(content, "\nrequire %s v0.0.0\n\nreplace %[1]s => %s\n", this, absolute)
		}
		write(t, filepath.Join(dir, name), content)
	}
	return dir
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// The models of services of XOS become Go types that compile, definitions that the API takes, and kinds for which
// recipes of XOS work as they are.
func TestServices(t *testing.T) {
	dir := module(t)
	for _, s := range services() {
		r, err := xos.Convert(parse(t, s.name, s.files...), xos.Options{Domain: "example.com", Config: config(t, s.name)})
		if err != nil {
			t.Fatal(err)
		}
		for file, content := range r.Files {
			write(t, filepath.Join(dir, s.name, file), content)
		}
	}
	run(t, dir, "tool", "controller-gen", "object", "crd:allowDangerousTypes=true,generateEmbeddedObjectMeta=false", "paths=./...", "output:crd:dir=crds")
	run(t, dir, "vet", "./...")
	api := kubeapitest.StartServer(t, kubeapi.Options{CRDs: []string{filepath.Join(dir, "crds")}, Tokens: map[string]string{"token": "somebody"}})
	got := kinds(t, api.Config())
	for _, s := range services() {
		t.Run(s.name, func(t *testing.T) {
			for kind, want := range s.kinds {
				if k, ok := got[kind]; !ok || k != want {
					t.Errorf("%s: want its steps and dependencies to be %q, got %q, %t", kind, want, k, ok)
				}
			}
			recipe(t, api.Config(), filepath.Join("testdata", s.name, "recipe.yaml"))
		})
	}
	t.Run("rules", func(t *testing.T) { rules(t, api.Config()) })
}

// rules checks that the API refuses what XOS refused.
func rules(t *testing.T, config *rest.Config) {
	src, err := os.ReadFile("testdata/everything/recipe.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const another = "another: {type: tosca.nodes.Account, properties: {user: another}}\n    slice:"
	for want, changes := range map[string][]string{
		"Slice a b has blanks, and must not": {"name: slice-1", "name: a b"},
		"Slice name is too long":             {"name: slice-1", "name: slice-1-of-a-long-name"},
		// With one account only, that would be the creator.
		"Slice at here has no creator":       {"- creator: someone", "", "slice:", another},
		"{obj.cores} cores are not 3":        {"cores: 3", "cores: 4"},
		"less than or equal to 64":           {"cores: 3", "cores: 65"},
		"among":                              {"{name: here}", "{name: there}"},
		"must be an IP address":              {"address: 10.0.0.1", "address: here"},
		"must not begin or end with a blank": {"name: Here", `name: "Here "`},
		"uri":                                {"http://www.example.com/", "www example com"},
		"VERY_SLOW":                          {"mode: VERY_SLOW", "mode: SLOW"},
		"greater than or equal to 0":         {"object_id: 4294967295", "object_id: -1"},
		"5":                                  {"tags: [a, b]", "tags: [toolong]"},
		"here":                               {"[{name: here}]", "[{name: here}, {name: here}]"},
	} {
		changed := strings.NewReplacer(changes...).Replace(string(src))
		if changed == string(src) {
			t.Errorf("the recipe has no %q", changes[0])
		}
		u, nodes := check(t, config, []byte(changed))
		_, errs, err := u.Plan(t.Context(), nodes)
		if err != nil {
			t.Fatal(err)
		}
		if err := errs.OrNil(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want an error with %q, got %v", changes, want, err)
		}
	}
}

// kinds are the models that the API has, with their steps and what they depend on.
func kinds(t *testing.T, config *rest.Config) map[string]string {
	t.Helper()
	client, err := apiextensionsclient.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	crds, err := client.CustomResourceDefinitions().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, crd := range crds.Items {
		if !strings.HasSuffix(crd.Spec.Group, ".example.com") {
			continue
		}
		k, err := model.ParseKind(&crd)
		if err != nil {
			t.Error(err)
			continue
		}
		var dependsOn []string
		for _, d := range k.DependsOn {
			dependsOn = append(dependsOn, d.GroupKind.String()+"="+d.Path)
			if !slices.Contains(k.Selectable, d.Path) {
				t.Errorf("%s: want lists to be filtered by %s", k.GVK.Kind, d.Path)
			}
		}
		steps := strings.NewReplacer("[", "", "]", "", " ", ",").Replace(fmt.Sprint(k.Steps))
		got[k.GVK.Kind] = strings.TrimSpace(steps + " " + strings.Join(dependsOn, ", "))
	}
	return got
}

// check parses a recipe and holds it against the types that the API has.
func check(t *testing.T, config *rest.Config, src []byte) (*upload.Uploader, []*tosca.Node) {
	t.Helper()
	u, err := upload.New(config, "token")
	if err != nil {
		t.Fatal(err)
	}
	types, err := u.Types(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := tosca.Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	nodes, errs := tosca.Check(parsed, types)
	if err := errs.OrNil(); err != nil {
		t.Fatal(err)
	}
	return u.In(kubeapitest.Namespace(t)), nodes
}

// recipe uploads a recipe, twice: then there is nothing to do.
func recipe(t *testing.T, config *rest.Config, file string) {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	u, nodes := check(t, config, src)
	for _, want := range []int{len(nodes), 0} {
		plan, errs, err := u.Plan(t.Context(), nodes)
		if err == nil {
			err = errs.OrNil()
		}
		if err != nil {
			t.Fatal(err)
		}
		if plan.Writes() != want {
			t.Errorf("want %d objects to be written, got %d", want, plan.Writes())
		}
		if err := u.Apply(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
	}
}
