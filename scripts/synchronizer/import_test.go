package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestImport makes a project of each service of XOS: it builds, it is up to date, and everything in it fits together.
func TestImport(t *testing.T) {
	framework, err := filepath.Abs(project)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"testservice":          {"sync/testserviceserviceinstance.go", "policy/testserviceserviceinstance.go"},
		"simpleexampleservice": {"policy/simpleexampleserviceinstance.go", "pull/embeddedimagenew.go"},
		"att-workflow-driver":  {"policy/attworkflowdriverserviceinstance.go", "event/auth.go", "event/onu.go"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			must(t, "init", name, "--group", name+".example.com", "--framework", framework)
			t.Chdir(name)
			files := filepath.Join(framework, "scripts/synchronizer/xos/testdata", name)
			args := []string{"import", filepath.Join(files, name+".xproto"), "--config", filepath.Join(files, "config.yaml")}
			for _, step := range steps[name] {
				args = append(args, "--steps", step)
			}
			out := must(t, args...)
			for _, path := range want {
				if !strings.Contains(out, path+"\n") {
					t.Errorf("expected %s to be made, got\n%s", path, out)
				}
			}
			if out, err := exec.Command("go", "vet", "./...").CombinedOutput(); err != nil {
				t.Errorf("expected a project that builds: %v\n%s", err, out)
			}
			must(t, "generate", "--check")
			must(t, "check")
		})
	}
}

// steps are files of the services' steps, as far as they are given.
var steps = map[string][]string{
	"simpleexampleservice": {"pull_steps/pull_embeddedimagenew.py"},
	"att-workflow-driver":  {"event_steps/auth_event.py", "event_steps/onu_event.py"},
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, code := command(t, args...)
	if code != 0 {
		t.Fatalf("synchronizer %q: exit code %d\n%s", args, code, out)
	}
	return out
}
