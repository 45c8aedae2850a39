// Package steptest runs an author's steps in a test as a cluster does: the function answers CloudEvents
// over HTTP, and its objects are in a real Kubernetes API with its defaults, validation and conflicts.
// It needs no cluster, no container, and no download.
//
// A test has four parts (see the example of [New]):
//
//  1. TestMain calls [Main] with the definitions of the models;
//  2. [New] starts the function in a namespace of its own, with a clock that stands still;
//  3. [Given] makes objects. [World.Settle] does what the model source does: it sends events until
//     nothing is due. [World.Tick] and [World.Send] wake pull and event steps;
//  4. [Get] reads the result. A [Backend] records the requests to the micro-service. [World.Events] lists
//     the Kubernetes Events about the objects.
//
// Nothing waits for real time: the test moves World.Clock, and then retries are due.
package steptest
