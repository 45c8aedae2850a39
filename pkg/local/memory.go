package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// memory is which synchronizers were added and removed while a System ran, kept in its data directory. It comes on top of
// what the Options of a later System say, so that a System which is started again has what it had.
type memory struct {
	file string

	Added   []remembered `json:"added,omitempty"`
	Removed []string     `json:"removed,omitempty"`
}

// remembered is a synchronizer that was added: one of the project's if it has no directory.
type remembered struct {
	Name string `json:"name"`
	Dir  string `json:"dir,omitempty"`
}

// recall reads what the last System over dir has left.
func recall(dir string) (*memory, error) {
	m := &memory{file: filepath.Join(dir, "synchronizers.json")}
	b, err := os.ReadFile(m.file)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read which synchronizers were added: %w", err)
	}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s: %w; remove the file to start with what the flags say", m.file, err)
	}
	return m, nil
}

// apply changes the parts that the Options name into those that were there last. What it leaves out, because it was removed
// or cannot be found any more, it reports.
func (m *memory) apply(parts []*part, find func(source string) (*part, error), report func(name, format string, args ...any)) []*part {
	parts = slices.DeleteFunc(parts, func(p *part) bool {
		removed := slices.Contains(m.Removed, p.name)
		if removed {
			report(p.name, "not started: it was removed from an earlier run; synchronizer run add brings it back")
		}
		return removed
	})
	for _, r := range m.Added {
		if slices.ContainsFunc(parts, func(p *part) bool { return p.name == r.Name }) {
			continue
		}
		source := r.Name
		if r.Dir != "" {
			source = r.Dir
		}
		p, err := find(source)
		if err != nil {
			report(r.Name, "not started: it was added to an earlier run, and now %v", err)
			continue
		}
		parts = append(parts, p)
	}
	return parts
}

// add remembers that p was added. base reports whether the Options name it anyway.
func (m *memory) add(p *part, base bool) error {
	m.forget(p.name)
	if !base {
		m.Added = append(m.Added, remembered{Name: p.name, Dir: p.dir})
	}
	return m.save()
}

// remove remembers that p was removed. base reports whether the Options name it.
func (m *memory) remove(p *part, base bool) error {
	m.forget(p.name)
	if base {
		m.Removed = append(m.Removed, p.name)
	}
	return m.save()
}

func (m *memory) forget(name string) {
	m.Added = slices.DeleteFunc(m.Added, func(r remembered) bool { return r.Name == name })
	m.Removed = slices.DeleteFunc(m.Removed, func(r string) bool { return r == name })
}

// save writes by renaming, so that a kill leaves the old content or the new one.
func (m *memory) save() error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = os.WriteFile(m.file+".tmp", append(b, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(m.file+".tmp", m.file)
	}
	if err != nil {
		return fmt.Errorf("cannot remember which synchronizers run: %w", err)
	}
	return nil
}
