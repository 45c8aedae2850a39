// Package systemtest holds the tests of the core as a whole: the project's own config/core and eventing/core on the local
// runner, alone and with the small synchronizers of the tests, which are added and removed while it runs.
package systemtest
