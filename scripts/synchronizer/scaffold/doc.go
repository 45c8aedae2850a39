// Package scaffold makes the files that an author of a synchronizer owns: a repository, a Go type for a model, a file for
// a step. There are few of them and they are short, because package generate makes the rest.
package scaffold
