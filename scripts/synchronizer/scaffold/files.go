package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"
)

//go:embed all:templates
var files embed.FS

var templates = template.Must(template.ParseFS(files, "templates/*.tmpl"))

// create writes a file of a template. A file that is there stays as it is, and is an error.
func create(path, name string, data any) error {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	return write(path, b.Bytes())
}

// write writes a new file; Go is formatted. A file that is there stays as it is, and is an error.
func write(path string, content []byte) error {
	if filepath.Ext(path) == ".go" {
		formatted, err := format.Source(content)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		content = formatted
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: expected no such file", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// isName reports whether a string can be the name of a Go type and of a kind.
func isName(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsUpper(r) && strings.IndexFunc(s, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) < 0
}

// lowerFirst is a kind as the name of a variable: AccessDevice, accessDevice.
func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[n:]
}
