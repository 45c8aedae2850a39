//go:build !race

package localtest

// raceDetector reports whether the tests have the race detector.
const raceDetector = false
