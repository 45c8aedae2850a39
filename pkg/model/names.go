package model

// Names that users write or see. All of them live in the API domain xos-knative.dev, so that they
// cannot collide with those of others.
const (
	// LabelModel marks a CustomResourceDefinition as a model; its value is "true".
	LabelModel = "synchronizer.xos-knative.dev/model"

	// AnnotationSteps, on a CustomResourceDefinition, lists the steps of the kind, separated by commas:
	// "sync", "policy" or "sync,policy". Without it a kind has no steps.
	AnnotationSteps = "synchronizer.xos-knative.dev/steps"
	// AnnotationDependsOn, on a CustomResourceDefinition, lists what objects of the kind depend on as
	// Kind=path or Kind.group=path, separated by commas; path leads to the field that holds the name of
	// an object in the same namespace, for example "Shelf=spec.shelf.name".
	AnnotationDependsOn = "synchronizer.xos-knative.dev/depends-on"

	// AnnotationKey, on a CustomResourceDefinition, lists the fields of the spec by which a TOSCA recipe finds
	// its model (XOS: tosca_key), separated by commas; a choice between fields is "(a|b)". Default: name.
	AnnotationKey = "synchronizer.xos-knative.dev/key"

	// AnnotationUsesObserved, on a CustomResourceDefinition, lists paths of AnnotationDependsOn, separated
	// by commas. The sync of the kind uses what these dependencies report (status.observed): it is due
	// when that changes.
	AnnotationUsesObserved = "synchronizer.xos-knative.dev/uses-observed"

	// AnnotationPaused, on an object, holds back all of its steps, also on deletion, until it is removed
	// or says "false".
	AnnotationPaused = "synchronizer.xos-knative.dev/paused"
	// AnnotationNoSync keeps the object from being synced (XOS: no_sync). What was synced before is
	// still cleaned up.
	AnnotationNoSync = "synchronizer.xos-knative.dev/no-sync"
	// AnnotationMirrors is on objects that a pull step has made of items of the micro-service that were
	// nobody's. Its value is what the micro-service calls the item.
	AnnotationMirrors = "synchronizer.xos-knative.dev/mirrors"
	// AnnotationNoPolicy keeps policies from running on the object (XOS: no_policy).
	AnnotationNoPolicy = "synchronizer.xos-knative.dev/no-policy"
	// AnnotationRequestedAt asks for one more run of all steps of the object. Its value is the time, by
	// convention; every other value than the last one counts as a request. (In XOS one saves a model
	// without changing it.)
	AnnotationRequestedAt = "synchronizer.xos-knative.dev/requested-at"
	// AnnotationRequestReason says why; the step repeats it in its status message.
	AnnotationRequestReason = "synchronizer.xos-knative.dev/request-reason"

	// FinalizerPrefix and the name of a step are the step's finalizer.
	FinalizerPrefix = "synchronizer.xos-knative.dev/"
)

// CloudEvent types of the model source: what happened to the object, as this step sees it.
const (
	// EventCreated is sent for an object that the step has never handled.
	EventCreated = "dev.xos-knative.model.created"
	// EventUpdated is sent for an object that the step has handled before.
	EventUpdated = "dev.xos-knative.model.updated"
	// EventDeleted is sent for an object that is being deleted.
	EventDeleted = "dev.xos-knative.model.deleted"
)

// Extension attributes of a model event, for Triggers to filter on.
const (
	ExtensionStep         = "step"
	ExtensionKind         = "kind"
	ExtensionNamespace    = "namespace"
	ExtensionName         = "name"
	ExtensionUID          = "uid"
	ExtensionGeneration   = "generation"
	ExtensionPartitionKey = "partitionkey"
	// ExtensionCount is how many objects the event is about, if they are several. It has no subject, name, uid and
	// generation then.
	ExtensionCount = "count"
)

// Step names a kind of step that is woken by the model.
type Step string

const (
	// StepSync pushes the model to the micro-service.
	StepSync Step = "sync"
	// StepPolicy runs the hooks on create, update and delete.
	StepPolicy Step = "policy"
)

// Steps lists all steps that are woken by the model.
func Steps() []Step { return []Step{StepSync, StepPolicy} }

// Finalizer is the finalizer that keeps an object until the step has cleaned up.
func (s Step) Finalizer() string { return FinalizerPrefix + string(s) }

// OptOut is the annotation that keeps the step from running on an object.
func (s Step) OptOut() string { return FinalizerPrefix + "no-" + string(s) }
