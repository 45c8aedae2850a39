//go:build !race

package localtest

// binName is the directory of the programs.
const binName = "test"

var buildFlags []string
