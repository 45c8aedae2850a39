package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/xos-knative/synchronizer/pkg/local/manifest"
)

// coreName is the name of the part that always runs.
const coreName = "core"

// notSynchronizers are the folders of config/ and eventing/ that are no synchronizers.
var notSynchronizers = sets.New(coreName, "overlays", "samples")

// part is the core or a synchronizer: what is added and removed as a whole.
type part struct {
	name string
	// dir is where a synchronizer from elsewhere is; empty for the project's own.
	dir string
	// root is the directory that its programs are built in.
	root string
	set  *manifest.Set
	// sums are those of the programs that run, as far as a reload has asked: a build that no reload has followed does not
	// change them.
	sums map[string]sum
}

// project returns the names of the project's synchronizers, sorted.
func (o Options) project() ([]string, error) {
	names := sets.New[string]()
	for _, base := range []string{"config", "eventing"} {
		entries, err := os.ReadDir(filepath.Join(o.Root, base))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot read the resources: %w", err)
		}
		for _, e := range entries {
			switch {
			case e.IsDir() && !notSynchronizers.Has(e.Name()):
				names.Insert(e.Name())
			case !e.IsDir() && filepath.Ext(e.Name()) == ".yaml":
				return nil, fmt.Errorf("%s: expected resources in a folder, such as %s/core", filepath.Join(o.Root, base, e.Name()), base)
			}
		}
	}
	return sets.List(names), nil
}

// choose returns the core and the synchronizers to start with: those that the options name, without those that were
// removed and with those that were added while an earlier System ran over Dir.
func (s *System) choose() ([]*part, error) {
	core := &part{name: coreName, root: s.o.Root}
	if !exists(filepath.Join(s.o.Root, "config", coreName)) && !exists(filepath.Join(s.o.Root, "eventing", coreName)) {
		return nil, fmt.Errorf("%s has neither config/core nor eventing/core: expected the folder of the project", s.o.Root)
	}
	names, err := s.o.project()
	if err != nil {
		return nil, err
	}
	for _, name := range s.o.Only {
		if name != coreName && !slices.Contains(names, name) {
			return nil, unknownSynchronizer(name, names)
		}
	}
	parts := []*part{core}
	for _, name := range names {
		if s.o.Only == nil || slices.Contains(s.o.Only, name) {
			parts = append(parts, &part{name: name, root: s.o.Root})
		}
	}
	for _, dir := range s.o.Add {
		p, err := s.find(withSeparator(dir))
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	for _, p := range parts {
		s.base.Insert(p.name)
	}
	parts = s.memory.apply(parts, s.find, s.console.Problem)
	for i, p := range parts {
		if slices.ContainsFunc(parts[:i], func(q *part) bool { return q.name == p.name }) {
			return nil, fmt.Errorf("two synchronizers are called %s: rename the directory of one", p.name)
		}
	}
	return parts, nil
}

// find makes the part of a synchronizer that is given as the name of one of the project's or as a directory. A name has
// no separator in it.
func (s *System) find(source string) (*part, error) {
	if !strings.ContainsRune(source, filepath.Separator) {
		names, err := s.o.project()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(names, source) {
			return nil, unknownSynchronizer(source, names)
		}
		return &part{name: source, root: s.o.Root}, nil
	}
	dir := source
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(s.o.Root, dir)
	}
	dir = filepath.Clean(dir)
	if !exists(filepath.Join(dir, "config")) && !exists(filepath.Join(dir, "eventing")) {
		return nil, fmt.Errorf("%s: expected a directory with config/ or eventing/ in it", source)
	}
	// A repository of its own is built there; a directory outside of all modules can only name the project's programs.
	root := dir
	if module, err := moduleOf(dir); err != nil || module == "" {
		root = s.o.Root
	}
	return &part{name: filepath.Base(dir), dir: dir, root: root}, nil
}

// withSeparator makes a path out of what is a directory and looks like a name.
func withSeparator(dir string) string {
	if strings.ContainsRune(dir, filepath.Separator) {
		return dir
	}
	return "." + string(filepath.Separator) + dir
}

func unknownSynchronizer(name string, known []string) error {
	return fmt.Errorf("there is no synchronizer %s in config/ or eventing/, only %q; one from elsewhere is given as a directory, with a / in it", name, known)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// load reads the files of a part.
func (s *System) load(p *part) (err error) {
	dirs := []string{filepath.Join(p.dir, "config"), filepath.Join(p.dir, "eventing")}
	if p.dir == "" {
		dirs = []string{filepath.Join(s.o.Root, "config", p.name), filepath.Join(s.o.Root, "eventing", p.name)}
	}
	p.set, err = manifest.Load(manifest.Options{Dirs: dirs, Without: s.without})
	return err
}

// namespace is where kubectl looks if it is not told: that of the synchronizer that has been there the longest.
func namespace(parts []*part) string {
	for _, p := range parts {
		if p.name != coreName && len(p.set.Namespaces) > 0 {
			return p.set.Namespaces[0]
		}
	}
	return ""
}

// synchronizers are the names of the parts beside the core.
func synchronizers(parts []*part) (names []string) {
	for _, p := range parts {
		if p.name != coreName {
			names = append(names, p.name)
		}
	}
	return names
}
