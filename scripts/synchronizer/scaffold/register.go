package scaffold

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
)

// register adds a registration to those of a function: to the arguments of step.Of, or to a []step.Registration.
func register(dir, registration string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		positions := token.NewFileSet()
		file, err := parser.ParseFile(positions, path, content, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		end := endOfRegistrations(file)
		if end == token.NoPos {
			continue
		}
		at := positions.Position(end).Offset
		before := bytes.TrimRight(content[:at], " \t\n")
		comma := ","
		if last := before[len(before)-1]; last == ',' || last == '(' || last == '{' {
			comma = ""
		}
		changed := fmt.Appendf(nil, "%s%s\n%s,\n%s", before, comma, registration, content[at:])
		if changed, err = format.Source(changed); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return os.WriteFile(path, changed, 0o644)
	}
	return fmt.Errorf("%s: expected the function's registrations as step.Of(...) or []step.Registration{...}: add %s to them by hand", dir, registration)
}

// endOfRegistrations is where the list of registrations in a file ends.
func endOfRegistrations(file *ast.File) (end token.Pos) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if isStep(n.Fun, "Of") {
				end = n.Rparen
			}
		case *ast.CompositeLit:
			if list, ok := n.Type.(*ast.ArrayType); ok && isStep(list.Elt, "Registration") {
				end = n.Rbrace
			}
		}
		return true
	})
	return end
}

func isStep(e ast.Expr, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == "step"
}
