package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// readFolder reads what `ko apply -R -f` reads: the .yaml and .json files of a folder.
func readFolder(folder string) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" && filepath.Ext(path) != ".json" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		resources, err := readResources(content)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, resources...)
		return nil
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s: expected YAML files with resources, found none", folder)
	}
	return all, err
}

// readResources reads the documents of one file.
func readResources(content []byte) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	for documents := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096); ; {
		u := &unstructured.Unstructured{}
		err := documents.Decode(u)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if u.Object != nil {
			all = append(all, u)
		}
	}
}
