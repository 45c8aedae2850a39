package main

import (
	"go/parser"
	"go/token"
	"testing"
)

// TestTable checks that each mutant still fits the source.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			if seen[m.name] {
				t.Error("two mutants have this name")
			}
			seen[m.name] = true
			source, err := m.source("../..")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.ParseFile(token.NewFileSet(), m.file, source, parser.AllErrors); err != nil {
				t.Error(err)
			}
		})
	}
}
