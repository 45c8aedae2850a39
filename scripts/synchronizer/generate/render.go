package generate

import (
	"bytes"
	"embed"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"sigs.k8s.io/yaml"

	"github.com/xos-knative/synchronizer/pkg/model"
)

//go:embed templates
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{"yaml": scalar, "join": join}).ParseFS(files, "templates/*.tmpl"))

// scalar is a string as YAML, with quotes where it needs some.
func scalar(s string) (string, error) {
	content, err := yaml.Marshal(s)
	return strings.TrimSpace(string(content)), err
}

// join is a list as YAML, in one line.
func join(list []string) string {
	parts := make([]string, len(list))
	for i, s := range list {
		parts[i] = s
		if s == "" || strings.ContainsAny(s, "*,[]{}: ") {
			parts[i] = `"` + s + `"`
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func execute(name string, data any) ([]byte, error) {
	var b bytes.Buffer
	err := templates.ExecuteTemplate(&b, name, data)
	return b.Bytes(), err
}

// all is what templates of the whole project see.
type all struct {
	*Project
	// Group of the models, and their resources.
	Groups    []string
	Resources []string
	Functions []*function
	// Events: there is an event step, so there is a Broker for events.
	Events bool
}

// resources makes the YAML files.
func (g *generator) resources(kinds []*model.Kind, functions []*function) error {
	data := all{Project: g.project, Functions: functions}
	for _, k := range kinds {
		data.Groups = append(data.Groups, k.GVK.Group)
		data.Resources = append(data.Resources, k.Resource)
	}
	slices.Sort(data.Groups)
	data.Groups = slices.Compact(data.Groups)
	slices.Sort(data.Resources)
	data.Events = slices.ContainsFunc(functions, func(f *function) bool { return f.Has("event") })

	type file struct {
		dir, name, template string
		data                any
	}
	made := []file{
		{g.project.Config, "00-namespace.yaml", "namespace.yaml.tmpl", data},
		{g.project.Config, "rights.yaml", "rights.yaml.tmpl", data},
	}
	if data.Events {
		made = append(made,
			file{g.project.Eventing, "events-broker.yaml", "events-broker.yaml.tmpl", data},
			file{g.project.Eventing, "eventtypes.yaml", "eventtypes.yaml.tmpl", data})
	}
	for _, f := range functions {
		made = append(made, file{g.project.Config, f.Name + ".yaml", "function.yaml.tmpl", f})
		if len(f.ModelSteps()) > 0 || f.Has("event") {
			made = append(made, file{g.project.Eventing, "trigger-" + f.Name + ".yaml", "trigger.yaml.tmpl", f})
		}
		if f.Has("pull") {
			made = append(made, file{g.project.Eventing, "pingsource-" + f.Name + ".yaml", "pingsource.yaml.tmpl", f})
		}
	}
	for _, m := range made {
		content, err := execute(m.template, m.data)
		if err != nil {
			return err
		}
		content, err = g.patches.apply(content)
		if err != nil {
			return err
		}
		if _, err := g.write(filepath.Join(m.dir, m.name), g.headed(content)); err != nil {
			return err
		}
	}
	return nil
}

// headed puts the mark before a file.
func (g *generator) headed(content []byte) []byte {
	return append([]byte(mark+": what is to be different goes into the project's folder patches.\n#\n"), content...)
}

// kustomizations lists all resources, also the author's own.
func (g *generator) kustomizations() error {
	for dir, what := range map[string]string{g.project.Config: "config", g.project.Eventing: "eventing"} {
		var resources []string
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			if d.IsDir() && (name == "overlays" || name == "samples") {
				return fs.SkipDir
			}
			if !d.IsDir() && filepath.Ext(name) == ".yaml" {
				resources = append(resources, filepath.ToSlash(name))
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(resources) == 0 {
			continue
		}
		content, err := execute("kustomization.yml.tmpl", struct {
			Name, What string
			Resources  []string
		}{g.project.Name, what, resources})
		if err != nil {
			return err
		}
		if _, err := g.write(filepath.Join(dir, kustomization), g.headed(content)); err != nil {
			return err
		}
	}
	return nil
}
