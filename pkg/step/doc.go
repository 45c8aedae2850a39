// Package step is what the author of a synchronizer writes against: a small type for each kind of
// step, and the engines that run them.
//
//   - [Syncer] pushes a model to the micro-service;
//   - [Policy] reacts to the creation and change of a model;
//   - [Comparison] compares what the micro-service has with the models; a [Puller] pulls in its own way;
//   - [ObjectHandler] makes an object as events of the micro-service say; an [EventHandler] does so in its own way.
//
// A function registers its steps ([Sync], [Policies], [Compare], [Pull], [OnObject], [On]), of one kind or of several, and
// its main calls [Main]. A step does its work and returns nil or an error. What happens next depends
// on the error alone; see errors.go: [Deferred], [Warning], [Permanent], [WaitForOne]. The engines do
// everything else: what is due, finalizers, deadlines, retries, statuses, conditions, replies. Tests
// use package steptest.
//
// Start reading at step.go and errors.go. The engine of sync and policy (engine.go) runs an event in
// four parts, each in a file of its own:
//
//  1. observe.go reads the object, not older than the event, and its neighbours; what the event says is only a hint;
//  2. decide, in the same file, asks [model.Due]; if there is nothing to do, the answer is 200;
//  3. act.go adds the step's finalizer before the first call to the backend, so that whatever the step
//     begins will be cleaned up, and calls the step with a deadline. If something is in the way, it
//     calls nothing;
//  4. together.go stores the outcome (outcome.go) in the step's part of the status, and replies with an
//     event if the state has changed and the function has REPLIES=true. If that part is no longer what it was
//     in 1, the run starts again with the newest object, and calls the step again if it has called it: whichever of the
//     two runs reached the backend last may have brought something older there.
//
// A function that has both steps of a kind runs both for one event, policies first, and stores what they have come to with
// one write. One that fails or takes long neither undoes nor hides the other one's outcome.
//
// Two kinds of work do not call the step: a finalizer that somebody has removed is put back, and
// conditions that do not say what is the case are written. What is news for people also becomes a
// Kubernetes Event (events.go), which is written in the background (recorder.go). Steps can add their own
// with [Event].
//
// The engine of pull (pull.go) runs one complete round for each tick, with all pull steps of the function.
// A round of a comparison (comparison.go) reads the models into an index (index.go), goes over the items,
// and asks for syncs, stores feedback, makes mirrors, and removes what has lost its model. It reads again
// whatever it is going to change.
//
// The engine of event (event.go) decodes strictly; onobject.go finds the object that an event is about, and
// keeps the order of events. An event that can never be handled becomes a dead letter, any other failed
// event is delivered again. function.go calls the engine that an event is for.
//
// What the package promises: in one process a step runs once at a time for an object. If a process dies
// between 3 and 4, the step is called again for an object that it has handled, so it must be
// idempotent. The runs of two pods can overlap, so a step sends the object's generation to the backend,
// which can then refuse an older write.
package step
