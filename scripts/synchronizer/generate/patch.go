package generate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
	"sigs.k8s.io/kustomize/kyaml/yaml/merge2"
)

// patches are the author's changes of what is made: strategic merge patches as kustomize takes them.
type patches struct {
	all []*patch
}

type patch struct {
	file string
	node *kyaml.RNode
	used bool
}

// loadPatches reads the YAML files of a directory that may not be there.
func loadPatches(dir string) (*patches, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.y*ml"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	p := &patches{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		nodes, err := documents(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, node := range nodes {
			if node.GetKind() == "" || node.GetName() == "" {
				return nil, fmt.Errorf("%s: expected apiVersion, kind and metadata.name of what is to be changed", file)
			}
			p.all = append(p.all, &patch{file: file, node: node})
		}
	}
	return p, nil
}

func documents(content []byte) (nodes []*kyaml.RNode, err error) {
	decoder := kyaml.NewDecoder(bytes.NewReader(content))
	for {
		var document kyaml.Node
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return nodes, nil
		} else if err != nil {
			return nil, err
		}
		nodes = append(nodes, kyaml.NewRNode(&document))
	}
}

// apply lays the patches over the documents of a file. What is deleted is left out.
func (p *patches) apply(content []byte) ([]byte, error) {
	if !slices.ContainsFunc(p.all, func(p *patch) bool { return bytes.Contains(content, []byte(p.node.GetName())) }) {
		return content, nil
	}
	nodes, err := documents(content)
	if err != nil {
		return nil, err
	}
	var parts []string
	changed := false
	for _, node := range nodes {
		for _, patch := range p.all {
			if node == nil || !patch.isFor(node) {
				continue
			}
			patch.used, changed = true, true
			if node, err = patch.onto(node); err != nil {
				return nil, fmt.Errorf("%s: %w", patch.file, err)
			}
		}
		if node != nil {
			text, err := node.String()
			if err != nil {
				return nil, err
			}
			parts = append(parts, text)
		}
	}
	if !changed {
		return content, nil
	}
	return []byte(strings.Join(parts, "---\n")), nil
}

func (p *patch) isFor(node *kyaml.RNode) bool {
	return p.node.GetApiVersion() == node.GetApiVersion() && p.node.GetKind() == node.GetKind() &&
		p.node.GetName() == node.GetName() && (p.node.GetNamespace() == "" || p.node.GetNamespace() == node.GetNamespace())
}

// onto lays the patch over a document. Lists of things with names are merged by name.
func (p *patch) onto(node *kyaml.RNode) (*kyaml.RNode, error) {
	over, err := p.node.String()
	if err != nil {
		return nil, err
	}
	under, err := node.String()
	if err != nil {
		return nil, err
	}
	merged, err := merge2.MergeStrings(over, under, true, kyaml.MergeOptions{ListIncreaseDirection: kyaml.MergeOptionsListAppend})
	if err != nil || strings.TrimSpace(merged) == "" {
		return nil, err
	}
	return kyaml.Parse(merged)
}

// unused says which patches change nothing that is made.
func (p *patches) unused() error {
	var errs []error
	for _, patch := range p.all {
		if !patch.used {
			errs = append(errs, fmt.Errorf("%s: expected something that is made here, got %s %s/%s of %s", patch.file,
				patch.node.GetKind(), patch.node.GetNamespace(), patch.node.GetName(), patch.node.GetApiVersion()))
		}
	}
	return errors.Join(errs...)
}
