package systemtest

import (
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/localtest"
)

// testdata is a synchronizer of the tests.
func testdata(name string) string { return filepath.Join(localtest.Root(), "pkg", "testdata", name) }

// TestCasesOfXOS runs services that XOS has, or is tested with. They share a System, as they mostly wait for time to pass.
func TestCasesOfXOS(t *testing.T) {
	c := &controller{}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	w := localtest.Start(t, local.Options{
		Only:    []string{"core"},
		Add:     []string{testdata(testService), testdata(deviceNamespace)},
		Without: []string{"pingsource/poll"}, // The test polls.
		Env:     []string{"CONTROLLER_URL=" + server.URL},
	})
	for name, test := range map[string]func(*localtest.World){
		"Switches": testSwitches,
		"Device":   func(w *localtest.World) { testDevice(w, c) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(w.With(t))
		})
	}
}
