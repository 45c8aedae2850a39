package step_test

import (
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// situation is what users have done, what the steps have returned, and what users then see of the object.
type situation struct {
	do func(*fixture)
	// ready, synced and policy are the conditions, as "status reason"; empty if there is none. Ready is
	// "gone" if the object is no longer there.
	ready, synced, policy string
	// says is a part of the message of Ready.
	says string
	// events are the Kubernetes Events about the object, each as "type reason", oldest first.
	events string
}

var errPaper = errors.New("no paper")

// Each of these begins with a shelf and a book that are Ready. They are about the book.
var outcomes = map[string]situation{
	"Synced":   {func(*fixture) {}, "True OK", "True OK", "True OK", "OK", ""},
	"Changed":  {retitle, "True OK", "True OK", "True OK", "OK", ""},
	"Warning":  {failing(step.Warning(errPaper)), "True Warning", "True Warning", "True OK", "no paper", ""},
	"Deferred": {failing(step.Deferred("printing")), "Unknown Deferred", "Unknown Deferred", "True OK", "printing (next attempt at 2026-01-02T03:04:10Z)", ""},
	"Failed":   {failing(errPaper), "False Failed", "False Failed", "True OK", "no paper (attempt 1, the next at 2026-01-02T03:04:0", "Warning Failed"},
	"FailedAgain": {then(failing(errPaper), minuteLater),
		"False Failed", "False Failed", "True OK", "no paper (attempt 2, the next at 2026-01-02T03:05:0", "Warning Failed"},
	"Permanent":        {failing(step.Permanent(errPaper)), "False Permanent", "False Permanent", "True OK", "not tried again until the spec changes", "Warning FailedPermanently"},
	"PermanentChanged": {then(failing(step.Permanent(errPaper)), working, retitle), "True OK", "True OK", "True OK", "OK", "Warning FailedPermanently, Normal Synced"},
	"Recovered":        {then(failing(errPaper), working, minuteLater), "True OK", "True OK", "True OK", "OK", "Warning Failed, Normal Synced"},
	"FailedDeferred": {then(failing(errPaper), failing(step.Deferred("printing"))),
		"Unknown Deferred", "Unknown Deferred", "True OK", "printing", "Warning Failed"},
	"PolicyFailed":    {policyFailing, "False Failed", "True OK", "False Failed", "no paper", "Warning Failed"},
	"PolicyRecovered": {then(policyFailing, working, minuteLater), "True OK", "True OK", "True OK", "OK", "Warning Failed, Normal PolicyApplied"},
	"DeferredAndPolicyFailed": {func(f *fixture) { f.policyErr = errPaper; failing(step.Deferred("printing"))(f) },
		"False Failed", "Unknown Deferred", "False Failed", "no paper", "Warning Failed"},
}

var waits = map[string]situation{
	"Missing":         {move("poetry"), "Unknown Waiting", "Unknown Waiting", "True OK", "waiting for Shelf poetry, which does not exist", "Normal Waiting"},
	"MissingThenHere": {then(move("poetry"), put("poetry")), "True OK", "True OK", "True OK", "OK", "Normal Waiting"},
	"Unset":           {move(""), "Unknown Waiting", "Unknown Waiting", "True OK", "waiting for Shelf, which the spec does not name yet", "Normal Waiting"},
	"PolicyWaits": {then(put("poetry"), func(f *fixture) { f.policyErr = step.WaitForOne("Shelf", "which one?"); move("")(f) }),
		"Unknown Waiting", "Unknown Waiting", "Unknown Waiting", "waiting for Shelf", "Normal Waiting"},
	"DependencyFailed":    {shelfFailing(errPaper), "Unknown Waiting", "Unknown Waiting", "True OK", "waiting for Shelf fiction, whose sync failed", "Normal Waiting"},
	"DependencyRecovered": {then(shelfFailing(errPaper), working, minuteLater), "True OK", "True OK", "True OK", "OK", "Normal Waiting"},
	"DependencyNotSynced": {shelfFailing(step.Deferred("printing")),
		"Unknown Waiting", "Unknown Waiting", "True OK", "waiting for Shelf fiction, which is not synced yet", "Normal Waiting"},
	"DependencyPaused": {then(onShelf(annotate(model.AnnotationPaused, "")), relabel),
		"Unknown Waiting", "Unknown Waiting", "True OK", "waiting for Shelf fiction, which is not synced yet", "Normal Waiting"},
	"DependencyOptedOut": {then(onShelf(annotate(model.AnnotationNoSync, "")), relabel), "True OK", "True OK", "True OK", "OK", ""},
	"DependencyDeleting": {deleteShelf, "Unknown Waiting", "Unknown Waiting", "True OK", "waiting for Shelf fiction, which is being deleted", "Normal Waiting"},
	"DependencyGone": {then(onShelf(annotate(model.AnnotationPaused, "")), deleteShelf, onShelf(func(o metav1.Object) { o.SetFinalizers(nil) })),
		"Unknown Waiting", "Unknown Waiting", "True OK", "waiting for Shelf fiction, which does not exist", "Normal Waiting"},
}

var pauses = map[string]situation{
	"Paused":        {paused, "False Paused", "False Paused", "False Paused", model.AnnotationPaused, ""},
	"Changed":       {then(paused, retitle), "False Paused", "False Paused", "False Paused", model.AnnotationPaused, ""},
	"Failed":        {then(failing(errPaper), paused, minuteLater), "False Paused", "False Paused", "False Paused", model.AnnotationPaused, "Warning Failed"},
	"Permanent":     {then(failing(step.Permanent(errPaper)), paused), "False Paused", "False Paused", "False Paused", model.AnnotationPaused, "Warning FailedPermanently"},
	"Waiting":       {then(move("poetry"), paused), "False Paused", "False Paused", "False Paused", model.AnnotationPaused, "Normal Waiting"},
	"Born":          {reborn(annotate(model.AnnotationPaused, "")), "False Paused", "False Paused", "False Paused", model.AnnotationPaused, ""},
	"OptedOut":      {onBook(annotate(model.AnnotationPaused, "", model.AnnotationNoSync, "")), "False Paused", "False Paused", "False Paused", model.AnnotationPaused, ""},
	"Resumed":       {then(paused, plain), "True OK", "True OK", "True OK", "OK", ""},
	"ResumedFailed": {then(failing(errPaper), paused, plain), "False Failed", "False Failed", "True OK", "no paper (attempt 1", "Warning Failed"},
	"Deleted": {then(paused, deleteBook),
		"False Paused", "False Paused", "False Paused", "the deletion waits for: remove the annotation", ""},
	"DeletedResumed": {then(paused, deleteBook, plain), "gone", "", "", "", ""},
}

var optOuts = map[string]situation{
	"NoSync":        {noSync, "True OK", "Unknown OptedOut", "True OK", "OK", ""},
	"NoSyncChanged": {then(noSync, retitle), "True OK", "Unknown OptedOut", "True OK", "OK", ""},
	"NoSyncFailed":  {then(failing(errPaper), noSync), "True OK", "Unknown OptedOut", "True OK", "OK", "Warning Failed"},
	"NoSyncWaiting": {then(move("poetry"), noSync), "True OK", "Unknown OptedOut", "True OK", "OK", "Normal Waiting"},
	"NoSyncBack":    {then(noSync, retitle, plain), "True OK", "True OK", "True OK", "OK", ""},
	"FailedBack":    {then(failing(errPaper), noSync, plain), "False Failed", "False Failed", "True OK", "no paper (attempt 1", "Warning Failed"},
	"NoPolicy":      {onBook(annotate(model.AnnotationNoPolicy, "")), "True OK", "True OK", "Unknown OptedOut", "OK", ""},
	"NoPolicyFailed": {then(policyFailing, onBook(annotate(model.AnnotationNoPolicy, ""))),
		"True OK", "True OK", "Unknown OptedOut", "OK", "Warning Failed"},
	"All":        {noSteps, "True OptedOut", "Unknown OptedOut", "Unknown OptedOut", "opted out of all steps", ""},
	"AllChanged": {then(noSteps, retitle), "True OptedOut", "Unknown OptedOut", "Unknown OptedOut", "opted out of all steps", ""},
	"Born":       {reborn(optOut), "True OptedOut", "Unknown OptedOut", "Unknown OptedOut", "opted out of all steps", ""},
	"Deleted":    {then(noSteps, deleteBook), "gone", "", "", "", ""},
}

var deletions = map[string]situation{
	"Deleted":         {deleteBook, "gone", "", "", "", ""},
	"CleanUpFails":    {cleanUpFailing, "False Deleting", "False Failed", "True CleanedUp", "being deleted: no paper (attempt 1, the next at", "Warning Failed"},
	"CleanUpDeferred": {failsToClean(step.Deferred("shredding")), "False Deleting", "Unknown Deferred", "True CleanedUp", "being deleted: shredding", ""},
	"CleanUpWaited":   {then(cleanUpFailing, working, minuteLater), "gone", "", "", "", "Warning Failed, Normal CleanedUp"},
	"PolicyFails": {func(f *fixture) { f.sweepErr = errPaper; deleteBook(f) },
		"False Deleting", "True CleanedUp", "False Failed", "being deleted: no paper (attempt 1, the next at", "Warning Failed"},
	"OthersFinalizer": {then(theirs, deleteBook),
		"False Deleting", "True CleanedUp", "True CleanedUp", "waiting for whoever removes the finalizers: example.com/theirs", ""},
	"DeferredDeleted": {then(theirs, failing(step.Deferred("printing")), deleteBook),
		"False Deleting", "True CleanedUp", "True CleanedUp", "waiting for whoever removes the finalizers", ""},
	"DeferredCleanUpFails": {then(failing(step.Deferred("printing")), cleanUpFailing),
		"False Deleting", "False Failed", "True CleanedUp", "being deleted: no paper (attempt 1", "Warning Failed"},
	"FailedDeleted":  {then(failing(errPaper), deleteBook), "gone", "", "", "", "Warning Failed"},
	"WaitingDeleted": {then(move("poetry"), deleteBook), "gone", "", "", "", "Normal Waiting"},
	"PausedMeanwhile": {then(cleanUpFailing, paused),
		"False Paused", "False Paused", "False Paused", "the deletion waits for: remove the annotation", "Warning Failed"},
}

// These are about the shelf.
var shelves = map[string]situation{
	"Blocked":       {deleteShelf, "False Deleting", "Unknown Waiting", "", "waiting for Book a, which still depends on it, to be deleted", "Normal Waiting"},
	"BlockedPaused": {then(deleteShelf, onShelf(annotate(model.AnnotationPaused, ""))), "False Paused", "False Paused", "", "remove the annotation", "Normal Waiting"},
	"Unblocked":     {then(deleteShelf, deleteBook), "gone", "", "", "", "Normal Waiting, Normal CleanedUp"},
	"BlockedByOne":  {then(cleanUpFailing, deleteShelf), "False Deleting", "Unknown Waiting", "", "waiting for Book a", "Normal Waiting"},
	"Failed":        {shelfFailing(errPaper), "False Failed", "False Failed", "", "no paper (attempt 1", "Warning Failed"},
}

// These have definitions of their own, which they change. They are about the book.
var changedKinds = map[string]situation{
	"LosesSync":         {steps("policy"), "True OK", "", "True OK", "OK", ""},
	"LosesSyncFailed":   {then(failing(errPaper), steps("policy")), "True OK", "", "True OK", "OK", "Warning Failed"},
	"LosesSyncDeleting": {then(cleanUpFailing, steps("policy")), "gone", "", "", "", "Warning Failed"},
	"LosesPolicy":       {steps("sync"), "True OK", "True OK", "", "OK", ""},
	"LosesAll":          {steps(""), "True OK", "", "", "OK", ""},
	"LosesAllPaused":    {then(paused, steps("")), "False Paused", "", "", model.AnnotationPaused, ""},
	"LosesAllDeleted":   {then(steps(""), deleteBook), "gone", "", "", "", ""},
	"GainsSync":         {then(steps("policy"), retitle, steps("sync,policy")), "True OK", "True OK", "True OK", "OK", "Normal FinalizerRestored"},
	"GainsPolicyFails": {then(steps("sync"), func(f *fixture) { f.policyErr = errPaper; retitle(f) }, steps("sync,policy")),
		"False Failed", "True OK", "False Failed", "no paper (attempt 1", "Normal FinalizerRestored, Warning Failed"},
	"DependsOnNothing":        {then(move("poetry"), uses(""), dependsOn("")), "True OK", "True OK", "True OK", "OK", "Normal Waiting"},
	"DependsOnUnknown":        {then(dependsOn("Room=spec.shelf.name"), retitle), "Unknown Waiting", "Unknown Waiting", "True OK", "waiting for Room fiction", "Normal Waiting"},
	"StoredVersionFailed":     {then(failing(errPaper), store), "False Failed", "False Failed", "True OK", "no paper (attempt 1", "Warning Failed"},
	"StoredVersionRecovered":  {then(failing(errPaper), store, working, minuteLater), "True OK", "True OK", "True OK", "OK", "Warning Failed, Normal Synced"},
	"StoredVersionHere":       {then(move("poetry"), store, put("poetry")), "True OK", "True OK", "True OK", "OK", "Normal Waiting"},
	"StoredVersionCleaningUp": {then(cleanUpFailing, store), "False Deleting", "False Failed", "True CleanedUp", "being deleted: no paper", "Warning Failed"},
}

// changedShelves are about the shelf.
var changedShelves = map[string]situation{
	"GainsPolicy": {redefine("shelves", model.AnnotationSteps, "sync,policy"), "Unknown Pending", "True OK", "Unknown Pending", "not handled yet", ""},
}
