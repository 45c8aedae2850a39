// Package generate makes everything of a synchronizer that its author does not want to write: of the Go types of its
// models the deep copies, lists, scheme registration and CustomResourceDefinitions; of its functions their accounts,
// rights, Knative Services, Triggers, PingSources, EventTypes and kustomizations.
//
// A project is a directory with a file synchronizer.yaml (project.go). What is made comes from there:
//
//  1. The types below api/, with the usual markers of kubebuilder (types.go; controller-gen as a library).
//  2. The functions: each program of the project that runs steps is built and asked what it consists of
//     (package describe). So there is one truth, the registrations that also run.
//  3. Markers in the functions' packages, for what cannot be asked (markers.go).
//  4. The templates (render.go).
//  5. The files in patches/, which are laid over the rest (patch.go). They are the author's; everything else is made
//     again by the next version of this package.
//
// Made once more of the same, the same comes out. A file that is no longer made is deleted. Other files in the same
// folders are the author's, and are listed in the kustomizations too.
package generate
