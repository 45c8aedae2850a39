// Package process runs programs as children that never outlive their runner, not even when it dies of a SIGKILL: a
// function that goes on working with nobody in charge of it would break "one at a time" for whoever comes next.
//
// Start runs a program once; Keep runs it again and again, with a growing wait, as a Deployment would.
package process
