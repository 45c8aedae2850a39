package generate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// File is the name of the file that makes a directory a project.
const File = "synchronizer.yaml"

// Project is what the file says.
type Project struct {
	// Name of the synchronizer. It is the namespace of its functions and models, and the beginning of names that are
	// outside of that.
	Name string `json:"name"`
	// Config and Eventing are the folders for the resources, relative to the file. Default: config and eventing.
	Config   string `json:"config,omitempty"`
	Eventing string `json:"eventing,omitempty"`

	// dir is where the file is.
	dir string
}

// Load reads the project in a directory.
func Load(dir string) (*Project, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, File)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: expected a project, with a file %s; \"synchronizer init\" makes one", dir, File)
	}
	if err != nil {
		return nil, err
	}
	p := &Project{Config: "config", Eventing: "eventing", dir: dir}
	if err := yaml.UnmarshalStrict(content, p); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if problems := validation.IsDNS1123Label(p.Name); len(problems) > 0 {
		return nil, fmt.Errorf("%s: name: expected the name of a namespace, got %q: %s", path, p.Name, problems[0])
	}
	p.Config, p.Eventing = filepath.Join(dir, p.Config), filepath.Join(dir, p.Eventing)
	return p, nil
}
