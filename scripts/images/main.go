// Images builds the images of all programs with ko, for linux/amd64 and
// linux/arm64, each with an SBOM, checks that they run as non-root, and prints
// how large they are. Nothing is pushed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"knative.dev/pkg/signals"
)

// platforms that every image is built for, as in .ko.yaml.
var platforms = []string{"linux/amd64", "linux/arm64"}

func main() {
	dir := flag.String("dir", "", "keep the OCI layouts and SBOMs in this `folder`; without it they are removed")
	flag.Parse()
	if err := run(signals.NewContext(), *dir); err != nil {
		fmt.Fprintf(os.Stderr, "images: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string) error {
	if dir == "" {
		temporary, err := os.MkdirTemp("", "synchronizer-images-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		dir = temporary
	}
	mains, err := filepath.Glob("functions/*/main.go")
	if err != nil || len(mains) == 0 {
		return fmt.Errorf("no programs in functions/; run this in the folder of the project: %w", errors.Join(err, os.ErrNotExist))
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tPLATFORM\tCOMPRESSED\tUSER\tSBOM")
	missing := map[string]bool{}
	for _, file := range mains {
		name := filepath.Base(filepath.Dir(file))
		images, err := build(ctx, name, filepath.Join(dir, name))
		if err != nil {
			return err
		}
		for _, p := range platforms {
			i := slices.IndexFunc(images, func(i image) bool { return i.platform == p })
			if i < 0 {
				missing[p] = true
				if err := compile(ctx, name, p); err != nil {
					return err
				}
				continue
			}
			if err := images[i].check(name); err != nil {
				return err
			}
			fmt.Fprintf(w, "%s\t%s\t%.1f MB\t%s\t%s\n", name, p, float64(images[i].size)/1e6, images[i].user, images[i].sbom)
		}
	}
	w.Flush()
	for p := range missing {
		fmt.Printf("The base image (KO_DEFAULTBASEIMAGE, or ko's default) has no %s, so no image was built for it; the programs compile for it.\n", p)
	}
	return nil
}

// image is what an OCI layout holds for one platform.
type image struct {
	platform string
	// size in bytes, as a registry sends it.
	size int64
	user string
	// sbom says in which format there is one, "none" otherwise.
	sbom string
}

// check wants what every image must have.
func (i image) check(name string) error {
	user, _, _ := strings.Cut(i.user, ":")
	if user == "" || user == "0" || user == "root" {
		return fmt.Errorf("%s %s: expected a user other than root, got %q", name, i.platform, i.user)
	}
	if i.sbom == "none" {
		return fmt.Errorf("%s %s: expected an SBOM", name, i.platform)
	}
	return nil
}

// build runs ko and reads what it made.
func build(ctx context.Context, name, dir string) ([]image, error) {
	layout, sboms := filepath.Join(dir, "oci"), filepath.Join(dir, "sbom")
	if err := os.MkdirAll(sboms, 0o755); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "ko", "build", "--push=false", "--sbom=spdx", "--sbom-dir="+sboms,
		"--platform="+strings.Join(platforms, ","), "--oci-layout-path="+layout, "./functions/"+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	images, err := walk(layout, "index.json")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for n := range images {
		_, arch, _ := strings.Cut(images[n].platform, "/")
		images[n].sbom = "none"
		if found, _ := filepath.Glob(filepath.Join(sboms, "*"+arch+"*.spdx.json")); len(found) > 0 {
			images[n].sbom = "SPDX"
		}
	}
	return images, nil
}

// document is an index, a manifest or a configuration of the OCI image format.
type document struct {
	Manifests []descriptor
	Config    json.RawMessage
	Layers    []descriptor

	OS           string
	Architecture string
}

type descriptor struct {
	Digest string
	Size   int64
}

// path of the blob in a layout.
func (d descriptor) path() string {
	return filepath.Join("blobs", strings.Replace(d.Digest, ":", string(filepath.Separator), 1))
}

// walk finds the images below an index or manifest.
func walk(layout, path string) ([]image, error) {
	doc, err := read(layout, path)
	if err != nil {
		return nil, err
	}
	var all []image
	for _, m := range doc.Manifests {
		images, err := walk(layout, m.path())
		if err != nil {
			return nil, err
		}
		all = append(all, images...)
	}
	if len(doc.Layers) == 0 {
		return all, nil
	}
	var config descriptor
	if err := json.Unmarshal(doc.Config, &config); err != nil {
		return nil, err
	}
	i := image{size: config.Size}
	for _, l := range doc.Layers {
		i.size += l.Size
	}
	conf, err := read(layout, config.path())
	if err != nil {
		return nil, err
	}
	var settings struct{ User string }
	if err := json.Unmarshal(conf.Config, &settings); err != nil {
		return nil, err
	}
	i.platform, i.user = conf.OS+"/"+conf.Architecture, settings.User
	return append(all, i), nil
}

func read(layout, path string) (*document, error) {
	content, err := os.ReadFile(filepath.Join(layout, path))
	if err != nil {
		return nil, err
	}
	var doc document
	return &doc, json.Unmarshal(content, &doc)
}

// compile shows that the program could be built for the platform.
func compile(ctx context.Context, name, platform string) error {
	goos, goarch, _ := strings.Cut(platform, "/")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", os.DevNull, "./functions/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s for %s: %w\n%s", cmd, platform, err, out)
	}
	return nil
}
