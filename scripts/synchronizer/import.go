package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/xos-knative/synchronizer/scripts/synchronizer/scaffold"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/xos"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/xproto"
)

func importCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var o xos.Options
	var config string
	var steps []string
	c := &cobra.Command{
		Use:   "import FILE.xproto...",
		Short: "Make models and steps of a synchronizer of XOS",
		Long: `Make Go types of the models that xproto files declare, and a file for each step that the XOS synchronizer has. The first
file, and those with the same app_label, are the service; the others have bases and models that it refers to.

What cannot be carried over is said, with file, line and column, and with what to do instead. Recipes of the service
upload as they are.`,
		Example: `  synchronizer init vegetable --group vegetable.example.com --framework ~/synchronizer && cd vegetable
  go tool synchronizer import ~/vegetable/xos/synchronizer/models/vegetable.xproto \
    --config ~/vegetable/xos/synchronizer/config.yaml --steps ~/vegetable/xos/synchronizer`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			author, err := scaffold.In(".")
			if err != nil {
				return err
			}
			if o.Group, err = author.Group(); err != nil {
				return err
			}
			_, domain, _ := strings.Cut(o.Group, ".")
			o.Domain = cmp.Or(o.Domain, domain)
			if o.StepFiles, err = pythonIn(steps); err != nil {
				return err
			}
			if config != "" {
				content, err := os.ReadFile(config)
				if err == nil {
					o.Config, err = xos.ParseConfig(config, content)
				}
				if err != nil {
					return err
				}
			}
			result, err := convert(args, o)
			if err != nil {
				return err
			}
			made, err := addImported(author, result)
			if err != nil {
				return err
			}
			err = added(c, streams, made)
			for _, note := range result.Notes {
				fmt.Fprintln(streams.ErrOut, note)
			}
			return err
		},
	}
	c.Flags().StringVar(&config, "config", "", "the config.yaml of the XOS synchronizer")
	c.Flags().StringArrayVar(&steps, "steps", nil, "a `file` of a step, or a folder with files of steps; can be repeated")
	c.Flags().StringVar(&o.Domain, "domain", "", "the end of the API groups of other services (default that of the project's group)")
	return c
}

func convert(paths []string, o xos.Options) (*xos.Result, error) {
	var files []*xproto.File
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		file, err := xproto.Parse(path, content)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return xos.Convert(files, o)
}

// pythonIn lists the files of steps in some files and folders.
func pythonIn(paths []string) (files []string, err error) {
	for _, root := range paths {
		if info, err := os.Stat(root); err != nil || !info.IsDir() {
			files = append(files, root) // Only its name counts.
			continue
		}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if folder := filepath.Dir(path); err == nil && !d.IsDir() && (strings.Contains(folder, "step") || strings.Contains(folder, "polic")) {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("--steps: %w", err)
		}
	}
	return files, nil
}

// addImported writes the files of a service, and the steps that it has.
func addImported(author *scaffold.Author, result *xos.Result) (made []string, err error) {
	for _, path := range slices.Sorted(func(yield func(string) bool) {
		for path := range result.Files {
			if filepath.Base(path) != "doc.go" && !yield(path) { // The project has one.
				return
			}
		}
	}) {
		if err := author.AddFile(path, result.Files[path]); err != nil {
			return nil, err
		}
		made = append(made, path)
	}
	for _, s := range result.Steps {
		name := cmp.Or(s.Kind, goName(s.Name))
		if name == "" {
			continue // A note says that its file is missing.
		}
		files, err := author.AddBareStep(s.Step, name, s.Kind != "")
		if err != nil {
			return nil, err
		}
		made = append(made, files...)
	}
	return made, nil
}

// goName is the name of a Python file as that of a Go type: hello_world, HelloWorld.
func goName(name string) string {
	var b strings.Builder
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}
