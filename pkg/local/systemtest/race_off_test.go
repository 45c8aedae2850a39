//go:build !race

package systemtest

var buildFlags []string
