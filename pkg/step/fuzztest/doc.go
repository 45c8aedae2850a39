// Package fuzztest has the fuzz targets of package step. They are apart from its other tests, which link an API
// server: to build that for fuzzing takes minutes.
package fuzztest
