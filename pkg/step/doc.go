// Package step is what the author of a synchronizer writes against: four small interfaces, one for
// each kind of step, and the engines that run them.
//
//   - [Syncer] pushes a model to the micro-service;
//   - [Policy] reacts to the creation and change of a model;
//   - [Puller] copies what the micro-service has into the model;
//   - [EventHandler] turns an event of the micro-service into a model.
//
// A function registers its steps ([Sync], [Policies], [Pull], [On]), of one kind or of several, and
// its main calls [Main]. A step does its work and returns nil or an error. What happens next depends
// on the error alone; see errors.go: [Deferred], [Warning], [Permanent], [WaitForOne]. Everything else
// (what is due, finalizers, deadlines, retries, statuses, conditions, replies) is the engines'
// business. Tests use package steptest.
//
// Start reading at step.go and errors.go. The engine of sync and policy (engine.go) runs an event in
// four parts, each in a file of its own:
//
//  1. observe.go reads the live object and its neighbours; what the event says is only a hint;
//  2. decide, in the same file, asks [model.Due]; if there is nothing to do, the answer is 200;
//  3. act.go puts the step's finalizer on, before the first call to the backend, so that whatever the
//     step begins will be cleaned up, and calls the step with a deadline. If something is in the way,
//     it calls nothing;
//  4. store.go stores the outcome (outcome.go) in the step's part of the status, if that is still what
//     it was in 1, and replies with an event if the state has changed. Otherwise the run starts over
//     with the newest object.
//
// The engine of pull (pull.go) runs one complete round for each tick. That of event (event.go) decodes
// strictly, and tells what can never be handled (a dead letter) from what is to be delivered again.
// function.go leads each event to its engine.
//
// What the package promises: a step is called again for an object that it has handled if a process
// dies between 3 and 4, so it must be idempotent. In one process it runs once at a time for an object.
// Two pods can overlap, so a step hands the object's generation to the backend, which can then refuse
// a stale writer.
package step
