package scaffold

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// Author is where an author's files are.
type Author struct {
	dir, module string
}

// In finds the project in a directory.
func In(dir string) (*Author, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("expected the root of a Go module, as \"synchronizer init\" makes it: %w", err)
	}
	return &Author{dir, modfile.ModulePath(content)}, nil
}

// Steps that can be added.
var Steps = []string{"sync", "policy", "pull", "event"}

// api is the folder of the models.
const api = "api/v1alpha1"

// dependency is what a model depends on.
type dependency struct {
	Kind, Path string
	// Field and JSON are the field of the spec that names it: Zone, zone.
	Field, JSON string
}

// AddModel makes a Go type. A dependency is Kind=spec.FIELD.name.
func (a *Author) AddModel(kind string, steps, dependsOn []string) (string, error) {
	if !isName(kind) || strings.HasSuffix(kind, "List") {
		return "", fmt.Errorf("KIND: expected a name like AccessDevice, which is not that of a list, got %q", kind)
	}
	for _, s := range steps {
		if s != "sync" && s != "policy" {
			return "", fmt.Errorf("--steps: expected sync, policy or sync,policy, got %q: pull and event steps are added by \"synchronizer add step\"", s)
		}
	}
	var dependencies []dependency
	for _, d := range dependsOn {
		one, err := parseDependency(d)
		if err != nil {
			return "", err
		}
		dependencies = append(dependencies, one)
	}
	path := filepath.Join(api, strings.ToLower(kind)+".go")
	data := struct {
		Kind, Steps, DependsOn, Framework string
		Dependencies                      []dependency
		Sync, Policy                      bool
	}{kind, strings.Join(steps, ","), strings.Join(dependsOn, ","), Framework, dependencies, slices.Contains(steps, "sync"), slices.Contains(steps, "policy")}
	return path, create(filepath.Join(a.dir, path), "model.go.tmpl", data)
}

// step is what the templates of steps see.
type step struct {
	Module, Framework string
	Step, Kind, Var   string
	EventType         string
	Registration      string
	// Chain is what a test has to create: what the model depends on before itself.
	Chain []needed
	// Own are the dependencies of the model itself.
	Own []dependency
}

// needed is a model, and those that it depends on.
type needed struct {
	Kind      string
	DependsOn []dependency
}

// annotation finds what a model depends on, in the marker that says so.
var annotation = regexp.MustCompile(`(?m)^// \+kubebuilder:metadata:annotations=.*/depends-on=([^"]+)"`)

// chain lists a model and all that it depends on, in the order in which they are created.
func (a *Author) chain(kind string, before []needed) []needed {
	if slices.ContainsFunc(before, func(n needed) bool { return n.Kind == kind }) {
		return before
	}
	content, err := os.ReadFile(filepath.Join(a.dir, api, strings.ToLower(kind)+".go"))
	if err != nil {
		return before // Somebody else's, or not there yet.
	}
	own := needed{Kind: kind}
	if found := annotation.FindSubmatch(content); found != nil {
		for _, d := range strings.Split(string(found[1]), ",") {
			if one, err := parseDependency(d); err == nil && one.Kind != kind {
				before = a.chain(one.Kind, before)
				own.DependsOn = append(own.DependsOn, one)
			}
		}
	}
	return append(before, own)
}

func parseDependency(text string) (dependency, error) {
	on, path, _ := strings.Cut(text, "=")
	parts := strings.Split(path, ".")
	if len(parts) != 3 || parts[0] != "spec" || parts[1] == "" || parts[2] != "name" || !isName(on) {
		return dependency{}, fmt.Errorf("--depends-on: expected Kind=spec.FIELD.name, such as Zone=spec.zone.name, got %q", text)
	}
	return dependency{Kind: on, Path: path, JSON: parts[1], Field: strings.ToUpper(parts[1][:1]) + parts[1][1:]}, nil
}

// AddStep makes the file of a step and its test, in a function that is made if it is not there. It returns their paths.
func (a *Author) AddStep(name, kind, eventType string) ([]string, error) {
	if !slices.Contains(Steps, name) {
		return nil, fmt.Errorf("STEP: expected %s, got %q", strings.Join(Steps, ", "), name)
	}
	if !isName(kind) || !exists(filepath.Join(a.dir, api, strings.ToLower(kind)+".go")) {
		return nil, fmt.Errorf("KIND: expected a model in %s, got %q; \"synchronizer add model\" makes one", api, kind)
	}
	if (name == "event") != (eventType != "") {
		return nil, errors.New("--type: expected the type of the events, such as com.example.dns.changed, for an event step, and for no other")
	}
	s := step{Module: a.module, Framework: Framework, Step: name, Kind: kind, Var: lowerFirst(kind), EventType: eventType, Chain: a.chain(kind, nil)}
	s.Own = s.Chain[len(s.Chain)-1].DependsOn
	s.Registration = registrationOf(name, kind, eventType)
	made, err := a.addStep(s, name+".go.tmpl", name+"_test.go.tmpl")
	if err == nil && (name == "sync" || name == "policy") {
		err = a.declare(kind, name)
	}
	return made, err
}

