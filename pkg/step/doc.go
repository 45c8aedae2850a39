// Package step is what the author of a synchronizer writes against: four small
// interfaces, one for each kind of step, and the engines that run them.
//
//   - [Syncer] pushes a model to the micro-service;
//   - [Policy] reacts to the creation, change and deletion of a model;
//   - [Puller] copies what the micro-service has into the model;
//   - [EventHandler] turns an event of the micro-service into a model.
//
// A step does its work and returns nil or an error. What happens next depends
// on the error alone; see errors.go: [Deferred], [Innocuous], [Permanent],
// [WaitForOne]. Everything else (what is due, finalizers, deadlines, retries,
// statuses, conditions, replies) is the engines' business.
//
// The engine of sync and policy (engine.go) runs one event like this:
//
//  1. read the live object; what the event says of it is only a hint;
//  2. ask [model.Due]; if there is nothing to do, answer 200;
//  3. if something is in the way, record that, and answer 200;
//  4. put the step's finalizer on, before the first call to the backend, so
//     that whatever the step has begun will be cleaned up;
//  5. call the step, with a deadline;
//  6. store the outcome (outcome.go) in the step's part of the status, if that
//     is still what it was in 1; if not, begin again with the newest object;
//  7. reply with an event if the state has changed.
//
// The engine of pull (pull.go) runs one complete round for each tick, that of
// event (event.go) decodes strictly and tells what can never be handled (a dead
// letter) from what is to be delivered again.
//
// A step may be called again for an object it has handled (a process can die
// between 5 and 6), so it must be idempotent, and it should hand the object's
// generation to the backend so that the backend can refuse a stale writer.
package step
