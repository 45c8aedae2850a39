// Images builds the images of all programs with ko, for linux/amd64 and
// linux/arm64, each with an SBOM, checks that they run as non-root, and prints
// how large they are. Nothing is pushed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
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
	programs, err := programs()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tPLATFORM\tCOMPRESSED\tUSER\tSBOM")
	missing := map[string]bool{}
	for _, name := range programs {
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

// programs are the folders below functions/ with a program in it: those of the core, and those of each synchronizer.
func programs() (names []string, err error) {
	for _, pattern := range []string{"functions/*/main.go", "functions/*/*/main.go"} {
		mains, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, file := range mains {
			name, err := filepath.Rel("functions", filepath.Dir(file))
			if err != nil {
				return nil, err
			}
			names = append(names, filepath.ToSlash(name))
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no programs in functions/; run this in the folder of the project: %w", fs.ErrNotExist)
	}
	return names, nil
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
	oci, sboms := filepath.Join(dir, "oci"), filepath.Join(dir, "sbom")
	if err := os.MkdirAll(sboms, 0o755); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "ko", "build", "--push=false", "--sbom=spdx", "--sbom-dir="+sboms,
		"--platform="+strings.Join(platforms, ","), "--oci-layout-path="+oci, "./functions/"+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	index, err := layout.ImageIndexFromPath(oci)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	images, err := imagesOf(index)
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

// imagesOf finds the images below an index.
func imagesOf(index v1.ImageIndex) ([]image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []image
	for _, d := range manifest.Manifests {
		if d.MediaType.IsIndex() {
			below, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, err
			}
			images, err := imagesOf(below)
			if err != nil {
				return nil, err
			}
			all = append(all, images...)
			continue
		}
		found, err := index.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		i, err := describe(found)
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	return all, nil
}

func describe(i v1.Image) (image, error) {
	manifest, err := i.Manifest()
	if err != nil {
		return image{}, err
	}
	config, err := i.ConfigFile()
	if err != nil {
		return image{}, err
	}
	size := manifest.Config.Size
	for _, l := range manifest.Layers {
		size += l.Size
	}
	return image{platform: config.OS + "/" + config.Architecture, size: size, user: config.Config.User}, nil
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
