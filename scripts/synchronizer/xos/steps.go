package xos

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/xproto"
)

// Step is one that the service has.
type Step struct {
	// Kind of the model. It is empty for an event step, and for a pull step whose file does not say.
	Kind string
	// Step is sync, policy, pull or event.
	Step string
	// Name is that of a pull or event step, after its file; empty if there is no file.
	Name string
	// DependsOn is what objects of the kind depend on, as Kind=spec.path.
	DependsOn []string
}

const (
	stepSync   = string(model.StepSync)
	stepPolicy = string(model.StepPolicy)
	stepPull   = "pull"
	stepEvent  = "event"
)

// Config is the config.yaml of an XOS synchronizer.
type Config struct {
	Name string
	// Steps are the kinds of steps that it has a directory for (sync, policy, pull and event), with the place where it
	// says so.
	Steps map[string]xproto.Pos
	// RequiredModels are those that it reads and writes, with the place of each.
	RequiredModels map[string]xproto.Pos

	notes []Note
}

// directories are the settings that say that there are steps.
var directories = map[string]string{"steps_dir": stepSync, "model_policies_dir": stepPolicy, "pull_steps_dir": stepPull, "event_steps_dir": stepEvent}

// elsewhere says where a setting is made here.
var elsewhere = map[string]string{
	"accessor":                "functions read and write models with the rights of their ServiceAccounts; credentials are not carried over",
	"event_bus":               "events come from a Broker",
	"kafka_bootstrap_servers": "a KafkaSource brings the events of Kafka to a Broker",
	"dependency_graph":        "what depends on what is made from the links; edges that were added by hand are added to the annotation depends-on by hand",
	"logging":                 "functions log as Knative's config-logging says",
	"backoff_disabled":        "steps are tried again after growing waits",
	"error_map_path":          "steps say themselves what an error means",
	"proxy_ssh":               "a step that needs it opens its own connections",
}

// ParseConfig reads the config.yaml of an XOS synchronizer. The name of the file is for errors and notes.
func ParseConfig(file string, data []byte) (*Config, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	c := &Config{Steps: map[string]xproto.Pos{}, RequiredModels: map[string]xproto.Pos{}}
	if len(doc.Content) == 0 {
		return c, nil
	}
	root := doc.Content[0]
	at := func(n *yaml.Node) xproto.Pos { return xproto.Pos{File: file, Line: n.Line, Column: n.Column} }
	if root.Kind != yaml.MappingNode {
		return nil, at(root).Errorf("expected a map of settings")
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		instead, isElsewhere := elsewhere[key.Value]
		switch step, isDir := directories[key.Value]; {
		case isDir:
			c.Steps[step] = at(key)
		case key.Value == "name":
			c.Name = value.Value
		case key.Value == "required_models":
			for _, m := range value.Content {
				c.RequiredModels[m.Value] = at(m)
			}
		case isElsewhere:
			c.notes = append(c.notes, Note{at(key), key.Value + " is not carried over: " + instead})
		case !slices.Contains([]string{"core_version", "models_dir", "sys_dir"}, key.Value):
			c.notes = append(c.notes, Note{at(key), key.Value + " has no counterpart"})
		}
	}
	return c, nil
}

// stepFile is the file of a step, as far as its name says.
type stepFile struct {
	path, step, name string
	used             bool
}

// steps finds the steps of each kind: those that the options of its message say, otherwise those whose file is named
// after it, otherwise those that the configuration has a directory for.
func (c *converter) steps() {
	files := c.stepFiles()
	said := false
	for _, k := range c.kinds {
		for _, step := range []string{stepSync, stepPolicy} {
			implemented, says := k.option(step + "_implemented")
			has, _ := implemented.Value.Bool()
			said = said || says
			if f := findFile(files, step, k); f != nil {
				has = has || !says
				f.used = true
			}
			if has && !k.says("no_"+step) {
				k.steps = append(k.steps, step)
			}
		}
	}
	c.configured(said, files)
	for _, k := range c.kinds {
		for _, step := range k.steps {
			c.found = append(c.found, Step{Kind: k.Name, Step: step, DependsOn: k.dependencies()})
		}
	}
	c.woken(files)
}

