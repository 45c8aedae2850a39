// Package source is the model source: the one always-on part of a
// synchronizer. It watches every model and sends a CloudEvent for each step
// that has work on an object, as [model.Due] says. It is what waits, so that
// functions need not: retries, dependencies and the order between objects are
// waited for here, in memory, without a pod.
//
// The package in the order of its work:
//
//   - kinds.go finds models by the label of their definitions, while it runs,
//     and keeps a snapshot (metadata and status) of every object;
//   - evaluate.go asks model.Due about an object whenever it, or something that
//     it depends on or that depends on it, has changed, or a time has come;
//   - lane.go sends what is due, for each kind and step at most a window of
//     events that are not yet acknowledged, not counting those that are past
//     the first visibility timeout.
//
// What was sent is in flight until the watched status shows that the step has
// handled it, or until a visibility timeout passes and it is sent again. The
// source keeps no state of its own: what it has forgotten when it starts again
// is found again, because it is still due. So it does not matter to the result
// whether it, a broker or a function dies, and when.
package source
