package generate

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/format"
	"io"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-tools/pkg/crd"
	"sigs.k8s.io/controller-tools/pkg/deepcopy"
	"sigs.k8s.io/controller-tools/pkg/genall"
	"sigs.k8s.io/controller-tools/pkg/loader"
	"sigs.k8s.io/controller-tools/pkg/markers"
	"sigs.k8s.io/yaml"

	"github.com/xos-knative/synchronizer/pkg/model"
)

const (
	markerRoot  = "kubebuilder:object:root"
	markerGroup = "groupName"
	markerAlias = "versionName"
)

// types makes what comes from the Go types of the models, and returns the models.
func (g *generator) types() ([]*model.Kind, error) {
	rt, err := g.load()
	if err != nil {
		return nil, err
	}
	changed := false
	for _, pkg := range rt.Roots {
		source, err := g.registration(rt.Collector, pkg)
		if err != nil {
			return nil, err
		}
		wrote, err := g.write(filepath.Join(directory(pkg), "zz_generated.register.go"), source)
		if err != nil {
			return nil, err
		}
		changed = changed || wrote
	}
	if changed { // The lists need deep copies, too.
		if rt, err = g.load(); err != nil {
			return nil, err
		}
	}
	made := &artifacts{}
	rt.OutputRules.Default = made
	var problems bytes.Buffer
	rt.ErrorWriter = &problems
	if rt.Run() || problems.Len() > 0 {
		return nil, errors.Join(fmt.Errorf("the types of the models cannot be read:\n%s", strings.TrimSpace(problems.String())), problemsOf(rt.Roots))
	}
	for path, content := range made.code {
		if _, err := g.write(path, content.Bytes()); err != nil {
			return nil, err
		}
	}
	return g.definitions(made.definitions)
}

// load loads the packages below api/, for controller-gen.
func (g *generator) load() (*genall.Runtime, error) {
	var (
		copies genall.Generator = deepcopy.Generator{}
		// The dangerous types are floats, which models of XOS have.
		crds genall.Generator = crd.Generator{AllowDangerousTypes: ptr.To(true), GenerateEmbeddedObjectMeta: ptr.To(false)}
	)
	rt, err := genall.Generators{&copies, &crds}.ForRootsWithConfig(&packages.Config{Dir: g.project.dir, Fset: g.positions}, "./api/...")
	if err != nil {
		return nil, fmt.Errorf("loading the types of the models in %s: %w", filepath.Join(g.project.dir, "api"), err)
	}
	return rt, problemsOf(rt.Roots)
}

// problemsOf are the syntax errors of packages. Type errors are left to the compiler: what is going to be made may be
// missing still.
func problemsOf(pkgs []*loader.Package) error {
	var errs []error
	for _, pkg := range pkgs {
		for _, err := range pkg.Errors {
			if err.Kind != packages.TypeError {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func directory(pkg *loader.Package) string {
	return filepath.Dir(pkg.CompiledGoFiles[0])
}

// registration is the Go code that registers the models of a package, with their lists.
func (g *generator) registration(collector *markers.Collector, pkg *loader.Package) ([]byte, error) {
	ofPackage, err := markers.PackageMarkers(collector, pkg)
	if err := errors.Join(err, problemsOf([]*loader.Package{pkg})); err != nil {
		return nil, err
	}
	group, _ := ofPackage.Get(markerGroup).(string)
	if group == "" {
		return nil, fmt.Errorf("%s: expected a marker // +groupName=GROUP before the package clause of a file, got none", directory(pkg))
	}
	alias, _ := ofPackage.Get(markerAlias).(string)
	data := struct {
		Package, Group, Version string
		Kinds, Lists            []string
	}{Package: pkg.Name, Group: group, Version: cmp.Or(alias, pkg.Name)}
	known := map[string]bool{}
	err = markers.EachType(collector, pkg, func(info *markers.TypeInfo) {
		if root, _ := info.Markers.Get(markerRoot).(bool); !root || strings.HasPrefix(filepath.Base(g.positions.Position(info.RawSpec.Pos()).Filename), "zz_generated.") {
			return
		}
		known[info.Name] = true
		if !strings.HasSuffix(info.Name, "List") {
			data.Kinds = append(data.Kinds, info.Name)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(data.Kinds)
	for _, kind := range data.Kinds {
		if !known[kind+"List"] {
			data.Lists = append(data.Lists, kind)
		}
	}
	text, err := execute("register.go.tmpl", data)
	if err != nil {
		return nil, err
	}
	return format.Source(text)
}

// definitions writes the definitions, and reads the models from them.
func (g *generator) definitions(made map[string]*bytes.Buffer) (kinds []*model.Kind, err error) {
	for name, content := range made {
		var definition apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(content.Bytes(), &definition); err != nil {
			return nil, fmt.Errorf("the definition %s: %w", name, err)
		}
		if model.IsModel(&definition) {
			kind, err := model.ParseKind(&definition)
			if err != nil {
				return nil, err
			}
			kinds = append(kinds, kind)
		}
		// The library does not know its version if it is built into this program.
		patched, err := g.patches.apply(bytes.Replace(content.Bytes(), []byte("io/version: (devel)"), []byte("io/version: "+controllerTools()), 1))
		if err != nil {
			return nil, err
		}
		if _, err := g.write(filepath.Join(g.project.Config, "crds", name), patched); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(kinds, func(a, b *model.Kind) int { return cmp.Compare(a.GVK.String(), b.GVK.String()) })
	return kinds, nil
}

// controllerTools is the version of controller-gen.
func controllerTools() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "sigs.k8s.io/controller-tools" {
				return m.Version
			}
		}
	}
	return "(devel)"
}

// artifacts is what controller-gen makes, in memory.
type artifacts struct {
	code, definitions map[string]*bytes.Buffer
}

// Open implements genall.OutputRule.
func (a *artifacts) Open(pkg *loader.Package, path string) (io.WriteCloser, error) {
	into := &a.definitions
	if pkg != nil {
		into, path = &a.code, filepath.Join(directory(pkg), path)
	}
	if *into == nil {
		*into = map[string]*bytes.Buffer{}
	}
	b := &bytes.Buffer{}
	(*into)[path] = b
	return nopCloser{b}, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