// configured deals with what only the configuration says.
func (c *converter) configured(said bool, files []*stepFile) {
	if c.o.Config == nil {
		if !said && len(files) == 0 {
			c.note(xproto.Pos{File: c.service[0].Name, Line: 1, Column: 1}, "no model has a step: give the files of the steps, or option sync_implemented or policy_implemented of each message")
		}
		return
	}
	c.notes = append(c.notes, c.o.Config.notes...)
	for _, step := range []string{stepSync, stepPolicy} {
		pos, has := c.o.Config.Steps[step]
		if !has || said || slices.ContainsFunc(files, func(f *stepFile) bool { return f.step == step }) {
			continue
		}
		for _, k := range c.kinds {
			if c.derives(k.message, coreInstance) && !k.says("no_"+step) {
				k.steps = append(k.steps, step)
				c.note(pos, "%s is taken to have a %s step, because it is a ServiceInstance and nothing else says which models have one", k.Name, step)
			}
		}
	}
	for name, pos := range c.o.Config.RequiredModels {
		if m := c.messages[name]; m == nil || !m.main {
			c.note(pos, "required model %s is of another service: the functions that use it need a right to it", name)
		}
	}
}

// woken finds the steps that no model wakes.
func (c *converter) woken(files []*stepFile) {
	for _, step := range []string{stepPull, stepEvent} {
		there := false
		for _, f := range files {
			if f.step != step {
				continue
			}
			f.used, there = true, true
			s := Step{Step: step, Name: f.name}
			for _, k := range c.kinds {
				if step == stepPull && k.called(f.name) {
					s.Kind = k.Name
				}
			}
			if step == stepPull && s.Kind == "" {
				c.note(xproto.Pos{File: f.path, Line: 1, Column: 1}, "the name of the pull step does not say which model it is about")
			}
			c.found = append(c.found, s)
		}
		if c.o.Config != nil {
			if pos, has := c.o.Config.Steps[step]; has && !there {
				c.found = append(c.found, Step{Step: step})
				c.note(pos, "there are %s steps: give their files", step)
			}
		}
	}
	for _, f := range files {
		if !f.used {
			c.note(xproto.Pos{File: f.path, Line: 1, Column: 1}, "it is named after no model: if it is a step, say of which model in the annotation steps")
		}
	}
}

// stepName is the name of a step's file: sync_step_x, model_policy_x, x_policy, pull_x, x_event...
var stepName = regexp.MustCompile(`^(?:(sync|model_policy|policy|pull|event)_(?:step_)?)?(.+?)(?:_(sync|model_policy|policy|pull|event)(?:_step)?)?$`)

// stepFiles reads what the paths of the steps say.
func (c *converter) stepFiles() []*stepFile {
	var files []*stepFile
	for _, p := range c.o.StepFiles {
		slashed := strings.ReplaceAll(p, `\`, "/")
		base, isPython := strings.CutSuffix(path.Base(slashed), ".py")
		if !isPython {
			c.note(xproto.Pos{File: p, Line: 1, Column: 1}, "it is no Python: what it does, such as a playbook of Ansible, is written in the step")
			continue
		}
		if base == "__init__" || base == "conftest" || strings.HasPrefix(base, "test_") {
			continue
		}
		f := &stepFile{path: p, step: directories[path.Base(path.Dir(slashed))+"_dir"], name: base}
		if m := stepName.FindStringSubmatch(base); m != nil {
			f.name = m[2]
			f.step = cmp.Or(f.step, strings.TrimPrefix(cmp.Or(m[1], m[3]), "model_"))
		}
		files = append(files, f)
	}
	return files
}

func findFile(files []*stepFile, step string, k *kind) *stepFile {
	for _, f := range files {
		if f.step == step && k.called(f.name) {
			return f
		}
	}
	return nil
}

// called reports whether the name of a file means the kind: vegetable_service, vegetableservices.
func (k *kind) called(name string) bool {
	plain := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
	kind := strings.ToLower(k.Name)
	plural, _ := xproto.Find(k.Options, "plural")
	return plain == kind || plain == kind+"s" || plain == strings.ToLower(plural.Value.Text)
}
