// Package process runs programs as children that end with their runner, also when it is killed with SIGKILL: a function
// without its runner would work beside the one that the next runner starts.
//
// Start runs a program once. Keep runs it again and again, with growing waits, as a Deployment does.
package process
