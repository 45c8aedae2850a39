package describe_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/describe"
)

const (
	root  = "../../.."
	tests = "github.com/xos-knative/synchronizer/pkg/testdata/"
)

// deviceSteps are what function steps of the device does.
var deviceSteps = step.Description{Name: "steps", Steps: []step.Described{
	{Step: "sync", Group: "device.xos-knative.dev", Version: "v1alpha1", Kind: "Device", Verbs: []string{"get", "patch"}, StatusVerbs: []string{"patch"}},
	{Step: "pull", Group: "device.xos-knative.dev", Version: "v1alpha1", Kind: "Device", EventTypes: []string{step.EventPing},
		Verbs: []string{"get", "list", "patch"}, StatusVerbs: []string{"patch"}},
}}

func TestProgramsSayWhichStepsTheyHave(t *testing.T) {
	t.Setenv("NAMESPACE", "of-the-tool") // No program sees it.
	found, err := describe.Programs(t.Context(), root, map[string]map[string]string{
		tests + "library/sync":      nil,
		tests + "library/policy":    nil,
		tests + "device/steps":      {"CONTROLLER_URL": "http://controller.device.svc.cluster.local", "NAMESPACE": "device"},
		tests + "testservice/steps": nil, // Another program of the same name.
		// Imports package step, but runs until it is told to end.
		"github.com/xos-knative/synchronizer/functions/deadletter": nil,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{tests + "device/steps", tests + "library/policy", tests + "library/sync", tests + "testservice/steps"}
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, want) {
		t.Errorf("want %v, got %v", want, got)
	}
	if diff := cmp.Diff(deviceSteps, found[tests+"device/steps"]); diff != "" {
		t.Errorf("device (-want +got):\n%s", diff)
	}
	if len(found[tests+"testservice/steps"].Steps) != 2 {
		t.Errorf("want sync and policy of the test service, got %+v", found[tests+"testservice/steps"])
	}
}

func TestAProgramThatDoesNotStartIsNamed(t *testing.T) {
	found, err := describe.Programs(t.Context(), root, map[string]map[string]string{
		tests + "library/sync": nil,
		tests + "device/steps": {"NAMESPACE": "device"},
	})
	var failures describe.Failures
	if !errors.As(err, &failures) || len(failures) != 1 || !strings.Contains(failures[tests+"device/steps"].Error(), "CONTROLLER_URL") {
		t.Errorf("want the setting that the device's function lacks, got %v", err)
	}
	if len(found) != 1 {
		t.Errorf("want the description of the other one, got %v", found)
	}
}

func TestWhatCannotBeBuiltIsAnError(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":       "module example.com/dns\n\ngo 1.26\n",
		"sync/main.go": "package main\n\nimport step \"github.com/xos-knative/synchronizer/pkg/step\"\n\nfunc main() { step.Main() }\n",
		"api/types.go": "package api\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for pkg, want := range map[string]string{
		"example.com/dns/sync": "cannot build the programs: go run",
		"example.com/dns/api":  "example.com/dns/api: expected a program, got package api",
		"example.com/dns/none": "cannot find the programs: go list",
	} {
		if _, err := describe.Programs(t.Context(), dir, map[string]map[string]string{pkg: nil}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want an error with %q, got %v", pkg, want, err)
		}
	}
	if found, err := describe.Programs(t.Context(), dir, nil); err != nil || len(found) != 0 {
		t.Errorf("no programs: want none, got %v, %v", found, err)
	}
}
