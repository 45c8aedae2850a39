// Package model says what a model is, and when a step has work on one. It also has the client that
// functions read and write models with.
//
// A model is a custom resource whose definition has the label [LabelModel]. Users declare its spec;
// steps acknowledge in its status what they have done.
//
// # What it promises
//
// [Due] is the one function that decides whether a step has work on an object. The model source asks
// it what to send, the engines ask it whether to act, so that the two cannot disagree. Events are
// hints and the object is the truth: an event may be lost, repeated, late or out of order, and Due of
// the live object is still right.
//
// The [Client] loses nobody's changes. What it writes, it writes on top of what it has read, or the
// write fails and is tried again with what is there now.
//
// # Versions
//
// A definition can serve several versions, with a conversion webhook between them. A step, and a typed
// client, gets each object in the version of its Go type, whichever version is stored. So a new version
// is added beside the old one, functions move to it one by one, and the old one is served until none uses
// it: what still does then fails with [ErrVersion] and is tried again. What is written for no Go type (the
// depends-on annotation, TOSCA recipes) is in the words of the oldest version that is served. (Kubernetes
// refuses two versions that differ in their schemas but not in their selectableFields; list these in
// another order then.)
//
// # Where to start reading
//
//   - names.go: labels, annotations, finalizers, event types and attributes;
//   - status.go: [Status] and [StepStatus], the part of the status that belongs to a step;
//   - kind.go: [Kind], what a CustomResourceDefinition says of a model (its steps, what it depends
//     on), and [Snapshot], what Due needs of an object;
//   - due.go: [Due] and its rules;
//   - conditions.go: the conditions Ready, Synced and PolicyApplied, computed from the status of the
//     steps;
//   - event.go: the events of the model source;
//   - ref.go: [Ref], how one model names another one;
//   - observed.go: what steps report in status.observed ([Feedback]), and what they write themselves ([Own]);
//   - follow.go: in which order the events about an object count; mirror.go: objects that only show what the
//     micro-service has;
//   - client.go and typed.go: [Client] and [Models], its view on one Go type; modify.go: how they
//     write specs; steppatch.go: how engines write finalizers and status.
package model
