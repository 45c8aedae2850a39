// Package pkg is the framework for serverless synchronizers: a guided tour, in the order in which to
// read it. Nothing imports this package.
//
// A synchronizer is written against two packages:
//
//  1. model says what a model is: a custom resource whose status is what its steps acknowledge. Read
//     [github.com/xos-knative/synchronizer/pkg/model.Due] first. It is the whole protocol in one pure
//     function. The package also has the client by which steps read and write models.
//  2. step is what an author writes against: one small type for each kind of step, what their errors mean, and Main.
//     Beside it, steptest runs steps in a test on a real Kubernetes API.
//
// Behind them, in the order in which an event passes:
//
//  3. source finds what is due and sends events. It is the one process that always runs.
//  4. function is what every program starts with: settings, logs, health, drain, and the answers to
//     CloudEvents that a broker acts on.
//  5. The engines in step observe, decide, act and store.
//
// What every installation has beside that:
//
//  6. apis/core has the core's own models, DeadLetter and ServiceGraphConstraint.
//  7. tosca makes models of TOSCA recipes.
//
// And for one machine without a cluster:
//
//  8. local runs config/ and eventing/ as they are, on an embedded Kubernetes API and Knative's own
//     event handling. No function links it.
//
// Imports point one way: functions to step, step to function and model, model to nothing of these.
// Nothing here knows a synchronizer. The tests use small ones of their own, in testdata.
package pkg
