//go:build race

package systemtest

// buildFlags: programs are built as the tests are.
var buildFlags = []string{"-race"}
