// Package tosca reads TOSCA recipes as XOS took them and finds the model that each of their nodes
// means. Start reading with [Parse].
//
// A recipe goes through these steps, and only the last one (package upload) needs the Kubernetes
// API:
//
//  1. [Parse] reads the YAML. It refuses what could make a small file expensive (anchors, aliases,
//     depth) and keeps the line of everything, because the author of a recipe thinks in lines.
//  2. [TypesFromCRDs] makes node types from the CustomResourceDefinitions that are labelled as
//     models. They are made for each request, so that a new model needs no code and no restart.
//  3. [Check] compares the recipe with the types and returns nodes in the order in which they are
//     worked through.
//  4. upload.Uploader finds the objects, asks the API for a dry run of every change, and then makes
//     the changes.
//
// No step stops at the first mistake: [Errors] has all of them. The first three steps are pure and
// never panic. Package server is all of it over HTTP.
package tosca