var (
	label = regexp.MustCompile(`(?m)^// \+kubebuilder:metadata:labels="synchronizer\.xos-knative\.dev/model=true"\n`)
	steps = regexp.MustCompile(`(?m)^(// \+kubebuilder:metadata:annotations=.*/steps=)([^"]*)`)
)

// declare puts a step into the marker that says which steps a model has, if it is not there.
func (a *Author) declare(kind, step string) error {
	path := filepath.Join(a.dir, api, strings.ToLower(kind)+".go")
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	found := steps.FindSubmatch(content)
	at := label.FindIndex(content)
	switch {
	case found != nil && slices.Contains(strings.Split(string(found[2]), ","), step):
		return nil
	case found != nil:
		content = steps.ReplaceAll(content, []byte("${1}${2},"+step))
	case at != nil:
		content = slices.Insert(content, at[1], []byte("// +kubebuilder:metadata:annotations=\"synchronizer.xos-knative.dev/steps="+step+"\"\n")...)
	default:
		return fmt.Errorf("%s: expected the marker +kubebuilder:metadata:labels=\"synchronizer.xos-knative.dev/model=true\"", path)
	}
	return os.WriteFile(path, content, 0o644)
}

// addStep makes the file of a step, and its test if there is a template for that, and registers it in its function.
func (a *Author) addStep(s step, template, testTemplate string) (made []string, err error) {
	add := func(name, template string) {
		if err == nil && template != "" {
			made = append(made, filepath.Join(s.Step, name))
			err = create(filepath.Join(a.dir, s.Step, name), template, s)
		}
	}
	isNew := !exists(filepath.Join(a.dir, s.Step, "main.go"))
	add(strings.ToLower(s.Kind)+".go", template)
	add(strings.ToLower(s.Kind)+"_test.go", testTemplate)
	if isNew {
		add("main.go", "main.go.tmpl")
	} else if err == nil {
		made = append(made, filepath.Join(s.Step, "main.go"))
		err = register(filepath.Join(a.dir, s.Step), s.Registration)
	}
	if testTemplate != "" && !exists(filepath.Join(a.dir, s.Step, "main_test.go")) {
		add("main_test.go", "main_test.go.tmpl")
	}
	return made, err
}

// registrationOf is the code that registers a step. It has the types: those of a package's variables cannot be inferred
// from methods in other files.
func registrationOf(step, kind, eventType string) string {
	switch step {
	case "sync":
		return fmt.Sprintf("step.Sync[*v1alpha1.%[1]s](%[1]s{})", kind)
	case "policy":
		return fmt.Sprintf("step.Policies[*v1alpha1.%[1]s](%[1]s{})", kind)
	case "pull":
		return fmt.Sprintf("step.Compare(%ss)", lowerFirst(kind))
	default:
		return fmt.Sprintf("step.OnObject[*v1alpha1.%[1]s, %[2]sEvent](\"\", %[1]s{}, %[3]q)", kind, lowerFirst(kind), eventType)
	}
}

// Group is the API group of the models.
func (a *Author) Group() (string, error) {
	content, err := os.ReadFile(filepath.Join(a.dir, api, "doc.go"))
	if err != nil {
		return "", fmt.Errorf("expected a project, as \"synchronizer init\" makes it: %w", err)
	}
	found := group.FindSubmatch(content)
	if found == nil {
		return "", fmt.Errorf("%s/doc.go: expected a marker // +groupName=GROUP", api)
	}
	return string(found[1]), nil
}

var group = regexp.MustCompile(`(?m)^// \+groupName=(\S+)$`)

// AddFile writes a file that somebody else has made.
func (a *Author) AddFile(path string, content []byte) error {
	return write(filepath.Join(a.dir, path), content)
}

// AddBareStep makes the file of a step without a test. Its name is that of a model, or of the step itself if it is a pull
// or event step of no model that is known. It returns the paths of what was made.
func (a *Author) AddBareStep(name, kind string, ofModel bool) ([]string, error) {
	s := step{Module: a.module, Framework: Framework, Step: name, Kind: kind, Var: lowerFirst(kind)}
	template := name + ".go.tmpl"
	switch {
	case name == "sync" || name == "policy":
		s.Registration = registrationOf(name, kind, "")
	case name == "pull" && ofModel:
		template, s.Registration = "pull.go.tmpl", registrationOf(name, kind, "")
	case name == "pull":
		template, s.Registration = "bare_puller.go.tmpl", fmt.Sprintf("step.Pull(%s{})", kind)
	default:
		prefix, err := a.Group()
		if err != nil {
			return nil, err
		}
		s.EventType = prefix + "." + strings.ToLower(kind)
		template, s.Registration = "bare_event.go.tmpl", fmt.Sprintf("step.On[%sEvent](%s{}, %q)", s.Var, kind, s.EventType)
	}
	return a.addStep(s, template, "")
}
