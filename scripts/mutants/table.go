package main

// mutant switches one safety mechanism off.
type mutant struct {
	// name says what no longer holds.
	name string
	// file, from the root of the project, in which old, which occurs once, becomes new.
	file, old, new string
	// pkg and run say which tests must fail.
	pkg, run string
}

const (
	dueGo       = "pkg/model/due.go"
	steppatchGo = "pkg/model/steppatch.go"
	trackerGo   = "pkg/source/tracker.go"
	engineGo    = "pkg/step/engine.go"
	actGo       = "pkg/step/act.go"
	togetherGo  = "pkg/step/together.go"
	lettersGo   = "functions/deadletter/letters.go"
	replayGo    = "functions/deadletter/replay.go"
	greetingsGo = "functions/helloworld/greeter/store/greetings.go"

	stepPkg, modelPkg     = "./pkg/step", "./pkg/model"
	sourcePkg, histories  = "./pkg/source", "TestHistories"
	uploadPkg, letterPkg  = "./pkg/tosca/upload", "./functions/deadletter"
	helloSync, greeterPkg = "./functions/helloworld/sync", "./functions/helloworld/greeter/store"
)

// mutants are all of them, in the order of the protocol: what is due, a run, its outcome, the micro-service, events.
var mutants = []mutant{
	// What is due.
	{"a finalizer that was removed is put back", dueGo,
		"case !obj.Paused() && !obj.Deleting() && obj.LostFinalizer(step):", "case false && obj.LostFinalizer(step):", stepPkg, "TestFinalizerPutBack"},
	{"a sync waits for what it depends on", dueGo,
		"if reason := d.blocks(); reason != \"\" {", "if reason := d.blocks(); reason != \"\" && false {", stepPkg, "TestWaits"},
	{"what an object depends on is deleted after it", dueGo,
		"blockers = append(blockers, Blocker{Kind: d.Kind, Name: d.Name, Reason: BlockerDependent})", "_ = d", stepPkg, "TestDeletionOrder"},
	{"a permanent failure is not tried again", dueGo,
		"if status.State == StateWaiting || status.Permanent {", "if status.State == StateWaiting {", modelPkg, "TestDue"},
	{"a step can say that a failure is permanent", "pkg/step/outcome.go",
		"if s.Permanent = c.class == permanent; !s.Permanent {", "if s.Permanent = false; !s.Permanent {", stepPkg, "TestOutcome"},
	{"requested-at makes a step due", dueGo,
		"asked != \"\" && asked != status.RequestedAt", "false && asked != status.RequestedAt", stepPkg, "TestRequested"},
	{"a change of a dependency makes a sync due", dueGo,
		"if step == StepSync && !obj.Deleting() && dependencyChanged(status, n) {", "if false && dependencyChanged(status, n) {", stepPkg, "TestShelfChanges"},
	{"a new kind protects what it depends on within a second", "pkg/model/client.go",
		"const dependentsMaxAge = time.Second", "const dependentsMaxAge = time.Minute", modelPkg, "TestDependentsOfNewKind"},
	{"a definition that cannot be read protects what it may depend on", "pkg/model/client.go",
		"if strings.Contains(b.dependsOn, k.GVK.Kind) {", "if false {", modelPkg, "TestWrongDefinition"},

	// What the source remembers.

	// The model source. Its tests are the generated histories of the protocol.
	{"an event that nothing acknowledges is sent again", trackerGo, "case now.Before(d.expires):", "case true:", sourcePkg, histories},
	{"a step has one event in flight for an object", trackerGo,
		"return true // Evaluated again when the sink has answered.", "return false", sourcePkg, histories},
	{"only the step's part of the status acknowledges its event", trackerGo,
		"return status != d.status", "return true", sourcePkg, "TestUnreliableWorld"},
	{"a late event takes no place in its lane", trackerGo, "\t\t\tt.free(d)\n\t\t\tnext = d.expires", "\t\t\tnext = d.expires", sourcePkg, histories},
	{"at most a window of events is under way", trackerGo, "max(l.inFlight, l.sending) < t.Window", "true", sourcePkg, histories},
	{"an event that the sink rejects comes again", trackerGo, "d.task.waiting = true\n\t\t\tl.waiting", "l.waiting", sourcePkg, histories},
	{"what was lost goes without others", trackerGo, "d.task.lost == 0 && first.lost == 0 && ", "first != nil && ", sourcePkg, "TestPack"},
	{"another object of the name is another object", trackerGo, "if o == nil || task.uid != o.UID {\n\t\t// The", "if o == nil {\n\t\t// The", sourcePkg, "TestReplacedInAList"},
	{"a retry comes when the source's clock says so", "pkg/step/observe.go",
		"min(maxSkew, max(0, event.Time().Sub(e.clock.Now())))", "0", stepPkg, "TestClockBehind"},

	// A run.
	{"an event about several objects comes again if one was not stored", "pkg/step/engine.go", "errors.Join(results...); err != nil", "errors.Join(results...); false", stepPkg, "TestSeveralComeAgain"},
	{"the finalizer comes before the first call", actGo,
		"if !o.obj.Deleting() {\n\t\tif u, err = e.addFinalizer", "if false {\n\t\tif u, err = e.addFinalizer", stepPkg, "TestLife|TestRequests"},
	{"an object that changes before its finalizer is read again", actGo,
		"if model.IsOutdated(err) || err == nil && u.GetGeneration() != o.obj.Generation {", "if false {", stepPkg, "TestChangesBeforeTheFinalizer"},
	{"a run goes on when its sender is gone", engineGo,
		"ctx = logging.WithLogger(context.WithoutCancel(ctx), log)", "ctx = logging.WithLogger(ctx, log)", stepPkg, "TestSenderIsGone"},
	{"a step runs once at a time for an object", engineGo,
		"key := h.GroupKind().String() + \"/\" + h.Namespace + \"/\" + h.Name", "key := fmt.Sprint(&reply)", stepPkg, "TestConcurrentEvents"},
	{"an event during a run has another run", engineGo,
		"for range 2 {", "for range 1 {", stepPkg, "TestChangeDuringARun"},
	{"a step that ignores its deadline is left behind", actGo,
		"var none R\n\t\treturn none, fmt.Errorf(\"the step did not end within %s\", deadline)", "r := <-done\n\t\treturn r.value, r.err", stepPkg, "TestDeadlineIgnored"},

	// Its outcome.
	{"a status is stored only over the one that was read", steppatchGo,
		"if !equality.Semantic.DeepEqual(now.Status.Step(o.Step), o.Before) {", "if false {", modelPkg, "TestSetStepMeanwhile"},
	{"the API tests what is replaced", steppatchGo,
		"test(\"/status/\"+part, existing[part]), ", "test(\"/metadata/uid\", map[bool]any{true: u.GetUID(), false: existing}[true]), ", modelPkg, "TestSetStepMeanwhile"},
	{"a status goes to the object that was read", steppatchGo,
		"append([]operation{test(\"/metadata/uid\", u.GetUID())}, operations...)", "operations", modelPkg, "TestSetStepOfGone|TestFinalizersOfGone"},
	{"a run that was overtaken calls the step again", togetherGo,
		"\t\t\t\terr = errOvertaken", "\t\t\t\terr = nil", stepPkg, "TestOvertaken"},
	{"what a run did for an object that is gone is undone", togetherGo,
		"errs = append(errs, e.undo(ctx))", "_ = e", stepPkg, "TestRemovedByForceWhileTheStepRuns"},
	{"a step takes away only its own finalizer", steppatchGo,
		"return k.lost(f) || slices.ContainsFunc(steps, func(s Step) bool { return f == s.Finalizer() })", "return slices.ContainsFunc(Steps(), func(s Step) bool { return f == s.Finalizer() })", modelPkg, "TestFinalizers"},

	// The micro-service.
	{"the generation goes to the micro-service", "functions/helloworld/internal/hello/hello.go",
		"Generation: instance.Generation,", "Generation: 1,", helloSync, "TestLateWriter"},
	{"a late write is refused", greetingsGo,
		"case old != nil && r.Generation < old.Generation:", "case false && old != nil:", greeterPkg, "TestWriters"},
	{"a late write does not bring back what was deleted", greetingsGo,
		"case there.dead != nil && r.Generation <= there.dead.Generation:", "case false && there.dead != nil:", greeterPkg, "TestWriters"},
	{"a refused writer that is late stays refused", "functions/helloworld/sync/instance.go",
		"&& live.GetGeneration() == obj.GetGeneration(), err", ", err", helloSync, "TestLateWriter"},
	{"after half a list nothing is missing", "pkg/step/comparison.go",
		"\t\tif err != nil {\n\t\t\treturn nil, err\n\t\t}\n\t\tmatch := r.Match(item)", "\t\tif err != nil {\n\t\t\tbreak\n\t\t}\n\t\tmatch := r.Match(item)", stepPkg, "TestHalfAList"},
	{"a model that is newer than the list is no orphan", "pkg/step/comparison.go",
		"\t\t\tif r.known.find(match) != nil {\n\t\t\t\treturn PullUnchanged, nil\n\t\t\t}\n\t\t\tif err := r.Remove", "\t\t\tif err := r.Remove", stepPkg, "TestCompareMeanwhile"},
	{"what was published leaves the outbox only then", "functions/helloworld/greeter/outbox/outbox.go",
		"\t\tp.failed(*entry, err)\n\t\tp.queue.AddRateLimited(line)\n\t\treturn true", "\t\tp.failed(*entry, err)", "./functions/helloworld/greeter/outbox", "TestRefused"},

	// Events.
	{"a late event changes nothing", "pkg/model/follow.go",
		"(e.Time.IsZero() || last.Time == nil || !e.Time.Before(last.Time.Time))", "true", stepPkg, "TestOnObject|TestOvertakingEvents"},
	{"a repeated event changes nothing", "pkg/model/follow.go",
		"return !slices.Contains(last.Events, e.ID) && ", "return ", "./functions/helloworld/event", "TestLateAndRepeated"},
	{"a dead letter is stored before it is acknowledged", lettersGo,
		"return function.Unavailable(\"namespace %s: the dead letter could not be stored: %s\", namespace, err)", "return nil", letterPkg, "TestNotStored"},
	{"a dead letter is stored also if its sender hangs up", lettersGo,
		"context.WithTimeout(context.WithoutCancel(ctx), storing)", "context.WithTimeout(ctx, storing)", letterPkg, "TestSenderHangsUp"},
	{"a dead letter that comes again keeps its corrections", lettersGo,
		"live.Spec.Code, live.Spec.Reason = letter.Spec.Code, letter.Spec.Reason", "live.Spec = letter.Spec", letterPkg, "TestCorrectedMeanwhile"},
	{"404 refuses a replay", lettersGo,
		"return code < 500 && code != http.StatusRequestTimeout", "return code < 500 && code != http.StatusNotFound && code != http.StatusRequestTimeout", letterPkg, "TestReplay"},
	{"a replay shows its token to nobody else", replayGo,
		"if r.Token == nil || service == \"\" {", "if r.Token == nil {", letterPkg, "TestDestinations"},
	{"a letter that has failed again during its replay stays", replayGo,
		"ResourceVersion: &version}})", "}})\n\t\t_ = version", letterPkg, "TestDuringReplay"},

	// Recipes.
	{"nothing of a recipe is written that is not all right", "pkg/tosca/upload/dryrun.go",
		"results[i], err = s.explain(err)\n\t\t\t\treturn err", "_ = i\n\t\t\t\treturn nil", "./pkg/tosca/server", "TestRefusedByTheAPI|TestBadRecipes"},
	{"a recipe is written to its end when its caller is gone", "pkg/tosca/upload/apply.go",
		"ctx = context.WithoutCancel(ctx)", "", uploadPkg, "TestCallerGone"},
	{"a recipe deletes only what it has found", "pkg/tosca/upload/write.go",
		"uid := s.live.GetUID()\n\t\treturn nil, r.Delete(ctx, s.Object, metav1.DeleteOptions{DryRun: dryRun, Preconditions: &metav1.Preconditions{UID: &uid}})",
		"return nil, r.Delete(ctx, s.Object, metav1.DeleteOptions{DryRun: dryRun})", uploadPkg, "TestReplaced"},
}
