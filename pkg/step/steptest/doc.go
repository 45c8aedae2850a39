// Package steptest runs an author's steps as a cluster does, in a test: the function answers
// CloudEvents over HTTP, and its objects live in a real Kubernetes API, with the defaults, the
// validation and the conflicts that come with it. There is no cluster, no container, and no
// download.
//
// A test has four parts (see the example of [New]):
//
//  1. TestMain calls [Main] with the definitions of the models;
//  2. [New] starts the function in a namespace of its own, with a clock that stands still;
//  3. [World.Given] makes objects, [World.Settle] does what the model source does: it sends events
//     until nothing is due. [World.Tick] and [World.Send] wake pull and event steps;
//  4. [Get] reads what came out. A [Backend] records what the steps asked of the micro-service.
//
// Nothing waits for real time: World.Clock is moved by the test, and retries are due then.
package steptest
