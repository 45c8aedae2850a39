package local

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// RenderOverlay writes the resources of a kustomization, as kubectl kustomize prints them, into config/ below a folder. With the
// folder in Options.Add they are a synchronizer, whose programs are built from Options.Root.
func RenderOverlay(kustomization, folder string) error {
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), kustomization)
	if err != nil {
		return fmt.Errorf("rendering %s: %w", kustomization, err)
	}
	resources, err := rendered.AsYaml()
	if err != nil {
		return fmt.Errorf("rendering %s: %w", kustomization, err)
	}
	config := filepath.Join(folder, "config")
	if err := os.MkdirAll(config, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(config, "resources.yaml"), resources, 0o644)
}
