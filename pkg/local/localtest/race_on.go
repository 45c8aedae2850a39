//go:build race

package localtest

// binName is the directory of the programs.
const binName = "test-race"

// buildFlags: programs are built as the tests are.
var buildFlags = []string{"-race"}
