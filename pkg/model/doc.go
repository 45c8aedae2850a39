// Package model says what a model is and when a step has work on it.
//
// A model is a custom resource whose definition carries the label
// [LabelModel]. Its spec is what users declare; its status is what the steps
// acknowledge. Read the package in this order:
//
//   - names.go: the labels, annotations, finalizers and event attributes;
//   - status.go: [Status] and [StepStatus], the part of an object that a step owns;
//   - kind.go: [Kind], what a CustomResourceDefinition says of a model (its
//     steps, what it depends on), and [Snapshot], what is known of one object;
//   - due.go: [Due], the one pure function that decides whether a step has
//     work on an object. The model source asks it what to emit, the engines
//     ask it whether to act, so that the two cannot disagree;
//   - conditions.go: the conditions Synced, Policed and Ready, computed from
//     what the steps acknowledged;
//   - client.go and typed.go: the model client that all functions share.
//
// Events are hints, the object is the truth: an event may be lost, repeated,
// late or out of order, and [Due] of the live object still says what is right.
package model
