// Package tosca reads TOSCA recipes as XOS took them and turns each of their nodes into a model.
//
// A recipe goes through these steps, and only the last one (package upload) needs the Kubernetes API:
//
//  1. Parse reads the YAML. It refuses whatever could make a small file expensive (anchors, aliases, depth) and keeps
//     the line of everything, because whoever wrote the recipe thinks in lines.
//  2. TypesFromCRDs makes node types out of the CustomResourceDefinitions that are labelled as models. They are made for
//     each request, so that a new model needs neither code nor a restart.
//  3. Check holds the recipe against the types and gives nodes in the order in which they are worked through.
//  4. upload.Uploader finds the objects, asks the API for a dry run of every change, and then makes the changes.
//
// No step stops at the first mistake: Errors holds all of them.
package tosca
